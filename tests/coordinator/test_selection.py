"""A study that asks the fastest and each whose turn has come, over the real services."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stragglers import FLOOR_S, LONG_S, WAITING, Clock, Gate, heard_again, packets, total
from ward import Ward, open_ward, until
from wardround.ids import SiteName

SITES = tuple(SiteName(f"site-{number}") for number in range(5))
SLOW, REST = SITES[1], (SITES[0], *SITES[2:])
EVERY = 4
CHOOSING = {
    **WAITING,
    "target_sites": 4,
    "selection": "adaptive",
    "ask_every": EVERY,
    "rounds_per_setup": 64,
}
CHANGES = {"cohort": CHOOSING, "adversary": {"corrupt_sites": 1}}


def rosters(ward: Ward) -> list[list[str]]:
    """Who was asked in each round, by the journal: the pool of the batch that it used."""
    pools = {one.facts["batch"]: one.facts["pool"] for one in ward.entries("setup")}
    manifests = ward.entries("manifest")
    found = []
    for entry in ward.entries():
        if entry.kind == "setup":
            pool = pools[entry.facts["batch"]]
        elif entry.kind == "manifest":
            found.append(pool)
    assert len(found) == len(manifests)
    return found


async def round_with_a_slow_one(ward: Ward, clock: Clock) -> bool:
    """A round in which one hospital takes long, if it is asked; whether it was waited for."""
    gate = Gate(ward, SLOW)
    work = asyncio.create_task(total(ward))
    await until(lambda: work.done() or (gate.reached and len(packets(ward) - {SLOW}) >= 3))
    await asyncio.sleep(0.05)
    waited = not work.done()
    if gate.reached:
        clock.turn(ward, LONG_S)
        gate.open()
    survivors = (await work).survivors
    if gate.reached:
        await heard_again(ward, SLOW)
    return waited and SLOW in survivors


async def test_a_slow_one_is_asked_in_its_turn_and_then_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, sites=SITES, clock=clock, **CHANGES) as ward:
        waited = [await round_with_a_slow_one(ward, clock) for _ in range(24)]
        asked = rosters(ward)
        for site in SITES:
            for start in range(len(asked) - EVERY + 1):
                assert any(site in one for one in asked[start : start + EVERY]), (site, asked)
        assert sum(SLOW in one for one in asked[-8:]) == 2, "no more than its turns"
        assert sum(waited[-8:]) == 2, "and then it is in the total"
        chosen = ward.entries("selection")
        assert any(one.facts["turns"] == [SLOW] for one in chosen)
        assert chosen[-1].facts["fastest_first"][-1] == SLOW


@pytest.mark.parametrize("over", [0, 1])
async def test_so_many_are_asked_as_are_wanted_and_over_selected(over: int, tmp_path: Path) -> None:
    cohort = {**CHOOSING, "over_selection": over, "ask_every": 100}
    async with open_ward(
        tmp_path, sites=SITES, clock=Clock(), **{**CHANGES, "cohort": cohort}
    ) as ward:
        await total(ward)
        assert [len(one) for one in rosters(ward)] == [4 + over]


async def test_an_over_selected_round_goes_on_without_a_dead_one(tmp_path: Path) -> None:
    clock = Clock()
    cohort = {**CHOOSING, "over_selection": 1, "ask_every": 100}
    async with open_ward(
        tmp_path, sites=SITES, clock=clock, **{**CHANGES, "cohort": cohort}
    ) as ward:
        for _ in range(3):
            assert (await total(ward)).survivors == SITES
        gate = Gate(ward, SLOW)
        work = asyncio.create_task(total(ward))
        await until(lambda: gate.reached and len(packets(ward)) == 4)
        clock.turn(ward, 1.5 * FLOOR_S)
        assert (await work).survivors == REST
        assert (await total(ward)).survivors == REST, "at once: the dead one is not asked"
        gate.open()
