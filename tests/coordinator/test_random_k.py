"""A study that sends a share of each update, from the hospitals to the auditor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np

from plain_federation import PlainFederation
from recorded_run import RecordedRun
from studies import document
from turns import FEDAVG, MODEL, step
from ward import SITES, Ward, open_ward, plan, table, until
from wardround.algorithms.plan import run_study
from wardround.federation.federation import Total
from wardround.governance import verify
from wardround.simulation.inprocess import open_federation
from wardround.site.door import computable
from wardround.study import Study, Task

FIRST = SITES[0]


def test_an_auditor_gets_the_same_model_bit_for_bit() -> None:
    run = RecordedRun(
        study=Study.parse(document(model=MODEL)), fails=frozenset({3}), absent_at={4: "harbour"}
    )
    report = verify(run.run())
    assert report.ok, report.failures


class Lying(RecordedRun):
    """A coordinator that tells the hospitals that one of them was not in a total."""

    async def sum(self, task: Task) -> Total:
        total = await super().sum(task)
        return replace(total, survivors=total.survivors[1:]) if task.turns else total


def test_an_auditor_finds_who_lied_about_who_was_in_a_total() -> None:
    run = Lying(study=Study.parse(document(model=MODEL)))
    report = verify(run.run())
    assert not report.ok
    assert "WR-GOV-021" in str(report.failures)


async def test_masked_and_opened_by_a_coordinator(tmp_path: Path) -> None:
    """The whole way: door, masks, checksum, spool, total; and the bytes are what is promised."""
    tables = {site: table(site) for site in SITES}
    sealed = plan(model=MODEL, disclosure={"opened_numbers": 100_000})
    async with open_federation(sealed, tables, tmp_path) as federation:
        one = step(federation.study)
        total = await federation.sum(one)
        assert total.values.shape == (one.length,)
        assert np.count_nonzero(total.values[:3]) == one.turns.sent == 1
        manifest = federation.driver.exchange.manifest
        assert manifest.length == one.elements == one.length - 2
        journal = federation.coordinator.state.journal.entries()
        (opened,) = [entry.facts["opened"] for entry in journal if entry.kind == "total"]
        assert opened == one.numbers


async def test_in_groups_every_group_has_the_same_turns(tmp_path: Path) -> None:
    eight = [f"site-{letter}" for letter in "abcdefgh"]
    sealed = plan(
        model={**MODEL, "fedavg": {**FEDAVG, "rounds": 4}},
        disclosure={"opened_numbers": 100_000},
        cohort={"groups": {"number": 2}},
        adversary={"corrupt_sites": 1},
    )
    tables = {site: table(site) for site in eight}
    async with open_federation(sealed, tables, tmp_path) as federation:
        sites = {site: computable(federation.study, one) for site, one in tables.items()}
        found = await run_study(federation)
        expected = await run_study(PlainFederation(federation.study, sites))
        for name, array in found.model.items():
            np.testing.assert_allclose(array, expected.model[name], rtol=1e-9, atol=1e-12)


async def total_of(ward: Ward, task: Task) -> Total:
    return await asyncio.wait_for(ward.driver.sum(task), 30)


def beside(ward: Ward) -> PlainFederation:
    """The same hospitals, whose encodings are summed in the clear."""
    sites = {
        site: computable(ward.study, one.custody.table) for site, one in ward.hospitals.items()
    }
    return PlainFederation(ward.study, sites)


async def test_a_hospital_that_dropped_out_of_a_round_goes_on_from_before_it(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, model=MODEL, cohort={"deadline_s": 1.0}) as ward:
        plain, totals = beside(ward), []
        plain.absent = lambda step: (FIRST,) if step == 1 else ()
        hospital, gate = ward.hospitals[FIRST], asyncio.Event()
        for number in range(4):
            held = number == 1
            hospital.line.before = lambda kind, held=held: (
                gate.wait() if held and kind == "packet" else None
            )
            task = step(ward.study, totals)
            total = await total_of(ward, task)
            assert (FIRST in total.survivors) != held
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)
            if held:
                gate.set()
                await until(lambda: "not-accepted" in [event for event, _ in hospital.events])
                await until(lambda: not ward.coordinator.exchange.stopwatch.absent(FIRST))


async def test_an_agent_that_restarts_has_lost_its_memory_and_nothing_else(
    tmp_path: Path,
) -> None:
    cohort = {"deadline_s": 5.0, "rounds_per_setup": 2}  # keys are lost with the memory
    async with open_ward(tmp_path, model=MODEL, cohort=cohort) as ward:
        plain, totals = beside(ward), []
        hospital = ward.hospitals[FIRST]
        for number in range(4):
            if number == 2:
                await hospital.kill()
                await hospital.start()
                plain.carried[FIRST].forget()
            task = step(ward.study, totals)
            total = await total_of(ward, task)
            assert total.survivors == SITES
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)


async def test_a_coordinator_that_restarts_changes_nothing(tmp_path: Path) -> None:
    async with open_ward(tmp_path, model=MODEL, cohort={"deadline_s": 5.0}) as ward:
        plain, totals = beside(ward), []
        for number in range(3):
            task = step(ward.study, totals)
            if number == 2:
                await ward.crash()
                driver = await ward.restart()
                for before in range(2):  # replayed from what was stored
                    await driver.sum(step(ward.study, totals[:before]))
            total = await total_of(ward, task)
            assert np.array_equal(total.values, (await plain.sum(task)).values)
            totals.append(total.survivors)
