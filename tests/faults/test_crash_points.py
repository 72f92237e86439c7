"""Killed at any statement, commit, write, sync or rename, and started again: nothing is lost.

In the fast tests one death of each kind, in the slow ones every death there is, counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from faults.enumeration import (
    COORDINATOR,
    STUDIES,
    Blackout,
    Death,
    Enumeration,
    Loss,
    enumeration,
    share_of,
    stratified,
)

SHARES = 48

IN_FULL = ("secure-sum", "private")
"""Studies of which every party's every death is died, and with others' too."""


def survive(one: Enumeration, deaths: Sequence[Death], by_chance: float = 0.0) -> None:
    """Have each of them happen in a run of its own; so many may lie where no run comes by again."""
    lost = [end.lost for death in deaths if (end := asyncio.run(one.die(death))).lost]
    assert not lost, "\n".join(lost)
    assert len(one.unreached) <= by_chance * len(deaths), [str(death) for death in one.unreached]


def of_each_role(deaths: Iterable[Death]) -> list[Death]:
    """Those of the coordinator and of one hospital: the others run the same code."""
    roles = (COORDINATOR, next(one.party for one in deaths if one.party != COORDINATOR))
    return [one for one in deaths if one.party in roles and one.loss is not Loss.BYTES]


@pytest.mark.parametrize("study", STUDIES)
def test_a_death_of_each_kind_loses_nothing(study: str) -> None:
    with enumeration(study) as one:
        deaths = stratified(one.deaths, 1)
        # The code is the same but for what the others add, and their runs are long.
        survive(one, deaths if study in IN_FULL else deaths[::3], by_chance=0.1)


@pytest.mark.parametrize("study", IN_FULL)
def test_nothing_is_lost_when_several_lose_their_power_or_one_twice(study: str) -> None:
    with enumeration(study) as one:
        both = [death for death in one.double if death.blackout is Blackout.BOTH]
        every = [death for death in one.double if death.blackout is Blackout.ALL]
        twice = [death for death in one.double if death.again]
        for deaths in (both, every, twice):
            survive(one, deaths[3 :: len(deaths) // 5][:5], by_chance=0.1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("study", IN_FULL)
def test_no_death_loses_anything(study: str, share: int) -> None:
    """In a private study no charge is lost or saved, either."""
    with enumeration(study) as one:
        assert len(one.deaths) > 3500
        survive(one, share_of(one.deaths, share, SHARES), by_chance=0.01)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("study", IN_FULL)
def test_no_two_deaths_without_power_lose_anything(study: str, share: int) -> None:
    with enumeration(study) as one:
        assert len(one.double) > 400
        survive(one, share_of(one.double, share, SHARES), by_chance=0.01)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("study", sorted(set(STUDIES) - set(IN_FULL)))
def test_no_death_loses_anything_in_the_other_studies(study: str, share: int) -> None:
    """Who is with whom, and gives which shares, is drawn: a few points are not there each time."""
    with enumeration(study) as one:
        deaths = of_each_role(one.deaths)
        assert len(deaths) > 2500
        many = 4 if study == "small parts" else 1  # times as many points, and a quarter of them
        survive(one, share_of(deaths, share, many * SHARES), by_chance=0.05)
