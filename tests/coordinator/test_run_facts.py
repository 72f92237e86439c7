"""Times and bytes in the report are the run's, however often its coordinator was started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from grouped import conclude
from ward import SITES, Ward, open_ward, until
from wardround.algorithms.plan import run_study
from wardround.coordinator import traffic
from wardround.coordinator.run_facts import RunFacts, run_facts
from wardround.federation.round import RoundPhase
from wardround.governance.report import ReportData, render_report
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

STREAM = {
    "model": {
        "kind": "logistic",
        "algorithm": "fedavg",
        "fedavg": {"rounds": 3, "learning_rate": 0.5},
    },
    "cohort": {"asynchronous": {"sites": 3}},
    "adversary": {"corrupt_sites": 0},
}


@asynccontextmanager
async def countersigning(folder: Path, **study: object) -> AsyncIterator[Ward]:
    """A ward whose run has begun, and whose hospitals agree to whatever model comes out."""
    async with open_ward(folder, start=False, **study) as ward:
        for hospital in ward.hospitals.values():
            hospital._ending = lambda documents, _model: digest(
                Envelope.from_json(documents["signature"]).payload
            )
            await hospital.start()
        await ward.coordinator.wait_for_sites(len(SITES), 10.0)
        ward.drive()
        yield ward


async def report_of(ward: Ward, folder: Path) -> ReportData:
    """Run the study from where it is to its end, and read what is published."""
    candidate = await asyncio.wait_for(run_study(ward.driver), 90)
    _, published = await conclude(ward, candidate, folder)
    assert published.verified
    return ReportData.model_validate_json((published.folder / "report.json").read_bytes())


def facts(ward: Ward) -> RunFacts:
    """What the coordinator's database says now."""
    state = ward.coordinator.state
    leaves = [one.to_leaf() for one in ward.entries()]
    with state.database.begin() as connection:
        return run_facts(connection, ward.coordinator, leaves)


def in_report(data: ReportData) -> tuple[int, int]:
    """The bytes of all that the report counts."""
    scopes = [one.traffic for one in (*data.rounds, *data.setups)]
    moved = [one for scope in (*scopes, *data.other_traffic.values()) for one in scope.values()]
    return sum(one.bytes_in for one in moved), sum(one.bytes_out for one in moved)


def in_database(ward: Ward) -> tuple[int, int]:
    """The bytes of all that is written down."""
    with ward.coordinator.state.database.begin() as connection:
        found = traffic.load(connection, ward.coordinator.exchange.run)
    moved = [one for scope in found.values() for one in scope.values()]
    return sum(one.bytes_in for one in moved), sum(one.bytes_out for one in moved)


async def test_a_run_whose_coordinator_was_away_is_reported_from_its_start(tmp_path: Path) -> None:
    async with countersigning(tmp_path) as ward:
        running = asyncio.create_task(run_study(ward.driver))
        exchange = ward.coordinator.exchange
        await until(lambda: exchange.round is not None and exchange.round.state.step == 2)
        await until(lambda: exchange.round.state.phase is not RoundPhase.DONE)
        caught = exchange.round.state.round
        running.cancel()
        await ward.crash()
        await ward.restart()
        back = datetime.now(UTC)
        data = await report_of(ward, tmp_path / "results")
    rounds = data.rounds
    assert data.started < rounds[0].started and data.resumed[0] <= back < data.finished
    assert [one.round for one in rounds] == sorted(one.round for one in rounds)
    starts = [(one.started - data.started).total_seconds() for one in rounds]
    assert starts[0] > 0.0 and all(a < b for a, b in pairwise(starts))
    assert all(one.seconds > 0.0 for one in (*rounds, *data.setups))
    ends = [start + one.seconds for start, one in zip(starts, rounds, strict=True)]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    (resumed,) = [(at - data.started).total_seconds() for at in data.resumed]
    (interrupted,) = [place for place, one in enumerate(rounds) if one.round == caught]
    assert starts[interrupted] < resumed < ends[interrupted], "it was away in that one's time"
    page = render_report(data)
    assert "went on once" in page and "sent, at least" in page and 'class="resumed"' in page


async def test_a_run_without_a_restart_says_exactly_what_was_moved(tmp_path: Path) -> None:
    async with countersigning(tmp_path) as ward:
        data = await report_of(ward, tmp_path / "results")
        assert in_report(data) == in_database(ward)
    page = render_report(data)
    sent, received = in_report(data)
    assert f"{sent:,}" in page and f"{received:,}" in page
    assert "sent, at least" not in page
    assert data.resumed == () and 'class="resumed"' not in page
    assert set(data.other_traffic) == {data.run}
    assert set(data.other_traffic[data.run]) == set(SITES), "the model at the end"
    assert all(set(one.traffic) == set(SITES) for one in (*data.setups, *data.rounds))


@pytest.mark.slow
async def test_the_late_cohorts_of_a_run_have_their_bytes_and_times(tmp_path: Path) -> None:
    async with countersigning(tmp_path, **STREAM) as ward:
        data = await report_of(ward, tmp_path / "results")
        assert in_report(data) == in_database(ward)
    late = [one for one in data.rounds if ".c." in one.round]
    assert len(late) == 3
    assert all(set(one.survivors) <= set(one.traffic) and one.seconds > 0 for one in late)
    assert f"{data.run}.s0" in data.other_traffic
    assert "Late cohorts" in render_report(data)


async def test_what_failed_has_taken_its_time_too(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        gate = asyncio.Event()
        for hospital in ward.hospitals.values():
            hospital.line.before = lambda kind: gate.wait() if kind == "packet" else None
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        exchange = ward.coordinator.exchange
        await until(lambda: exchange.round is not None)
        exchange.deadline_passed()
        gate.set()
        await asyncio.wait_for(work, 30)
        found = facts(ward)
    failed, done = found.rounds
    assert (failed.completed, done.completed) == (False, True)
    assert failed.seconds > 0.0 and done.seconds > 0.0
    assert failed.started < done.started
