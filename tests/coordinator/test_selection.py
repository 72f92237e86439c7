"""A study that asks the fastest and each whose turn has come, over the real services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from stragglers import FLOOR_S, LONG_S, WAITING, Clock, Gate, heard_again, packets, total
from ward import Ward, open_ward, until
from wardround.algorithms import Candidate
from wardround.coordinator.results import gather_evidence
from wardround.governance import EvidenceFile
from wardround.governance.case import Case, Leaf, OpenedRound, Unmet
from wardround.governance.selecting import check_selection
from wardround.ids import SiteName
from wardround.trust.canonical import canonical, digest

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
NO_MODEL = Candidate({"coefficients": np.zeros(3)}, {}, {}, {})
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


def rewritten(
    evidence: EvidenceFile, kind: str, change: Callable[[dict[str, object]], object]
) -> Case:
    """The evidence with other facts in the entries of one kind; only the one check is asked."""
    leaves = []
    for leaf in evidence.journal.leaves:
        entry = orjson.loads(leaf)
        if entry["kind"] == kind:
            change(entry["facts"])
        leaves.append(canonical(entry))
    journal = evidence.journal.model_copy(update={"leaves": tuple(leaves)})
    return Case(evidence.model_copy(update={"journal": journal}))


async def test_a_stranger_verifies_who_was_asked(tmp_path: Path) -> None:
    """Choices are worked out anew from the order of speeds and from who was asked before."""
    clock = Clock()
    async with open_ward(tmp_path, sites=SITES, clock=clock, **CHANGES) as ward:
        for _ in range(10):
            await round_with_a_slow_one(ward, clock)
        evidence = gather_evidence(ward.coordinator, NO_MODEL)
    said = check_selection(Case(evidence))
    turns = [e for e in map(orjson.loads, evidence.journal.leaves) if e["kind"] == "selection"]
    assert said.startswith(f"{len(turns)} choices, each of the 4 fastest")
    assert any(one["facts"]["turns"] for one in turns)

    def starve(facts: dict[str, object]) -> None:
        facts["turns"] = []

    def favour(facts: dict[str, object]) -> None:
        facts["fastest_first"] = facts["fastest_first"][::-1]

    def forget(facts: dict[str, object]) -> None:
        facts["batch"] = "of nobody"

    for change in (starve, favour, forget):
        with pytest.raises(Unmet):
            check_selection(rewritten(evidence, "selection", change))
    with pytest.raises(Unmet):
        check_selection(rewritten(evidence, "setup", lambda facts: facts["pool"].pop()))


@pytest.mark.parametrize(("at_step", "accepted"), [(0, True), (1, False)])
def test_a_set_up_without_a_choice_repeats_the_very_step_that_failed(
    at_step: int, accepted: bool
) -> None:
    """Else a round that failed once would let the same hospitals be asked for ever."""
    a, b, c, d, e = SITES

    def round_(step: int, attempt: int, *packets: SiteName, total: bool) -> OpenedRound:
        manifest = SimpleNamespace(round=f"{step}.{attempt}", step=step, roster=SITES)
        record = SimpleNamespace(packets=dict.fromkeys(packets), total=total or None)
        return OpenedRound(record, manifest, digest(b""))

    first = round_(0, 0, a, b, c, d, total=False), round_(0, 1, a, b, e, total=at_step == 1)
    leaves = [
        Leaf(0, "setup", {"batch": "0", "pool": list(SITES)}),
        Leaf(1, "selection", {"batch": "0", "fastest_first": list(SITES), "turns": []}),
        Leaf(2, "manifest", {"round": "0.0"}),
        Leaf(3, "setup", {"batch": "1", "pool": [a, b, e]}),
        Leaf(4, "manifest", {"round": "0.1"}),
        Leaf(5, "setup", {"batch": "2", "pool": [a, b, c, d]}),
    ]
    case = SimpleNamespace(
        study=SimpleNamespace(
            cohort=SimpleNamespace(target_sites=5, over_selection=0, ask_every=9)
        ),
        evidence=SimpleNamespace(run="run"),
        rounds=first,
        find=lambda kind, run=None, batch=None: [
            one for one in leaves if one.kind == kind and batch in (None, one.facts["batch"])
        ],
        recorded=lambda kind, **facts: next(
            one for one in leaves if one.kind == kind and one.facts == facts
        ),
    )
    if accepted:
        assert check_selection(case).startswith("1 choice")
    else:
        with pytest.raises(Unmet, match="nothing says were chosen"):
            check_selection(case)
