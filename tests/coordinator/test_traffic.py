"""Every byte of a body counts: for the hospital at the other end, and for what it was moved."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from grouped import EIGHT, federated
from ward import SITES, Ward, code_of, open_ward, until
from wardround.coordinator import coordinator as coordinators
from wardround.coordinator import traffic
from wardround.coordinator.http import create_app
from wardround.coordinator.server import server
from wardround.coordinator.traffic import Moved
from wardround.ids import SiteName
from wardround.learning.specify import specify
from wardround.simulation.inprocess import Certified

ME, PEER = SITES[:2]
STREAM = {
    "cohort": {"asynchronous": {"sites": 3, "sum_deadline_s": 20.0}},
    "model": {
        "kind": "logistic",
        "algorithm": "fedavg",
        "fedavg": {"rounds": 9, "learning_rate": 0.5},
    },
    "adversary": {"corrupt_sites": 0},
}


class Meter:
    """Counts at the hospitals' ends of their lines what goes in and comes out, by hospital."""

    def __init__(self, ward: Ward) -> None:
        self.moved: dict[SiteName, Moved] = defaultdict(Moved)
        for site, hospital in ward.hospitals.items():
            way = hospital.line.transport
            hospital.line.transport = lambda site=site, way=way: _Metered(way(), self.moved[site])


class _Metered(httpx.AsyncBaseTransport):
    def __init__(self, transport: httpx.AsyncBaseTransport, moved: Moved) -> None:
        self._transport = transport
        self._moved = moved

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._moved.bytes_in += len(await request.aread())
        answer = await self._transport.handle_async_request(request)
        self._moved.bytes_out += len(await answer.aread())
        return answer


def written(ward: Ward) -> dict[str, dict[SiteName, Moved]]:
    """What is in the database of the run, by scope."""
    with ward.coordinator.state.database.begin() as connection:
        return traffic.load(connection, ward.coordinator.exchange.run)


def counted(ward: Ward) -> dict[str, dict[SiteName, Moved]]:
    """The same with what was still to be written."""
    ward.coordinator.exchange.save_checkpoint()
    return written(ward)


def summed(scopes: dict[str, dict[SiteName, Moved]]) -> dict[SiteName, Moved]:
    """Over all scopes, by hospital."""
    whole: dict[SiteName, Moved] = defaultdict(Moved)
    for by_site in scopes.values():
        for site, moved in by_site.items():
            whole[site].bytes_in += moved.bytes_in
            whole[site].bytes_out += moved.bytes_out
    return whole


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path) as ward:
        yield ward


async def begin(ward: Ward) -> Meter:
    """Start a ward's agents over lines that are measured from the first byte."""
    meter = Meter(ward)
    for hospital in ward.hospitals.values():
        await hospital.start()
    await ward.coordinator.wait_for_sites(len(ward.hospitals), 10.0)
    ward.drive()
    return meter


async def test_a_round_counts_what_each_hospital_sent_and_was_sent(ward: Ward) -> None:
    total = await ward.driver.sum(ward.task())
    exchange = ward.coordinator.exchange
    moved = counted(ward)[total.round]
    assert set(moved) == set(SITES)
    for one in moved.values():
        assert one.bytes_in > exchange.manifest.payload_bytes
        assert one.bytes_out > len(exchange.task)


@pytest.mark.parametrize("mode", ["in process", "https"])
async def test_all_that_went_over_the_lines_is_counted(mode: str, tmp_path: Path) -> None:
    async with open_ward(tmp_path, mode, start=False) as ward:
        meter = await begin(ward)
        rounds = [(await ward.driver.sum(ward.task(kind))).round for kind in ("moments", "moments")]
        await until(lambda: summed(counted(ward)) == meter.moved)
        run = ward.coordinator.exchange.run
        assert {run, f"{run}.b.000000", *rounds} == set(written(ward))


async def test_with_groups_each_groups_are_counted_apart(tmp_path: Path) -> None:
    cohort = {"groups": {"number": 2}, "deadline_s": 60.0}
    study = {"cohort": cohort, "adversary": {"corrupt_sites": 1}}
    async with open_ward(tmp_path, sites=EIGHT, start=False, **study) as ward:
        meter = await begin(ward)
        driver = await federated(ward)
        await driver.sum(ward.task("moments"))
        await until(lambda: summed(counted(ward)) == meter.moved)
        run, found = ward.coordinator.exchange.run, written(ward)
        for group in (f"{run}.g1", f"{run}.g2"):
            sites = set(ward.coordinator.groups.cohorts[group])
            assert sites == set(found[f"{group}.r.000000.0"]) == set(found[f"{group}.b.000000"])
        assert set(found[run]) == set(EIGHT), "the draw is nobody's round"


async def test_late_cohorts_are_counted_each_for_its_members(tmp_path: Path) -> None:
    async with open_ward(tmp_path, start=False, **STREAM) as ward:
        meter = await begin(ward)
        await ward.driver.sum(ward.task("moments"))
        choice = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "decay": 0.01, "round": 0}
        stream = ward.driver.stream(specify(ward.study, "buffered_fedavg", choice, np.zeros(3)))
        totals = []
        for number in range(2):
            totals.append(await asyncio.wait_for(anext(aiter(stream)), 60))
            stream.publish(np.full(3, number + 1.0))
        await stream.aclose()
        await ward.driver.sum(ward.task("outcome_counts"))
        await until(lambda: summed(counted(ward)) == meter.moved)
        found = written(ward)
        for total in totals:
            assert set(total.survivors) <= set(found[total.round])
            assert min(one.bytes_in for one in found[total.round].values()) > 0
        assert f"{ward.coordinator.exchange.run}.s0" in found


async def test_a_coordinator_that_is_stopped_between_rounds_forgets_nothing(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path, start=False) as ward:
        meter = await begin(ward)
        await ward.driver.sum(ward.task())
        await until(lambda: summed(counted(ward)) == meter.moved)
        await ward.crash()
        await ward.restart()
        await ward.driver.sum(ward.task())
        await ward.driver.sum(ward.task("moments"))
        # An answer that broke off was sent in part, and never arrived: in all else they are equal.
        await until(lambda: ins(summed(counted(ward))) == ins(meter.moved))
        sent, arrived = summed(written(ward)), meter.moved
        assert all(sent[site].bytes_out >= arrived[site].bytes_out for site in SITES)


def ins(moved: dict[SiteName, Moved]) -> dict[SiteName, int]:
    return {site: one.bytes_in for site, one in moved.items()}


class Door:
    """Counts what comes in and goes out where the coordinator's application is entered and left."""

    def __init__(self) -> None:
        self.whole = Moved()
        self.at_last_decision = Moved()

    def around(self, app):
        async def counting(scope, receive, send) -> None:
            async def received():
                message = await receive()
                self.whole.bytes_in += len(message.get("body", b""))
                return message

            async def sent(message) -> None:
                await send(message)
                self.whole.bytes_out += len(message.get("body", b""))

            await app(scope, received, sent)

        return counting

    def on_statement(self, _connection, _cursor, statement: str, *_more: object) -> None:
        """A leaf in the journal: the transaction that it is in ends before anybody is served."""
        if statement.startswith("INSERT INTO journal"):
            self.at_last_decision = replace(self.whole)


async def test_a_killed_coordinator_loses_what_was_counted_since_its_last_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door()
    monkeypatch.setattr("ward.create_app", lambda one: door.around(create_app(one)))
    async with open_ward(tmp_path, start=False) as ward:
        engine = ward.coordinator.state.database.engine
        event.listen(engine, "before_cursor_execute", door.on_statement)
        await begin(ward)
        await ward.driver.sum(ward.task())
        lost, known = door.whole, door.at_last_decision
        assert known.bytes_in == lost.bytes_in > 0, "whatever was sent was decided upon"
        monkeypatch.setattr(ward.coordinator, "write_traffic", lambda: None)
        await ward.stop_serving()
        by_site = summed(written(ward)).values()
        assert sum(one.bytes_in for one in by_site) == known.bytes_in
        assert sum(one.bytes_out for one in by_site) == known.bytes_out
        await ward.crash()
        await ward.restart()
        await ward.driver.sum(ward.task())
        await ward.driver.sum(ward.task("moments"))
        after = summed(counted(ward)).values()
        missing = lost.bytes_out - known.bytes_out
        assert sum(one.bytes_in for one in after) == door.whole.bytes_in
        assert sum(one.bytes_out for one in after) >= door.whole.bytes_out - missing


async def test_a_server_that_ends_says_so_when_the_last_answer_is_out(tmp_path: Path) -> None:
    async with open_ward(tmp_path, "https", start=False) as ward:
        stopped = asyncio.Event()
        app = create_app(ward.coordinator)
        one = server(app, ward.loopback, 0, ward.context, stopped.set)
        serving = asyncio.create_task(one.serve())
        await until(lambda: one.started)
        assert not stopped.is_set()
        one.should_exit = True
        await serving
        assert stopped.is_set()


async def test_what_a_failed_commit_had_written_is_not_forgotten(ward: Ward) -> None:
    await ward.driver.sum(ward.task())
    before = summed(counted(ward))
    ward.coordinator.count(ME, 10_000, 0)
    full = True

    def no_space(_connection: object) -> None:
        if full:
            raise OperationalError("COMMIT", None, sqlite3.OperationalError())

    event.listen(ward.coordinator.state.database.engine, "commit", no_space)
    with pytest.raises(OperationalError):
        ward.coordinator.exchange.save_checkpoint()
    full = False
    after = summed(counted(ward))
    assert after[ME].bytes_in == before[ME].bytes_in + 10_000


async def test_much_that_is_moved_is_written_down_before_anything_is_decided(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinators, "MOST_UNWRITTEN_BYTES", 1 << 20)
    await ward.driver.sum(ward.task())
    before = summed(counted(ward))
    ward.coordinator.count(ME, 1 << 19, 0)
    assert summed(written(ward)) == before
    ward.coordinator.count(ME, 1 << 19, 0)
    assert summed(written(ward))[ME].bytes_in == before[ME].bytes_in + (1 << 20)


async def test_what_is_turned_away_counts_for_whose_line_it_came_over(ward: Ward) -> None:
    await ward.driver.sum(ward.task())
    before = summed(counted(ward))
    agent = ward.hospitals[ME].agent
    assert agent is not None
    body = bytes(1000)
    assert (await code_of(agent.link.renew(body))).startswith("WR-")
    after = summed(counted(ward))
    assert after[ME].bytes_in == before[ME].bytes_in + len(body)
    assert after[ME].bytes_out > before[ME].bytes_out
    assert after[PEER] == before[PEER]


async def test_a_request_that_nobody_signed_counts_for_the_line_and_a_strangers_for_nobody(
    ward: Ward,
) -> None:
    await ward.driver.sum(ward.task())
    before = summed(counted(ward))
    app = create_app(ward.coordinator)
    for way, more in ((app, 0), (Certified(app, ward.hospitals[ME].certificate), 5000)):
        transport = httpx.ASGITransport(way)
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
            answer = await client.post("/v1/renew", content=bytes(5000))
            assert answer.status_code >= 400
        after = summed(counted(ward))
        assert after[ME].bytes_in == before[ME].bytes_in + more
