"""Late cohorts forming, under events in any order, twice, too late and from strangers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wardround.coordinator.streams import GATHERING
from wardround.federation.late import MOST_WASTED, CohortPhase, Gathering, LateCohort, Waiting
from wardround.federation.round import RoundPhase
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg import Adversary, CohortManifest, CohortTerms
from wardround.trust.canonical import digest

RUN = RunId("run")
STUDY = digest(b"study")
NAMES = tuple(SiteName(f"site-{number}") for number in range(8))
STRANGER = SiteName("stranger")
TASKS = tuple(digest(b"task %d" % number) for number in range(2))
FAR = 1000
ANYONE = st.sampled_from((*NAMES, STRANGER))
NUMBER = st.integers(0, 5)
SIGN, DEAL, READY, FAILED = CohortPhase
ALLOWED = {SIGN: {SIGN, DEAL, FAILED}, DEAL: {DEAL, READY, FAILED}, READY: {READY}}
ALLOWED[FAILED] = {FAILED}


def statement(site: SiteName, number: int) -> Digest:
    return digest(f"{site} {number}".encode())


def ready(site: SiteName, number: int = 0, task: int = 0, expires: int = FAR) -> Waiting:
    return Waiting(site, statement(site, number), TASKS[task], expires)


def proposed(state: Gathering, terms: CohortTerms, **changes: object) -> CohortManifest:
    due = state.due()
    fields: dict[str, object] = {
        "study": STUDY,
        "run": state.run,
        "sequence": state.sequence,
        "task": due[0].task,
        "ready": {one.site: one.ready for one in due},
        "corrupt": terms.corrupt,
        "threshold": terms.adversary.threshold,
        "minimum_survivors": terms.minimum_survivors,
    }
    return CohortManifest(**{**fields, **changes})


class GatheringMachine(RuleBasedStateMachine):
    """Every transition is checked against what may follow what, and against repetition."""

    @initialize(size=st.integers(3, 5), corrupt=st.integers(0, 1))
    def begin(self, size: int, corrupt: int) -> None:
        self.terms = CohortTerms(size, min(corrupt, (size - 1) // 3))
        self.state = Gathering(RUN, NAMES, size)
        self.named: dict[Digest, int] = {}
        self.expires: dict[Digest, int] = {}
        self.rosters: dict[int, tuple[SiteName, ...]] = {}
        self.numbers = 0

    def become(self, new: Gathering, again: Gathering) -> None:
        assert again == new, "the same event twice is the event once"
        before = {one.manifest.sequence: one.phase for one in self.state.cohorts}
        for cohort in new.cohorts:
            old = before.get(cohort.manifest.sequence, SIGN)
            assert cohort.phase in ALLOWED[old]
        for one, until in self.state.retired.items():
            assert new.retired.get(one) == until or until < new.sequence, "forgotten for its age"
        assert new.barred >= self.state.barred
        self.state = new

    @rule(site=ANYONE, task=st.integers(0, 1), lasts=st.integers(-1, 3), old=st.booleans())
    def says_ready(self, site: SiteName, task: int, lasts: int, old: bool) -> None:
        self.numbers += 0 if old else 1
        new = ready(site, self.numbers, task, self.state.sequence + lasts)
        after = self.state.on_ready(new)
        if site == STRANGER or site in self.state.barred or lasts < 0:
            assert after is self.state
        if new.ready in self.state.retired.keys() | {one.ready for one in self.state.waiting}:
            assert after is self.state, "a known statement changes nothing, a spent one least"
        if self.state.forms_with(site):
            assert after is self.state, "nobody breaks a cohort by saying ready anew"
        self.become(after, after.on_ready(new))

    @rule(sites=st.permutations(NAMES))
    def many_say_ready(self, sites: list[SiteName]) -> None:
        for site in sites[: self.state.size]:
            self.says_ready(site, 0, 3, False)

    @rule()
    def propose(self) -> None:
        due = self.state.due()
        if not due:
            return
        assert len(due) == self.state.size and len({one.task for one in due}) == 1
        manifest = proposed(self.state, self.terms)
        for one in due:
            assert one.expires >= manifest.sequence
            assert one.ready not in self.named, "no statement is in two manifests"
            assert one.site not in self.state.barred
            self.named[one.ready] = manifest.sequence
            self.expires[one.ready] = one.expires
        after = self.state.on_proposed(manifest)
        assert after.sequence == self.state.sequence + 1
        self.rosters[manifest.sequence] = manifest.cohort
        self.become(after, after.on_proposed(manifest))

    @rule(number=NUMBER, site=ANYONE, foreign=st.booleans())
    def signature(self, number: int, site: SiteName, foreign: bool) -> None:
        cohort = self.state.cohort(number)
        name = STUDY if foreign or cohort is None else cohort.manifest.digest
        after = self.state.on_signature(number, site, name)
        if foreign or cohort is None or not (cohort.phase is SIGN and cohort.waits_for(site)):
            assert after is self.state, "only what was asked for changes anything"
        self.become(after, after.on_signature(number, site, name))

    @rule(number=NUMBER, foreign=st.sampled_from(NAMES))
    def everybody_signs(self, number: int, foreign: SiteName) -> None:
        cohort = self.state.cohort(number)
        for site in (foreign, *(cohort.roster if cohort else ())):
            name = cohort.manifest.digest if cohort else STUDY
            self.become(after := self.state.on_signature(number, site, name), after)

    @rule(number=NUMBER, site=ANYONE)
    def deals(self, number: int, site: SiteName) -> None:
        cohort = self.state.cohort(number)
        after = self.state.on_deal(number, site)
        if cohort is None or not (cohort.phase is DEAL and cohort.waits_for(site)):
            assert after is self.state, "only what was asked for changes anything"
        self.become(after, after.on_deal(number, site))

    @rule(number=NUMBER)
    def everybody_deals(self, number: int) -> None:
        for site in NAMES:
            self.become(after := self.state.on_deal(number, site), after)

    @rule(number=NUMBER, site=ANYONE)
    def lost(self, number: int, site: SiteName) -> None:
        after = self.state.on_lost(number, site)
        self.become(after, after.on_lost(number, site))

    @rule(site=ANYONE)
    def barred(self, site: SiteName) -> None:
        if len(self.state.barred) < 2:
            after = self.state.on_barred(site)
            self.become(after, after.on_barred(site))

    @rule(site=ANYONE)
    def withdrawn(self, site: SiteName) -> None:
        after = self.state.on_withdrawn(site)
        assert all(one.site != site for one in after.waiting)
        assert not any(one.under_way and site in one.roster for one in after.cohorts)
        self.become(after, after.on_withdrawn(site))

    @rule(statement=st.integers(0, 50), site=st.sampled_from(NAMES))
    def an_old_one_comes_back(self, statement: int, site: SiteName) -> None:
        old = ready(site, min(statement, self.numbers), expires=self.state.sequence + 1)
        if old.ready in self.named:
            until = self.expires[old.ready]
            again = self.state.on_ready(replace(old, expires=until))
            assert again is self.state, "what a manifest named comes back in none"

    @rule()
    def version(self) -> None:
        self.become(after := self.state.on_version(), after.on_version())
        assert not any(self.state.exhausted(site) for site in NAMES)

    @rule(number=NUMBER)
    def deadline(self, number: int) -> None:
        after = self.state.on_deadline(number)
        self.become(after, after.on_deadline(number))

    @rule(number=NUMBER)
    def over(self, number: int) -> None:
        after = self.state.on_over(number)
        self.become(after, after.on_over(number))

    @invariant()
    def no_two_cohorts_share_a_statement(self) -> None:
        named = [one for cohort in self.state.cohorts for one in cohort.manifest.ready.values()]
        assert len(set(named)) == len(named)
        waiting = [one.ready for one in self.state.waiting]
        retired = self.state.retired
        assert retired.keys().isdisjoint(waiting)
        assert all(one in retired or self.expires[one] < self.state.sequence for one in named)
        assert all(until >= self.state.sequence for until in retired.values())
        assert len({one.site for one in self.state.waiting}) == len(waiting)

    @invariant()
    def a_cohort_never_changes_and_is_never_smaller_than_agreed(self) -> None:
        for cohort in self.state.cohorts:
            assert cohort.roster == self.rosters[cohort.manifest.sequence]
            assert len(cohort.roster) == self.terms.size >= self.terms.minimum_survivors
            assert set(cohort.roster) <= set(NAMES)

    @invariant()
    def nobody_deals_before_everybody_signed_nor_masks_before_everybody_dealt(self) -> None:
        for cohort in self.state.cohorts:
            if cohort.dealt or cohort.phase in (DEAL, READY):
                assert cohort.signed == set(cohort.roster)
            if cohort.phase is READY:
                assert cohort.dealt == set(cohort.roster)
                assert cohort.round().minimum == self.terms.minimum_survivors
            else:
                with pytest.raises(ValueError, match="everybody"):
                    cohort.round()

    @invariant()
    def it_waits_for_somebody_or_is_decided(self) -> None:
        for cohort in self.state.cohorts:
            assert cohort.under_way == any(cohort.waits_for(site) for site in NAMES)
            assert (cohort.reason is not None) == (cohort.phase is FAILED) == bool(cohort.lost)
            assert not cohort.waits_for(STRANGER)

    @invariant()
    def who_was_barred_is_in_nothing_under_way(self) -> None:
        for cohort in self.state.cohorts:
            assert not (cohort.under_way and self.state.barred & set(cohort.roster))
        assert self.state.barred.isdisjoint(one.site for one in self.state.waiting)


TestGathering = GatheringMachine.TestCase
TERMS = CohortTerms(4, 1, 1)


def gathering(*sites: SiteName, size: int = 4) -> Gathering:
    state = Gathering(RUN, NAMES, size)
    for site in sites:
        state = state.on_ready(ready(site))
    return state


def formed(*sites: SiteName) -> Gathering:
    state = gathering(*(sites or NAMES[:4]))
    return state.on_proposed(proposed(state, TERMS))


def only(state: Gathering) -> LateCohort:
    (cohort,) = state.cohorts
    return cohort


def test_the_first_k_that_are_ready_are_the_cohort() -> None:
    assert gathering(*NAMES[:3]).due() == ()
    state = gathering(NAMES[5], NAMES[2], NAMES[7], NAMES[0], NAMES[1])
    assert [one.site for one in state.due()] == [NAMES[0], NAMES[2], NAMES[5], NAMES[7]]
    state = state.on_proposed(proposed(state, TERMS))
    assert [one.site for one in state.waiting] == [NAMES[1]]


def test_everybody_signs_deals_and_it_is_a_round() -> None:
    state = formed()
    name = only(state).manifest.digest
    for site in NAMES[:4]:
        assert state.on_signature(0, site, STUDY) is state, "under another manifest"
        state = state.on_signature(0, site, name)
    for site in NAMES[:4]:
        assert only(state).phase is DEAL
        state = state.on_deal(0, site)
    round_ = only(state).round()
    assert (round_.round, round_.index, round_.roster) == ("run.c.000000", 0, NAMES[:4])
    assert (round_.threshold, round_.minimum) == (3, 3)
    for site in NAMES[:3]:
        round_ = round_.on_packet(site)
    assert round_.on_deadline().phase is RoundPhase.VOTE, "from here on it is any round"
    assert state.on_over(0).cohorts == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"run": RunId("another")},
        {"sequence": 1},
        {"task": TASKS[1]},
        {"ready": {site: statement(site, 0) for site in NAMES[1:5]}},
        {"ready": {site: statement(site, 0) for site in NAMES[:5]}},
        {"ready": {site: statement(site, 0) for site in NAMES[:3]}},
        {"ready": {site: statement(site, 1) for site in NAMES[:4]}},
    ],
    ids=["run", "sequence", "task", "others", "more", "fewer", "other statements"],
)
def test_a_manifest_over_anything_but_what_is_due_is_no_cohort(changes: dict[str, object]) -> None:
    state = gathering(*NAMES[:5])
    size = len(changes.get("ready", NAMES[:4]))
    terms = Adversary(size, 0)
    fitting = {"corrupt": 0, "threshold": terms.threshold, "minimum_survivors": 3}
    manifest = proposed(state, TERMS, **{**fitting, **changes})
    assert state.on_proposed(manifest) is state


def test_a_site_that_disappears_is_replaced_and_the_others_say_ready_anew() -> None:
    state = formed(*NAMES[:5])
    for site in NAMES[:3]:
        state = state.on_signature(0, site, only(state).manifest.digest)
    state = state.on_deadline(0)
    assert only(state).lost == {NAMES[3]} and "too long to sign" in str(only(state).reason)
    for site in NAMES[:4]:
        again = state.on_ready(ready(site))
        assert again is state, "what was named in the dead manifest is spent"
    for site in (NAMES[3], *NAMES[:3]):
        state = state.on_ready(ready(site, 1))
    assert [one.site for one in state.due()] == [*NAMES[:3], NAMES[4]], "the reliable go first"


def test_a_site_that_says_ready_anew_breaks_no_cohort_that_counts_on_it() -> None:
    state = formed(*NAMES[:5])
    assert state.on_ready(ready(NAMES[2], 1)) is state
    state = state.on_withdrawn(NAMES[2]).on_ready(ready(NAMES[2], 1))
    assert only(state).phase is FAILED and [one.site for one in state.waiting] == [
        NAMES[4],
        NAMES[2],
    ]
    newer = state.on_ready(ready(NAMES[2], 2))
    assert newer.on_ready(ready(NAMES[2], 1)) is newer, "an older one does not come back"


def test_a_site_that_says_ready_over_and_over_is_heard_so_often_and_no_more() -> None:
    """The attack: each statement is new, and would be remembered for ever."""
    state = gathering(*NAMES[:2])
    for number in range(1, 1000):
        state = state.on_ready(ready(NAMES[1], number))
    assert state.exhausted(NAMES[1]) and not state.exhausted(NAMES[0])
    assert state.wasted == {NAMES[1]: MOST_WASTED} and len(state.retired) == MOST_WASTED
    moved_on = state.on_version()
    assert len(moved_on.on_ready(ready(NAMES[1], 1000)).waiting) == 1 + 1


@pytest.mark.parametrize("leave", ["restarts", "refuses", "dawdles"])
def test_a_site_that_leaves_every_cohort_costs_so_many_and_no_more(leave: str) -> None:
    """The attack: the others have said ready, and do so again each time."""
    state, formed = gathering(), 0
    for number in range(1000):
        waiting = {one.site for one in state.waiting}
        for site in (one for one in NAMES[:4] if one not in waiting):
            state = state.on_ready(ready(site, number))
        if not state.due():
            continue
        state = state.on_proposed(proposed(state, TERMS))
        formed += 1
        (cohort,), sequence = state.cohorts, state.sequence - 1
        for site in NAMES[1:4]:
            state = state.on_signature(sequence, site, cohort.manifest.digest)
        if leave == "restarts":
            state = state.on_withdrawn(NAMES[0])
        elif leave == "refuses":
            state = state.on_lost(sequence, NAMES[0])
        else:
            state = state.on_deadline(sequence)
        assert only(state).lost == {NAMES[0]}
        state = state.on_over(sequence)
    assert formed == MOST_WASTED
    assert not any(state.exhausted(site) for site in NAMES[1:4]), "it is not the others' doing"
    assert state.on_ready(ready(NAMES[4])).due(), "and they go on without it"


def test_what_is_remembered_does_not_grow_with_the_cohorts() -> None:
    """Each statement holds for two more cohorts: then it is refused for its age, and forgotten."""
    state, sizes = gathering(), []
    for number in range(300):
        for site in NAMES[:4]:
            state = state.on_ready(ready(site, number, expires=state.sequence + 2))
        before, state = state, state.on_proposed(proposed(state, TERMS))
        for one in before.waiting:
            assert state.on_ready(one) is state
        sequence = state.sequence - 1
        for site in NAMES[:4]:
            state = state.on_signature(sequence, site, only(state).manifest.digest)
        for site in NAMES[:4]:
            state = state.on_deal(sequence, site)
        state = state.on_over(sequence).on_version()
        sizes.append(len(GATHERING.dump_json(state)))
        assert all(state.on_ready(one) is state for one in before.waiting)
    assert len(state.retired) == 2 * 4
    assert sizes[-1] <= sizes[10] + 3 * 10, "but for the digits of its numbers"


def test_a_statement_expires_by_count_and_not_by_clock() -> None:
    state = gathering(*NAMES[:4]).on_ready(ready(NAMES[6], expires=0))
    state = state.on_proposed(proposed(state, TERMS))
    assert state.sequence == 1 and state.waiting == ()
    assert state.on_ready(ready(NAMES[6], expires=0)) is state
    assert state.on_ready(ready(NAMES[6], 1, expires=0)) is state


def test_cohorts_of_different_tasks_form_apart() -> None:
    state = gathering(*NAMES[:3])
    for site in NAMES[3:7]:
        state = state.on_ready(ready(site, task=1))
    assert [one.site for one in state.due()] == list(NAMES[3:7])


def test_a_convicted_site_is_out_and_its_cohort_dead() -> None:
    state = formed(*NAMES[:5]).on_barred(NAMES[1])
    assert only(state).phase is FAILED
    assert state.on_ready(ready(NAMES[1], 1)) is state
    waits = gathering(*NAMES[:3]).on_barred(NAMES[1])
    assert [one.site for one in waits.waiting] == [NAMES[0], NAMES[2]]


def test_a_site_that_restarts_waits_no_more_and_may_say_ready_anew() -> None:
    waits = gathering(*NAMES[:3]).on_withdrawn(NAMES[1])
    assert [one.site for one in waits.waiting] == [NAMES[0], NAMES[2]]
    assert waits.on_ready(ready(NAMES[1])) is waits, "its old keys are gone"
    assert len(waits.on_ready(ready(NAMES[1], 1)).waiting) == 3
    state = formed(*NAMES[:5]).on_withdrawn(NAMES[1])
    assert only(state).phase is FAILED and only(state).lost == {NAMES[1]}
    assert state.on_withdrawn(NAMES[1]) is state


def test_what_is_decided_stays_so() -> None:
    failed = formed().on_lost(0, NAMES[0])
    for after in (
        failed.on_signature(0, NAMES[1], only(failed).manifest.digest),
        failed.on_deal(0, NAMES[1]),
        failed.on_lost(0, NAMES[1]),
        failed.on_deadline(0),
        failed.on_lost(0, STRANGER),
    ):
        assert after is failed
    assert formed().on_over(0).cohorts, "a cohort under way is not dropped"
    assert replace(failed, cohorts=()).on_over(0).cohorts == ()
