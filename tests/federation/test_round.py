"""A round under events in any order, twice, too late and from strangers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wardround.federation.round import Round, RoundPhase
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.secagg import Adversary

NAMES = tuple(SiteName(f"site-{number}") for number in range(7))
STRANGER = SiteName("stranger")
ANYONE = st.sampled_from((*NAMES, STRANGER))
COLLECT, VOTE, RECOVER = RoundPhase.COLLECT, RoundPhase.VOTE, RoundPhase.RECOVER
OPENING, DONE, FAILED = RoundPhase.OPENING, RoundPhase.DONE, RoundPhase.FAILED
AUDIT, GARBAGE = RoundPhase.AUDIT, RoundPhase.GARBAGE
ALLOWED = {
    COLLECT: {COLLECT, VOTE, FAILED},
    VOTE: {VOTE, RECOVER, FAILED},
    RECOVER: {RECOVER, OPENING, FAILED},
    OPENING: {OPENING, DONE, RECOVER, FAILED, AUDIT},
    AUDIT: {AUDIT, GARBAGE},
    GARBAGE: {GARBAGE},
    DONE: {DONE},
    FAILED: {FAILED},
}
Event = Callable[[Round], Round]


def round_(sites: int = 4, corrupt: int = 1, minimum: int = 0) -> Round:
    adversary = Adversary(sites, corrupt)
    return Round(
        round=RoundId("r"),
        run=RunId("run"),
        step=0,
        attempt=0,
        batch=BatchId("b"),
        index=0,
        roster=NAMES[:sites],
        threshold=adversary.threshold,
        minimum=max(adversary.minimum_survivors, minimum),
        needed=adversary.threshold,
    )


class RoundMachine(RuleBasedStateMachine):
    """Every transition is checked against what may follow what, and against repetition."""

    @initialize(sites=st.integers(3, 7), data=st.data())
    def begin(self, sites: int, data: st.DataObject) -> None:
        corrupt = data.draw(st.integers(0, (sites - 1) // 3))
        self.state = round_(sites, corrupt, data.draw(st.integers(3, sites)))
        self.survivors: tuple[SiteName, ...] | None = None

    def become(self, event: Event, *, asked: bool) -> None:
        new = event(self.state)
        assert new.phase in ALLOWED[self.state.phase]
        assert asked or new is self.state, "only what was asked for changes anything"
        if new.phase is self.state.phase:
            assert event(new) is new, "the same event twice is the event once"
        self.state = new

    @rule(site=ANYONE)
    def packet(self, site: SiteName) -> None:
        asked = self.state.phase is COLLECT and self.state.waits_for(site)
        self.become(lambda state: state.on_packet(site), asked=asked)

    @rule(site=ANYONE)
    def refused(self, site: SiteName) -> None:
        asked = site in self.state.roster and not self.state.over
        self.become(lambda state: state.on_refused(site), asked=asked)

    @rule(site=ANYONE)
    def vote(self, site: SiteName) -> None:
        voting = self.state.phase in (RoundPhase.VOTE, RoundPhase.RECOVER)
        asked = voting and site in self.state.packets - self.state.votes - self.state.refused
        self.become(lambda state: state.on_vote(site), asked=asked)

    @rule(site=ANYONE)
    def shares(self, site: SiteName) -> None:
        asked = self.state.phase is RECOVER and site in self.state.votes
        self.become(lambda state: state.on_shares(site), asked=asked)

    @rule()
    def waiting(self) -> None:
        asked = self.state.phase is RECOVER and not self.state.widened
        self.become(Round.on_waiting, asked=asked)

    @rule()
    def opened(self) -> None:
        self.become(Round.on_opened, asked=self.state.phase is OPENING)

    @rule()
    def garbage(self) -> None:
        self.become(Round.on_garbage, asked=self.state.phase is OPENING)

    @rule(site=ANYONE)
    def audit(self, site: SiteName) -> None:
        asked = self.state.phase is AUDIT and site in self.state.survivors
        self.become(lambda state: state.on_audit(site), asked=asked)

    @rule()
    def verdict(self) -> None:
        self.become(lambda state: state.on_verdict("found"), asked=self.state.phase is AUDIT)

    @precondition(lambda self: self.state.phase is OPENING)
    @rule()
    def bad_shares(self) -> None:
        self.state = self.state.on_bad_shares(len(self.state.shares) - self.state.threshold + 1)
        assert self.state.phase in (RECOVER, FAILED), "the same shares are not tried again"

    @rule()
    def deadline(self) -> None:
        waited = self.state.phase in (COLLECT, VOTE, RECOVER)
        self.become(Round.on_deadline, asked=waited)
        assert self.state.phase is not COLLECT

    @invariant()
    def one_site_after_the_other_takes_every_step(self) -> None:
        state = self.state
        assert state.shares <= state.votes <= state.packets <= set(state.roster)
        assert set(state.survivors) | set(state.dropped) == set(state.roster)

    @invariant()
    def a_total_is_only_opened_with_enough_of_everything(self) -> None:
        state = self.state
        if state.phase in (VOTE, RECOVER, OPENING, DONE):
            assert len(state.packets) >= state.minimum
        if state.phase in (RECOVER, OPENING, DONE):
            assert len(state.votes) >= state.threshold
        if state.phase in (OPENING, DONE, AUDIT, GARBAGE):
            assert len(state.shares) >= state.needed >= state.threshold

    @invariant()
    def the_survivors_are_settled_when_voting_begins(self) -> None:
        if self.state.phase in (VOTE, RECOVER, OPENING, DONE, AUDIT, GARBAGE):
            self.survivors = self.survivors or self.state.survivors
            assert self.state.survivors == self.survivors

    @invariant()
    def it_ends_or_waits_for_somebody(self) -> None:
        waiting = any(self.state.waits_for(site) for site in NAMES)
        if self.state.phase is AUDIT:
            assert waiting == (self.state.audited != self.state.packets)
        else:
            assert waiting == (self.state.phase in (COLLECT, VOTE, RECOVER))
        assert not self.state.waits_for(STRANGER)

    @invariant()
    def a_failure_has_a_reason(self) -> None:
        assert (self.state.reason is not None) == (self.state.phase in (FAILED, GARBAGE))


TestRound = RoundMachine.TestCase


def after_packets(state: Round, sites: int) -> Round:
    for site in state.roster[:sites]:
        state = state.on_packet(site)
    return state


def voted(state: Round) -> Round:
    for site in state.survivors[: state.threshold]:
        state = state.on_vote(site)
    return state


def shared(state: Round) -> Round:
    for site in sorted(state.votes)[: state.needed]:
        state = state.on_shares(site)
    return state


def test_everyone_answers() -> None:
    state = shared(voted(after_packets(round_(), 4)))
    assert state.phase is OPENING
    assert state.on_opened().phase is DONE and state.on_opened().over


def test_a_straggler_is_dropped_at_the_deadline() -> None:
    state = after_packets(round_(), 3)
    assert state.phase is COLLECT
    state = state.on_deadline()
    assert state.phase is VOTE and state.dropped == (NAMES[3],)
    late = state.on_packet(NAMES[3])
    assert late is state, "a packet that comes after the survivors were told is not counted"


def test_a_refusal_spares_the_wait() -> None:
    assert after_packets(round_().on_refused(NAMES[3]), 3).phase is VOTE


@pytest.mark.parametrize("minimum", [3, 4])
def test_below_the_minimum_nothing_is_opened(minimum: int) -> None:
    state = after_packets(round_(minimum=minimum), minimum - 1).on_deadline()
    assert state.phase is FAILED
    assert state.reason == f"{minimum - 1} sites answered, {minimum} are needed"


def test_the_round_fails_as_soon_as_too_few_can_sign() -> None:
    state = after_packets(round_(), 3).on_deadline()
    state = state.on_refused(NAMES[0])
    assert state.phase is FAILED and state.reason is not None and "sign" in state.reason


def test_a_late_voter_may_still_help_to_recover() -> None:
    state = voted(after_packets(round_(), 4))
    assert state.phase is RECOVER
    assert not state.waits_for(NAMES[3]), "the first voters help; the others are spared"
    assert state.on_waiting().asks_vote_of(NAMES[3]), "unless the first take their time"
    assert state.on_refused(NAMES[0]).asks_vote_of(NAMES[3]), "or one of them can't help"
    assert state.on_shares(NAMES[3]) is state, "no shares without the site's own vote"
    assert NAMES[3] in state.on_vote(NAMES[3]).on_shares(NAMES[3]).shares


def test_bad_shares_ask_for_one_more_and_then_give_up() -> None:
    state = shared(voted(after_packets(round_(), 4)))
    again = state.on_bad_shares(1)
    assert again.phase is RECOVER and again.needed == again.threshold + 1
    opening = again.on_vote(NAMES[3]).on_shares(NAMES[3])
    assert opening.phase is OPENING
    assert opening.on_bad_shares(2).phase is FAILED


def test_after_garbage_every_survivor_is_asked_even_one_that_lost_its_keys() -> None:
    state = voted(after_packets(round_(), 4)).on_refused(NAMES[3])
    state = shared(state).on_garbage()
    assert state.phase is AUDIT and not state.over
    for site in state.survivors:
        assert state.waits_for(site) and not state.asks_vote_of(site)
        state = state.on_audit(site)
    assert state.on_deadline() is state
    end = state.on_verdict("nobody knows")
    assert end.over and end.phase is GARBAGE and end.on_opened() is end


@pytest.mark.parametrize("phase", [VOTE, RECOVER])
def test_time_runs_out_while_signing_or_recovering(phase: RoundPhase) -> None:
    state = after_packets(round_(), 4)
    if phase is RECOVER:
        state = voted(state)
    assert state.phase is phase
    assert state.on_deadline().phase is FAILED


def test_a_failed_round_names_whose_answers_it_lacked() -> None:
    one, two, three, four = NAMES[:4]
    short = round_(minimum=3).on_packet(one).on_packet(two)
    assert short.lacked == () and short.on_deadline().lacked == (three, four)
    voting = short.on_packet(three).on_deadline()
    unsigned = voting.on_vote(one).on_deadline()
    assert unsigned.phase is FAILED and unsigned.lacked == (two, three)
    recovering = voting
    for site in (one, two, three):
        recovering = recovering.on_vote(site)
    silent = recovering.on_shares(one).on_deadline()
    assert silent.phase is FAILED and silent.lacked == (two, three)
