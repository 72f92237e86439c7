"""A set-up under events in any order, twice, too late and from strangers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, RunId, SiteName

NAMES = tuple(SiteName(f"site-{number}") for number in range(6))
STRANGER = SiteName("stranger")
ANYONE = st.sampled_from((*NAMES, STRANGER))
ALLOWED = {
    SetupPhase.ADVERTISE: {SetupPhase.ADVERTISE, SetupPhase.DEAL, SetupPhase.FAILED},
    SetupPhase.DEAL: {SetupPhase.DEAL, SetupPhase.READY, SetupPhase.FAILED},
    SetupPhase.READY: {SetupPhase.READY},
    SetupPhase.FAILED: {SetupPhase.FAILED},
}


def setup(sites: int = 4, minimum: int = 3, rounds: int = 2) -> Setup:
    return Setup(BatchId("b"), RunId("r"), NAMES[:sites], rounds, minimum)


class SetupMachine(RuleBasedStateMachine):
    """Every transition is checked against what may follow what, and against repetition."""

    @initialize(sites=st.integers(3, 6), data=st.data())
    def begin(self, sites: int, data: st.DataObject) -> None:
        self.state = setup(sites, data.draw(st.integers(3, sites)))
        self.settled: tuple[SiteName, ...] | None = None

    def become(self, new: Setup, again: Setup) -> None:
        assert new.phase in ALLOWED[self.state.phase]
        assert again == new, "the same event twice is the event once"
        self.state = new

    @rule(site=ANYONE)
    def advert(self, site: SiteName) -> None:
        asked = self.state.phase is SetupPhase.ADVERTISE and self.state.waits_for(site)
        new = self.state.on_advert(site)
        assert asked or new is self.state, "only what was asked for changes anything"
        self.become(new, new.on_advert(site))

    @rule(site=ANYONE)
    def deal(self, site: SiteName) -> None:
        asked = self.state.phase is SetupPhase.DEAL and self.state.waits_for(site)
        new = self.state.on_deal(site)
        assert asked or new is self.state, "only what was asked for changes anything"
        self.become(new, new.on_deal(site))

    @rule(site=ANYONE)
    def lost(self, site: SiteName) -> None:
        new = self.state.on_lost(site)
        assert site in self.state.pool or new is self.state
        self.become(new, new.on_lost(site))

    @rule()
    def deadline(self) -> None:
        new = self.state.on_deadline()
        ended = self.state.phase in (SetupPhase.READY, SetupPhase.FAILED)
        assert (new is self.state) if ended else (new.phase is not self.state.phase)
        self.state = new

    @rule(index=st.integers(0, 2))
    def used(self, index: int) -> None:
        new = self.state.on_used(index)
        self.become(new, new.on_used(index))

    @invariant()
    def sites_come_from_the_pool(self) -> None:
        state = self.state
        assert state.dealt <= state.advertised <= set(state.pool)
        assert state.lost <= set(state.pool)
        assert not state.waits_for(STRANGER)

    @invariant()
    def the_roster_is_settled_once_dealing_began_and_is_large_enough(self) -> None:
        state = self.state
        if state.phase in (SetupPhase.DEAL, SetupPhase.READY):
            self.settled = self.settled or state.roster
            assert state.roster == self.settled
            assert len(state.roster) >= state.minimum
        if state.phase is SetupPhase.READY:
            assert state.dealt == state.advertised

    @invariant()
    def who_was_lost_is_asked_nothing_and_not_invited_again(self) -> None:
        state = self.state
        assert not any(state.waits_for(site) for site in state.lost)
        assert not set(state.willing) & state.lost

    @invariant()
    def it_ends_or_waits_for_somebody(self) -> None:
        waiting = any(self.state.waits_for(site) for site in NAMES)
        assert waiting == (self.state.phase in (SetupPhase.ADVERTISE, SetupPhase.DEAL))

    @invariant()
    def only_a_whole_set_up_with_rounds_left_is_usable(self) -> None:
        state = self.state
        whole = state.phase is SetupPhase.READY and not state.lost
        assert state.usable == (whole and state.used < state.rounds)


TestSetup = SetupMachine.TestCase


def advertised(state: Setup) -> Setup:
    for site in state.pool:
        state = state.on_advert(site)
    return state


def dealt(state: Setup) -> Setup:
    for site in state.roster:
        state = state.on_deal(site)
    return state


def test_everyone_answers() -> None:
    state = dealt(advertised(setup()))
    assert state.usable and state.roster == NAMES[:4]


def test_a_deadline_goes_on_with_those_who_advertised_if_they_are_enough() -> None:
    three = setup().on_advert(NAMES[0]).on_advert(NAMES[1]).on_advert(NAMES[2]).on_deadline()
    assert three.phase is SetupPhase.DEAL and three.roster == NAMES[:3]
    two = setup().on_advert(NAMES[0]).on_advert(NAMES[1]).on_deadline()
    assert two.phase is SetupPhase.FAILED and two.willing == NAMES[:2]


def test_a_site_lost_while_dealing_costs_the_set_up_and_only_itself() -> None:
    # The refusal may overtake the others' deals: they are no less willing for it.
    state = advertised(setup()).on_deal(NAMES[1]).on_lost(NAMES[0])
    assert state.phase is SetupPhase.FAILED
    assert state.willing == NAMES[1:4]


def test_who_does_not_deal_in_time_is_not_invited_again() -> None:
    state = advertised(setup()).on_deal(NAMES[1]).on_deal(NAMES[2]).on_deadline()
    assert state.phase is SetupPhase.FAILED
    assert state.willing == NAMES[1:3]


def test_a_refused_invitation_is_not_waited_for() -> None:
    state = setup().on_lost(NAMES[3])
    for site in NAMES[:3]:
        state = state.on_advert(site)
    assert state.phase is SetupPhase.DEAL and state.roster == NAMES[:3]


def test_too_many_refused_invitations_end_it_at_once() -> None:
    assert setup().on_lost(NAMES[3]).on_lost(NAMES[2]).phase is SetupPhase.FAILED


def test_a_batch_is_used_up() -> None:
    state = dealt(advertised(setup(rounds=2)))
    assert state.on_used(0).usable
    assert not state.on_used(0).on_used(1).usable


def test_a_batch_whose_keys_one_site_lost_is_not_used_again() -> None:
    assert not dealt(advertised(setup())).on_lost(NAMES[0]).usable


def test_a_site_that_leaves_after_its_advert_ends_the_set_up_and_is_not_asked_again() -> None:
    """Its keys may have been shown already: a roster without it would be another one."""
    state = setup(4).on_advert(NAMES[0]).on_lost(NAMES[0])
    assert state.phase is SetupPhase.FAILED
    assert NAMES[0] not in state.willing


def large(sites: int = 33) -> Setup:
    names = tuple(SiteName(f"site-{number:02}") for number in range(sites))
    return Setup(BatchId("b"), RunId("r"), names, 2, 20)


def test_a_large_pool_chooses_before_it_deals() -> None:
    state = large()
    assert state.sparse
    for site in state.pool[1:]:
        state = state.on_advert(site)
    state = state.on_deadline()
    assert state.phase is SetupPhase.CHOOSE
    assert not state.waits_for(state.pool[0])
    for site in state.roster:
        assert state.on_choice(site).on_choice(site) == state.on_choice(site)
        state = state.on_choice(site)
    assert state.phase is SetupPhase.DEAL
    for site in state.roster:
        state = state.on_deal(site)
    assert state.phase is SetupPhase.READY
    assert state.usable


def test_a_site_lost_while_choosing_costs_the_set_up_and_only_itself() -> None:
    state = large()
    for site in state.pool:
        state = state.on_advert(site)
    for site in state.pool[1:]:
        state = state.on_choice(site)
    for ended in (state.on_deadline(), state.on_lost(state.pool[0])):
        assert ended.phase is SetupPhase.FAILED
        assert ended.willing == state.pool[1:]
