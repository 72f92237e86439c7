"""Killed at any statement, commit, write, sync or rename, and started again: nothing is lost.

In the fast tests one death of each kind, in the slow ones every death there is, counted.
"""

from __future__ import annotations

import asyncio

import pytest

from faults.enumeration import Death, Enumeration, Loss, enumeration, stratified

SHARES = 48


def survive(one: Enumeration, deaths: list[Death]) -> None:
    """Have each of them happen in a run of its own."""
    lost = [problem for death in deaths if (problem := asyncio.run(one.survives(death)))]
    assert not lost, "\n".join(lost)
    # Which statements share a transaction is chance: few points may lie beyond a run's end.
    assert one.reached >= len(deaths) - max(1, len(deaths) // 20)


@pytest.mark.parametrize("study", ["secure-sum", "private"])
def test_a_death_of_each_kind_loses_nothing(study: str) -> None:
    with enumeration(study) as one:
        survive(one, stratified(one.deaths, 1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
def test_no_death_loses_anything(share: int) -> None:
    with enumeration() as one:
        assert len(one.deaths) > 4000
        survive(one, list(one.deaths[share::SHARES]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(SHARES))
def test_no_death_in_a_private_study_loses_or_saves_a_charge(share: int) -> None:
    with enumeration("private") as one:
        killed = [death for death in one.deaths if death.loss is Loss.NOTHING]
        assert len(killed) > 1500
        survive(one, killed[share::SHARES])
