"""What a site keeps of its updates: nothing is lost and nothing counts twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.learning.error_feedback import WINDOW, ErrorFeedback, Turn, counted, tell, width
from wardround.secagg.chosen import coordinates, cycle_rounds

SEED = bytes(32)
FIRST, SENT = 7, 3
CYCLE = cycle_rounds(FIRST, SENT)

COUNTED, DROPPED, AGAIN, ASLEEP = "counted", "dropped", "again", "asleep"
RESTART, RETRIED = "restart", "restart before a second attempt"


@dataclass
class Site:
    """A site over rounds whose outcomes a test chooses; ``opened`` are the values that counted."""

    memory: ErrorFeedback = field(default_factory=ErrorFeedback)
    history: list[bool] = field(default_factory=list)
    opened: list[np.ndarray] = field(default_factory=list)
    scope: object = "run"

    def turn(self, bound: float = np.inf) -> Turn:
        number = len(self.history) + 1
        chosen = coordinates(SEED, FIRST, SENT, number)
        return Turn(self.scope, number, chosen, FIRST, self.history[-WINDOW:], bound)

    def round(self, update: Sequence[float], outcome: str = COUNTED, bound: float = np.inf) -> None:
        if outcome == RESTART:
            self.memory.forget()
        if outcome != ASLEEP:
            values = np.array([*update, 5.0])
            sent = self.memory.answer(self.turn(bound), values)
            if outcome == RETRIED:
                self.memory.forget()
                sent = self.memory.answer(self.turn(bound), values)
            if outcome == AGAIN:
                again = self.memory.answer(self.turn(bound), values)
                assert np.array_equal(sent, again), "the same task is answered the same"
            assert sent[FIRST] == 5.0, "what is behind the vector always travels"
            if outcome != DROPPED:
                self.opened.append(sent[:FIRST])
        self.history.append(outcome not in (DROPPED, ASLEEP))

    def drain(self, rounds: int = 2 * CYCLE, bound: float = np.inf) -> None:
        """Rounds without an update, a whole cycle among them, after which nothing is left."""
        for _ in range(rounds):
            self.round([0.0] * FIRST, bound=bound)


rounds = st.lists(
    st.tuples(
        st.lists(st.integers(-(2**20), 2**20), min_size=FIRST, max_size=FIRST),
        st.sampled_from([COUNTED, COUNTED, COUNTED, DROPPED, AGAIN, ASLEEP]),
    ),
    max_size=40,
)


@given(rounds)
@settings(max_examples=200, deadline=None)
def test_what_was_sent_and_what_is_left_are_the_updates_exactly(
    plan: list[tuple[list[int], str]],
) -> None:
    site, updates = Site(), np.zeros(FIRST)
    for update, outcome in plan:
        steps = np.array(update) * 2.0**-10
        site.round(steps, outcome)
        if outcome in (COUNTED, AGAIN):
            updates += steps
    site.drain()
    assert np.array_equal(np.sum(site.opened, axis=0), updates)


@given(
    st.lists(
        st.sampled_from([COUNTED, COUNTED, DROPPED, AGAIN, ASLEEP, RESTART, RETRIED]), max_size=48
    )
)
@settings(max_examples=200, deadline=None)
def test_no_update_counts_twice_whatever_is_lost(outcomes: list[str]) -> None:
    """Round r's update is 2^r in every coordinate, so the bits of what was sent say of which."""
    site = Site()
    for number, outcome in enumerate(outcomes):
        site.round([2.0**number] * FIRST, outcome)
    site.drain()
    for coordinate in range(FIRST):
        seen = 0
        for sent in site.opened:
            bits = int(sent[coordinate])
            assert bits & seen == 0
            seen |= bits
        lost = {one for one, outcome in enumerate(outcomes) if not seen >> one & 1}
        never = {one for one, what in enumerate(outcomes) if what in (DROPPED, ASLEEP)}
        assert never <= lost
        restarts = [one for one, what in enumerate(outcomes) if what in (RESTART, RETRIED)]
        assert all(one < max(restarts) for one in lost - never), "only what was not sent by then"


def test_a_second_attempt_that_is_not_answered_changes_nothing() -> None:
    site = Site()
    site.round([1.0] * FIRST)
    assert site.memory.left(replace(site.turn(), number=1, counted=())) is None
    site.drain()
    assert np.array_equal(np.sum(site.opened, axis=0), [1.0] * FIRST)


def test_without_a_memory_what_has_no_turn_is_gone() -> None:
    """What the first property would look like if nothing were kept."""
    site = Site()
    for _ in range(4):
        site.memory.forget()
        site.round([1.0] * FIRST)
    site.memory.forget()
    site.drain()
    assert np.sum(site.opened) == 4 * SENT < 4 * FIRST


def test_beyond_the_bound_it_stays_and_is_sent_later() -> None:
    site = Site()
    site.round([10.0] * FIRST, bound=4.0)
    site.drain(5 * CYCLE, bound=4.0)
    assert max(float(np.abs(one).max()) for one in site.opened) == 4.0
    assert np.array_equal(np.sum(site.opened, axis=0), [10.0] * FIRST)


@pytest.mark.parametrize("other", ["another run", ("run", frozenset({b"other patients"}))])
def test_another_run_or_other_patients_start_from_nothing(other: object) -> None:
    site = Site()
    site.round([1.0] * FIRST)
    site.scope = other
    site.drain()
    assert np.sum(site.opened) == SENT


def test_whoever_was_away_for_too_long_starts_from_nothing() -> None:
    for away, total in ((WINDOW - 1, FIRST), (WINDOW, SENT)):
        site = Site()
        site.round([1.0] * FIRST)
        for _ in range(away):
            site.round([1.0] * FIRST, ASLEEP)
        site.drain()
        assert np.sum(site.opened) == total


def test_a_round_that_is_asked_for_late_empties_the_memory() -> None:
    site = Site()
    site.round([1.0] * FIRST)
    site.round([1.0] * FIRST)
    site.history = []  # as if the coordinator began anew within a run
    site.opened = []
    site.drain()
    assert np.sum(site.opened) == 0


def test_a_task_says_who_was_in_its_predecessors() -> None:
    sites = tuple(f"site-{number:02d}" for number in range(11))
    totals = [sites[:3], sites, (), ("site-10",)]
    told = tell(totals, sites)
    assert len(told) == len(totals) * width(len(sites))
    for site in sites:
        assert counted(told, sites, site) == tuple(site in one for one in totals)
    assert counted(tell([sites] * 70 + [()], sites), sites, "site-04") == (True,) * 63 + (False,)
    assert counted(tell([], sites), sites, "site-04") == ()
