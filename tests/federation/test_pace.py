"""How long a round waits, as a function of what the sites took before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.federation.pace import (
    FEWEST,
    MARGIN,
    Limits,
    Runner,
    closing_s,
    deadline_s,
    quantile,
    usual_s,
)
from wardround.ids import SiteName

LIMITS = Limits(floor_s=2.0, ceiling_s=100.0)
seconds = st.floats(0.01, 500.0)
histories = st.lists(seconds, max_size=70)


def names(count: int) -> list[SiteName]:
    return [SiteName(f"site-{number:02d}") for number in range(count)]


@st.composite
def rounds(draw: st.DrawFn) -> tuple[dict[SiteName, Runner], frozenset[SiteName], int, float]:
    """Runners, who answered, the quorum, and the time."""
    sites = names(draw(st.integers(3, 9)))
    runners = {
        site: Runner(draw(seconds), draw(st.one_of(seconds, st.just(math.inf)))) for site in sites
    }
    answered = frozenset(draw(st.sets(st.sampled_from(sites))))
    return runners, answered, draw(st.integers(3, len(sites))), draw(seconds)


def test_the_ninetieth_percentile_is_the_nearest_rank() -> None:
    assert quantile([float(one) for one in range(1, 11)], 0.9) == 9.0
    assert quantile([3.0], 0.9) == 3.0


def test_a_deadline_is_one_and_a_half_times_what_nine_of_ten_answers_took() -> None:
    assert deadline_s([4.0] * 9 + [50.0], LIMITS) == 6.0


@given(histories)
def test_a_deadline_keeps_to_floor_and_ceiling(times: list[float]) -> None:
    found = deadline_s(times, LIMITS)
    assert LIMITS.floor_s <= found <= LIMITS.ceiling_s
    if len(times) < FEWEST:
        assert found == LIMITS.ceiling_s and usual_s(times) is None


@given(st.lists(seconds, min_size=FEWEST, max_size=50), st.floats(1.0, 10.0))
def test_a_slower_history_gives_no_shorter_deadline(times: list[float], factor: float) -> None:
    slower = [one * factor for one in times]
    assert deadline_s(slower, LIMITS) >= deadline_s(times, LIMITS)


@given(st.lists(st.floats(2.0, 60.0), min_size=FEWEST, max_size=50))
def test_nine_of_ten_known_answers_are_within_the_deadline(times: list[float]) -> None:
    inside = sum(one * MARGIN <= deadline_s(times, LIMITS) for one in times)
    assert inside >= 0.9 * len(times)


@given(rounds())
def test_only_the_ceiling_fails_a_round_and_nothing_outlasts_it(round_: tuple) -> None:
    runners, answered, wanted, now = round_
    found = closing_s(
        runners, answered, now_s=now, wanted=wanted, minimum=3, ceiling_s=LIMITS.ceiling_s
    )
    assert found <= LIMITS.ceiling_s
    if len(answered) < 3:
        assert found == LIMITS.ceiling_s


@given(rounds())
def test_whom_the_quorum_needs_is_never_cut_off_within_its_own_time(round_: tuple) -> None:
    runners, answered, wanted, now = round_
    found = closing_s(runners, answered, now_s=now, wanted=wanted, minimum=1, ceiling_s=1e6)
    needed = len(answered) < wanted
    for site, one in runners.items():
        if needed and site not in answered and one.due_s > now:
            assert found >= one.due_s


@given(rounds(), st.integers(1, 3))
def test_wanting_more_never_closes_sooner(round_: tuple, more: int) -> None:
    runners, answered, wanted, now = round_

    def closing(quorum: int) -> float:
        return closing_s(runners, answered, now_s=now, wanted=quorum, minimum=1, ceiling_s=1e6)

    assert closing(wanted + more) >= closing(wanted)


@given(rounds(), st.sampled_from(names(9)))
def test_another_answer_never_makes_a_round_wait_longer(round_: tuple, site: SiteName) -> None:
    runners, answered, wanted, now = round_

    def closing(heard: frozenset[SiteName]) -> float:
        return closing_s(runners, heard, now_s=now, wanted=wanted, minimum=1, ceiling_s=1e6)

    if site in runners:
        assert closing(answered | {site}) <= closing(answered)


@given(rounds())
def test_an_awaited_site_that_is_likely_to_come_is_waited_for(round_: tuple) -> None:
    runners, answered, wanted, now = round_
    for site, one in runners.items():
        if site in answered or one.due_s <= now or one.expected_s > one.due_s:
            continue
        found = closing_s(
            runners, answered, now_s=now, wanted=wanted, minimum=1, ceiling_s=1e6, awaited={site}
        )
        assert found >= one.due_s


def eight(slow_due: float = 15.0, slow_expected: float = 10.0) -> dict[SiteName, Runner]:
    """Seven sites that take one second as a rule, and one that takes ten."""
    return {
        site: Runner(slow_due, slow_expected) if number == 7 else Runner(2.0, 1.0)
        for number, site in enumerate(names(8))
    }


@pytest.mark.parametrize(
    ("wanted", "answered", "now", "closing"),
    [
        (8, 7, 1.0, 15.0),  # all are wanted: the slow one has its own time
        (7, 7, 1.0, 0.0),  # the quorum is there, and the slow one is not likely before 2 s
        (7, 6, 1.0, 15.0),  # one of the fast ones may still come, else the slow one is needed
        (7, 6, 3.0, 15.0),  # the fast one is late: the slow one is needed
        (7, 6, 16.0, 0.0),  # so is the slow one now
        (3, 3, 1.0, 2.0),  # four that are likely to come are let in
        (3, 3, 2.5, 0.0),
    ],
)
def test_seven_are_fast_and_one_is_ten_times_slower(
    wanted: int, answered: int, now: float, closing: float
) -> None:
    found = closing_s(
        eight(), names(answered), now_s=now, wanted=wanted, minimum=3, ceiling_s=100.0
    )
    assert found == closing


def test_without_history_the_ceiling_holds() -> None:
    unknown = {site: Runner(100.0, 0.0) for site in names(8)}
    found = closing_s(unknown, names(7), now_s=1.0, wanted=7, minimum=3, ceiling_s=100.0)
    assert found == 100.0


def test_a_dead_site_costs_nothing_where_the_others_are_enough() -> None:
    runners = eight(slow_due=0.0, slow_expected=math.inf)
    for wanted in (7, 8):
        closing = closing_s(runners, names(7), now_s=1.0, wanted=wanted, minimum=3, ceiling_s=100.0)
        assert closing == 0.0
