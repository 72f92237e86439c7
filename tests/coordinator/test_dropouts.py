"""Hospitals that die at every stage of a set-up and of a round, and coordinators that do."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest

from ward import SITES, Ward, code_of, open_ward, table, until
from wardround.algorithms import Candidate
from wardround.coordinator import timewords
from wardround.coordinator.driver import Driver
from wardround.coordinator.results import gather_evidence
from wardround.coordinator.spool import Spool
from wardround.federation.federation import Total
from wardround.federation.round import RoundPhase
from wardround.governance.case import Case
from wardround.governance.checks import check_numbering
from wardround.ids import SiteName
from wardround.study import Task

QUICK = {"deadline_s": 1.0}
FIRST, REST = SITES[0], SITES[1:]


def truth(ward: Ward, survivors: tuple[str, ...]) -> list[float]:
    """Malignant and other masses in training and test rows: the totals without the protocol."""
    from wardround.learning.registry import compute
    from wardround.site.door import computable

    task = ward.task()
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
    }
    parts = [
        compute(computable(ward.study, ward.hospitals[site].custody.table), request, None)
        for site in survivors
    ]
    return list(np.sum(parts, axis=0))


async def total_of(driver: Driver, task: Task) -> Total:
    return await asyncio.wait_for(driver.sum(task), 30)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(
    ("stage", "counts"),
    [
        ("advert", False),  # not in the roster
        ("deal", False),  # costs the set-up
        ("packet", False),
        ("vote", True),  # its contribution counts; the others open it
        ("shares", True),
    ],
)
async def test_a_hospital_dies_before(
    stage: str, counts: bool, site: SiteName, tmp_path: Path
) -> None:
    survivors = tuple(one for one in SITES if counts or one != site)
    async with open_ward(tmp_path, cohort=QUICK) as ward:
        ward.hospitals[site].line.die_before(stage)
        total = await total_of(ward.driver, ward.task())
        assert total.survivors == survivors
        assert list(total.values) == truth(ward, survivors)


async def test_the_next_round_goes_on_without_the_dead_and_is_exact(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort=QUICK) as ward:
        first = await total_of(ward.driver, ward.task())
        assert first.survivors == SITES
        ward.hospitals[FIRST].line.die_before("next", "packet", "advert")
        for _ in range(2):
            total = await total_of(ward.driver, ward.task("moments"))
            assert total.survivors == REST
        pools = [entry.facts["pool"] for entry in ward.entries("setup")]
        assert len(pools) in (2, 3), "a fresh set-up after a dropout"


async def test_an_agent_that_restarts_between_advert_and_deal_costs_one_set_up(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 5.0}) as ward:
        hospital = ward.hospitals[FIRST]
        hospital.line.die_after("advert")
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        await until(lambda: "advert" in hospital.line.kinds())
        await hospital.kill()
        hospital.line.after = lambda _kind: None
        await hospital.start()
        assert (await work).survivors == REST
        assert hospital.refusals() == ["WR-SITE-033"]
        assert [entry.facts["pool"] for entry in ward.entries("setup")] == [list(SITES), list(REST)]


async def test_an_agent_that_restarts_after_its_packet_sends_the_same_bytes(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 5.0}) as ward:
        hospital = ward.hospitals[FIRST]
        hospital.line.die_before("packet")
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        await until(lambda: any(entry.kind == "packet" for entry in hospital.entries()))
        await hospital.kill()
        (spooled,) = hospital.custody.spool.iterdir()
        first = spooled.read_bytes()
        hospital.line.before = lambda _kind: None
        await hospital.start()
        total = await work
        assert total.survivors == SITES
        assert list(total.values) == truth(ward, SITES)
        (body,) = [body for kind, body in hospital.line.spoken if kind == "packet"]
        assert body.endswith(first)
        assert hospital.line.kinds().count("vote") == 0, "its keys are gone: the others open it"


async def test_payloads_that_outlast_their_round_are_gone_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator dies between the commit of a total and the removal of its payloads."""

    def dies(_spool: Spool, _round: str) -> None:
        raise KeyboardInterrupt

    async with open_ward(tmp_path) as ward:
        spool = ward.folder / "coordinator" / "spool"
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "drop", dies)
            with pytest.raises(KeyboardInterrupt):
                await ward.driver.sum(ward.task())
        (left,) = spool.iterdir()
        assert len(list(left.iterdir())) == len(SITES)
        of_a_group = ward.folder / "coordinator" / "spool-g3"
        shutil.copytree(spool, of_a_group)
        await ward.crash()
        driver = await ward.restart()
        assert not any(spool.iterdir()) and not any(of_a_group.iterdir())
        assert list((await driver.sum(ward.task())).values) == truth(ward, SITES)


async def test_payloads_of_the_round_under_way_outlast_a_restart(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        gate, last = asyncio.Event(), ward.hospitals[FIRST].line
        last.before = lambda kind: gate.wait() if kind == "packet" else None
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: len(ward.entries("packet")) == len(REST))
        work.cancel()
        await ward.crash()
        driver = await ward.restart()
        (round_,) = (ward.folder / "coordinator" / "spool").iterdir()
        assert {one.name for one in round_.iterdir()} >= set(REST)
        gate.set()
        assert list((await driver.sum(ward.task())).values) == truth(ward, SITES)


async def test_whoever_gave_shares_that_never_came_gives_the_same_total_again(
    tmp_path: Path,
) -> None:
    """All have closed the task, and lost their keys: it is repeated over all of them, or not."""
    async with open_ward(tmp_path, cohort={"deadline_s": 5.0}) as ward:
        for one in ward.hospitals.values():
            one.line.die_before("shares")
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        gave = list(ward.hospitals.values())
        await until(lambda: all("shares" in {leaf.kind for leaf in one.entries()} for one in gave))
        for one in gave:
            await one.kill()
            one.line.before = lambda _kind: None
            await one.start()
        total = await work
        assert total.survivors == SITES and list(total.values) == truth(ward, SITES)
        assert ward.coordinator.exchange.manifest.minimum_survivors == len(SITES)
        assert {code for one in gave for code in one.refusals()} == {"WR-SITE-034"}
        said = check_numbering(Case(gather_evidence(ward.coordinator, NO_MODEL)))
        assert "Once a step was repeated over all of its hospitals" in said


async def test_without_a_quorum_the_step_fails_with_a_code(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={**QUICK, "attempts": 1}) as ward:
        for site in SITES[:2]:
            ward.hospitals[site].line.die_before("packet")
        assert await code_of(total_of(ward.driver, ward.task())) == "WR-ROUND-002"
        assert ward.coordinator.exchange.round.state.phase is RoundPhase.FAILED
        assert not any((ward.folder / "coordinator" / "spool").iterdir()), "nothing is kept"


async def test_a_failed_round_is_tried_again(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={**QUICK, "attempts": 2}) as ward:
        asleep = [ward.hospitals[site] for site in SITES[:2]]
        gate = asyncio.Event()
        for one in asleep:
            one.line.before = lambda kind: gate.wait() if kind == "packet" else None
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        await until(lambda: any(event == "round-failed" for event, _ in ward.said))
        gate.set()
        total = await work
        assert total.survivors == SITES and list(total.values) == truth(ward, SITES)
        (failed,) = [facts for event, facts in ward.said if event == "round-failed"]
        assert failed["reason"] == "2 sites answered, 3 are needed"
        assert failed["missing"] == ", ".join(SITES[:2])
        assert "not-accepted" in [event for one in asleep for event, _ in one.events]


async def test_too_few_hospitals_are_told_so_before_anything_is_asked(tmp_path: Path) -> None:
    async with open_ward(tmp_path, start=False, cohort=QUICK) as ward:
        for site in SITES[:2]:
            await ward.hospitals[site].start()
        await ward.coordinator.wait_for_sites(2, 5.0)
        assert await code_of(total_of(ward.drive(), ward.task())) == "WR-ROUND-004"
        assert ward.entries("setup") == []


async def test_too_few_hospitals_are_waited_for_before_anything_is_asked(tmp_path: Path) -> None:
    async with open_ward(tmp_path, start=False) as ward:
        for site in SITES[:2]:
            await ward.hospitals[site].start()
        await ward.coordinator.wait_for_sites(2, 5.0)
        work = asyncio.create_task(total_of(ward.drive(), ward.task()))
        await until(lambda: ward.said)
        missing = ", ".join(SITES[2:])
        assert ward.said == [("waiting", {"for": missing, "connected": 2, "needed": 3})]
        found = ward.coordinator.timeline()
        (stage,) = found.stages
        assert (stage.phase, stage.waits_for) == ("reconnect.enough", SITES[2:])
        assert f"hospitals to connect: {missing} (2 of 3" in timewords.waiting(found, stage)
        await ward.hospitals[SITES[2]].start()
        assert (await work).survivors == SITES[:3]
        assert ward.coordinator.presence().connecting == ()
        assert [event for event, _ in ward.said].count("waiting") == 1, "not each time it looks"


async def test_those_who_closed_a_step_are_said_to_be_waited_for(tmp_path: Path) -> None:
    """All gave shares that never came; one that stays away is no fault of the coordinator."""
    async with open_ward(tmp_path, cohort={"deadline_s": 5.0}) as ward:
        gave = list(ward.hospitals.values())
        for one in gave:
            one.line.die_before("shares")
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        await until(lambda: all("shares" in {leaf.kind for leaf in one.entries()} for one in gave))
        for one in gave:
            await one.kill()
            one.line.before = lambda _kind: None
        for one in gave[1:]:
            await one.start()
        phase = "reconnect.same"
        await until(lambda: ward.coordinator.timeline().stages[0].phase == phase)
        await until(lambda: ward.coordinator.timeline().stages[0].waits_for == (FIRST,))
        await gave[0].start()
        assert (await work).survivors == SITES
        assert [facts["needed"] for event, facts in ward.said if event == "waiting"] == [4]


async def test_an_agent_that_restarts_in_a_set_up_of_all_it_takes_ends_no_run(
    tmp_path: Path,
) -> None:
    """Its keys are gone, so those that go on are too few: it is asked again, for fresh ones."""
    three = SITES[:3]
    async with open_ward(tmp_path, sites=three, cohort={"minimum_sites": 3}) as ward:
        hospital = ward.hospitals[FIRST]
        dealing = asyncio.Event()
        hospital.line.before = lambda kind: (
            (dealing.set(), asyncio.Event().wait())[1] if kind == "deal" else None
        )
        work = asyncio.create_task(total_of(ward.driver, ward.task()))
        await dealing.wait()
        await hospital.kill()
        hospital.line.before = lambda _kind: None
        await hospital.start()
        assert (await work).survivors == three


async def test_a_set_up_that_never_completes_ends_with_a_code(tmp_path: Path) -> None:
    async with open_ward(tmp_path, cohort={**QUICK, "attempts": 1}) as ward:
        ward.hospitals[FIRST].line.die_before("deal")
        assert await code_of(total_of(ward.driver, ward.task())) == "WR-ROUND-005"
        assert ward.said == [("setup-repeated", {"left": 3, "missing": FIRST})]


NO_MODEL = Candidate({"coefficients": np.zeros(3)}, {}, {}, {})
STAGES = ["advert", "deal", "packet", "vote", "shares"]


@pytest.mark.parametrize("stage", STAGES)
async def test_the_coordinator_dies_at(stage: str, tmp_path: Path) -> None:
    """It dies when the first hospital's statement of this kind was accepted, and carries on."""
    async with open_ward(tmp_path, cohort={"deadline_s": 10.0}) as ward:
        tasks = [ward.task(), ward.task("moments")]
        before = await total_of(ward.driver, tasks[0])
        if stage in ("advert", "deal"):  # a fresh set-up is needed for these to be said again
            ward.coordinator.exchange.start_setup(SITES)
        reached = asyncio.Event()

        def tell(kind: str) -> None:
            if kind == stage:
                reached.set()

        for one in ward.hospitals.values():
            one.line.after = tell
        work = asyncio.create_task(ward.driver.sum(tasks[1]))
        await asyncio.wait_for(reached.wait(), 10)
        work.cancel()
        await ward.crash()
        assert not any(one.task.done() for one in ward.hospitals.values())

        driver = await ward.restart()
        replayed = await total_of(driver, tasks[0])
        assert (replayed.survivors, replayed.round) == (before.survivors, before.round)
        np.testing.assert_array_equal(replayed.values, before.values)
        total = await total_of(driver, tasks[1])
        assert total.survivors == SITES and total.round.endswith("000001.0")
        assert [entry.facts["run"] for entry in ward.entries("resumed")] == [driver.exchange.run]
        assert all(one.line.kinds().count("packet") >= 2 for one in ward.hospitals.values())


async def test_a_changed_task_stops_a_resumed_run(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        await total_of(ward.driver, ward.task())
        await ward.crash()
        driver = await ward.restart()
        assert await code_of(driver.sum(ward.task("moments"))) == "WR-ROUND-003"


async def test_a_changed_task_stops_a_run_resumed_in_mid_round(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        for one in ward.hospitals.values():
            one.line.die_before("packet")
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: ward.coordinator.exchange.round is not None)
        work.cancel()
        await ward.crash()
        ward.open_coordinator()
        assert await code_of(ward.drive().sum(ward.task("moments"))) == "WR-ROUND-003"


async def test_a_finished_step_is_replayed_without_a_word_to_the_hospitals(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path) as ward:
        first = await total_of(ward.driver, ward.task())
        for one in ward.hospitals.values():
            await one.kill()
        await ward.crash()
        ward.open_coordinator()
        again = await total_of(ward.drive(), ward.task())
        np.testing.assert_array_equal(again.values, first.values)


async def test_what_the_algorithm_said_before_a_restart_is_not_told_as_new(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        await total_of(ward.driver, ward.task())
        ward.driver.say("algorithm", done=1)
        await ward.crash()
        driver = await ward.restart()
        assert ward.coordinator.steps_opened == 1
        await total_of(driver, ward.task())
        driver.say("algorithm", done=1)
        await total_of(driver, ward.task("moments"))
        driver.say("algorithm", done=2)
        assert [facts["done"] for event, facts in ward.said if event == "algorithm"] == [1, 2]
        assert ward.coordinator.steps_opened == 2


async def test_a_stored_total_that_was_altered_is_never_used(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        await total_of(ward.driver, ward.task())
        await ward.crash()
        for blob in (ward.folder / "coordinator" / "blobs").iterdir():
            blob.write_bytes(blob.read_bytes()[::-1])
        ward.open_coordinator()
        assert await code_of(ward.drive().sum(ward.task())) == "WR-STORE-003"


async def test_a_hospital_with_too_few_of_one_outcome_stays_out_of_every_step(
    tmp_path: Path,
) -> None:
    """Not of the count alone: the difference to any other total would be its count."""
    few = table(FIRST, records=120)
    cases = np.flatnonzero(few.columns["malignant"] == 1)
    few = few.excluding({few.patient_ids[case] for case in cases[4:]})
    tables = {FIRST: few} | {site: table(site) for site in REST}
    async with open_ward(tmp_path, cohort=QUICK, tables=tables) as ward:
        for task in (ward.task(), ward.task("moments")):
            total = await total_of(ward.driver, task)
            assert total.survivors == REST
        assert ward.hospitals[FIRST].refusals() == ["WR-PRIVACY-002"] * 2
        assert "PRIVACY" not in str([one.facts for one in ward.entries()])
