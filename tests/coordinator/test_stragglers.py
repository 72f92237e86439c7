"""Slow hospitals and dead ones: how long a round waits, and who is in the next one.

Time is the test's own: nothing passes unless it is turned on.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from private_federation import whole_windows
from stragglers import (
    CEILING_S,
    FLOOR_S,
    KIND,
    LONG_S,
    WAITING,
    Clock,
    Gate,
    heard_again,
    packets,
    total,
)
from ward import SITES, Ward, code_of, open_ward, policy, until
from wardround.errors import WardroundError
from wardround.federation.messages import PacketHeader
from wardround.federation.round import RoundPhase
from wardround.ids import RoundId
from wardround.study import Profile

SLOW, REST = SITES[0], SITES[1:]
QUORUM = {**WAITING, "target_sites": 3}


async def slow_rounds(ward: Ward, clock: Clock, rounds: int = 3) -> None:
    """Rounds in which one hospital takes twenty seconds and the others no time, known for both."""
    for _ in range(rounds):
        gate = Gate(ward, SLOW)
        work = asyncio.create_task(total(ward))
        await until(lambda: gate.reached and packets(ward) == set(REST))  # noqa: B023
        clock.turn(ward, LONG_S)
        gate.open()
        await work
        await heard_again(ward, SLOW)
    assert ward.coordinator.exchange.stopwatch.usual_s(SLOW, KIND) == LONG_S


async def test_nobody_waits_for_a_slow_one_where_the_quorum_is_there(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        gate = Gate(ward, SLOW)
        assert (await total(ward)).survivors == REST, "and no time had to pass"
        last = ward.entries("deadline")[-1]
        assert last.facts["missing"] == [SLOW]
        gate.open()


async def test_a_late_one_is_told_and_takes_part_in_the_next_round(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        gate = Gate(ward, SLOW)
        await total(ward)
        late = ward.coordinator.exchange.round.state.round
        clock.turn(ward, 3 * LONG_S)
        gate.open()
        hospital = ward.hospitals[SLOW]
        await heard_again(ward, SLOW)
        told = [facts["code"] for event, facts in hospital.events if event == "not-accepted"]
        assert set(told) == {"WR-ROUND-030"}
        assert "WR-ROUND-030" in [one.facts["code"] for one in ward.entries("refused")]
        with pytest.raises(WardroundError, match="gone on without it"):
            ward.coordinator.exchange.check_open(SLOW, RoundId(late))

        held = Gate(ward, REST[0])  # now the slow one is needed
        work = asyncio.create_task(total(ward))
        await until(lambda: held.reached and len(packets(ward)) == 3)
        clock.turn(ward, 1.5 * FLOOR_S)
        assert (await work).survivors == (SLOW, *REST[1:])
        held.open()
        assert len(ward.entries("setup")) == 1, "being late costs no set-up"


async def test_how_long_a_late_answer_took_is_learnt(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        for _ in range(4):
            gate = Gate(ward, SLOW)
            await total(ward)
            clock.turn(ward, 3 * LONG_S)
            gate.open()
            await heard_again(ward, SLOW)
        assert ward.coordinator.exchange.stopwatch.usual_s(SLOW, KIND) == 3 * LONG_S


async def test_whom_the_quorum_needs_is_waited_for_as_long_as_it_usually_takes(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        dead = Gate(ward, REST[0])
        slow = Gate(ward, SLOW)
        work = asyncio.create_task(total(ward))
        await until(lambda: dead.reached and slow.reached and len(packets(ward)) == 2)
        clock.turn(ward, LONG_S)  # far beyond the time of the dead one
        slow.open()
        assert (await work).survivors == (SLOW, *REST[1:])
        dead.open()


async def test_where_all_are_wanted_a_slow_one_has_its_own_time_and_no_more(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=WAITING, clock=clock) as ward:
        await slow_rounds(ward, clock)
        gate = Gate(ward, SLOW)
        work = asyncio.create_task(total(ward))
        await until(lambda: gate.reached and packets(ward) == set(REST))
        clock.turn(ward, 1.4 * LONG_S)
        await asyncio.sleep(0)
        assert ward.coordinator.exchange.round.state.phase is RoundPhase.COLLECT
        clock.turn(ward, 0.2 * LONG_S)
        assert (await work).survivors == REST
        gate.open()


async def test_a_dead_one_costs_one_deadline_and_is_let_in_when_it_is_back(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=WAITING, clock=clock) as ward:
        for _ in range(3):
            assert (await total(ward)).survivors == SITES
        gate = Gate(ward, SLOW)
        work = asyncio.create_task(total(ward))
        await until(lambda: gate.reached and packets(ward) == set(REST))
        clock.turn(ward, 1.5 * FLOOR_S)
        assert (await work).survivors == REST
        for _ in range(2):  # and no time passes
            assert (await total(ward)).survivors == REST
        gate.open()
        await heard_again(ward, SLOW)
        assert (await total(ward)).survivors == SITES
        pools = [one.facts["pool"] for one in ward.entries("setup")]
        assert pools == [list(SITES), list(REST), list(SITES)]


async def test_no_adaptive_deadline_fails_a_round(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort={**WAITING, "attempts": 1}, clock=clock) as ward:
        for _ in range(3):
            await total(ward)
        gates = [Gate(ward, site) for site in SITES[:2]]
        work = asyncio.create_task(code_of(total(ward)))
        await until(lambda: all(one.reached for one in gates) and len(packets(ward)) == 2)
        clock.turn(ward, 0.9 * CEILING_S)
        await asyncio.sleep(0)
        assert not work.done()
        clock.turn(ward, 0.2 * CEILING_S)
        assert await work == "WR-ROUND-002"


async def test_a_restart_knows_how_long_everybody_took(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        await ward.crash()
        driver = await ward.restart()
        assert driver.exchange.stopwatch.usual_s(SLOW, KIND) == LONG_S
        for _ in range(3):
            await driver.sum(ward.task(KIND))  # replayed
        Gate(ward, SLOW)
        assert (await total(ward)).survivors == REST


async def test_the_journal_has_no_times_that_hospitals_took(tmp_path: Path) -> None:
    clock = Clock()
    async with open_ward(tmp_path, cohort=QUORUM, clock=clock) as ward:
        await slow_rounds(ward, clock)
        facts = [value for entry in ward.entries() for value in entry.facts.values()]
        assert not any(isinstance(value, float) for value in facts)


async def test_a_late_hospital_of_a_private_study_has_paid_and_goes_on(tmp_path: Path) -> None:
    """Its ledger is ahead of what the others know of it, and that does not keep it out."""
    clock = Clock()
    noise = {"epsilon": 1.5, "patients": 10_000, "rationale": "A test."}
    tables = {name: {"noise_multiplier": 20.0, "spare": 5} for name in ("statistics", "evaluation")}
    changes = {
        "profile": "private",
        "model": {"kind": "logistic", "algorithm": "dp-sgd"},
        "privacy": {**noise, **tables, "training": {"noise_multiplier": 12.0, "steps": 3}},
        "cohort": WAITING,
    }
    hospital = policy(accepted_profiles=(Profile.PRIVATE,))
    async with open_ward(tmp_path, hospital=hospital, clock=clock, **changes) as ward:
        gate = Gate(ward, SLOW)
        windows = whole_windows(ward.study)
        work = asyncio.create_task(total(ward, "private_moments", windows=windows))
        await until(lambda: gate.reached and packets(ward) == set(REST))
        clock.turn(ward, 1.1 * CEILING_S)
        assert (await work).survivors == REST
        gate.open()
        await heard_again(ward, SLOW)
        again = await total(ward, "private_moments", windows=windows)
        assert again.survivors == SITES
        last = ward.coordinator.exchange.said(again.round, "packet")
        heads = {
            site: PacketHeader.from_payload(sent.envelope.payload).ledger.size
            for site, sent in last.items()
        }
        assert set(heads.values()) == {heads[SLOW]}, "it was charged as often as the others"
