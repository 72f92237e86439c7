"""Whom a study asks that does not ask everybody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wardround.federation.selection import Candidate, due, select
from wardround.ids import SiteName

SITES = [SiteName(f"site-{number}") for number in range(8)]
speeds = st.fixed_dictionaries(
    {site: st.one_of(st.none(), st.floats(0.1, 100.0)) for site in SITES}
)


def test_the_fastest_are_asked_and_each_whose_turn_it_is() -> None:
    candidates = [Candidate(site, 10.0 - number, False) for number, site in enumerate(SITES)]
    candidates[0] = Candidate(SITES[0], 10.0, True)
    chosen = select(candidates, 3, "run")
    assert chosen.asked == tuple(sorted([*SITES[-3:], SITES[0]]))
    assert chosen.turns == (SITES[0],)
    assert chosen.order == tuple(reversed(SITES))


def test_an_unknown_site_comes_first_so_that_it_becomes_known() -> None:
    known = [Candidate(site, 1.0, False) for site in SITES[:7]]
    assert SITES[7] in select([*known, Candidate(SITES[7], None, False)], 1, "run").asked


def test_a_turn_of_one_that_is_asked_anyway_is_no_turn() -> None:
    assert select([Candidate(site, 1.0, True) for site in SITES], 8, "run").turns == ()


@given(
    st.lists(speeds, min_size=30, max_size=30),
    st.integers(1, 8),
    st.integers(1, 9),
)
def test_nobody_starves(history: list[dict], wanted: int, every: int) -> None:
    """Whatever the speeds and however they change: each is asked in any ``every`` rounds."""
    rosters: list[tuple[SiteName, ...]] = []
    for speed in history:
        turns = due(SITES, rosters, every)
        chosen = select(
            [Candidate(site, speed[site], site in turns) for site in SITES], wanted, "run"
        )
        assert len(chosen.asked) >= wanted
        rosters.append(chosen.asked)
    for start in range(len(rosters) - every + 1):
        assert set().union(*rosters[start : start + every]) == set(SITES)


@given(speeds, st.permutations(SITES))
def test_the_order_in_which_sites_are_listed_changes_nothing(
    speed: dict, order: list[SiteName]
) -> None:
    def chosen(sites: list[SiteName]) -> object:
        return select([Candidate(site, speed[site], site == SITES[2]) for site in sites], 4, "run")

    assert chosen(order) == chosen(SITES)


def test_equals_go_by_lot_and_not_by_the_alphabet() -> None:
    equal = [Candidate(site, None, False) for site in SITES]
    chosen = {select(equal, 3, f"run-{number}").asked for number in range(20)}
    assert len(chosen) > 5
