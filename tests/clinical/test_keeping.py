"""Keeping a warehouse current: by schedule, by a knock, through failures, and never half."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from starlette.responses import Response

from hospital_forms import USED, Form, as_ndjson, as_search, client, table_of
from wardround.clinical.fhir import receiver, receiver_server
from wardround.clinical.keeping import Keeper, Kept, Subscriber, subscriptions
from wardround.clinical.mapping import FhirServerSource
from wardround.errors import WardroundError

SECRET = "s3cret" * 8
EVERY = timedelta(hours=1)


class Time:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self._moved = asyncio.Event()
        self.waits = 0

    def now(self) -> datetime:
        return self.at

    async def wait(self, hint: asyncio.Event, seconds: float) -> None:
        self.waits += 1
        end = self.at + timedelta(seconds=seconds)
        while self.at < end and not hint.is_set():
            moved = asyncio.create_task(self._moved.wait())
            hinted = asyncio.create_task(hint.wait())
            await asyncio.wait({moved, hinted}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
            hinted.cancel()

    def pass_by(self, time: timedelta) -> None:
        self.at += time
        self._moved.set()
        self._moved = asyncio.Event()


class Watched:
    """A keeper that runs, and what it told."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.time = Time()
        if form.server is not None:
            form.server.now = self.time.now
        self.warehouse = form.warehouse()
        self.told: asyncio.Queue[Kept] = asyncio.Queue()
        self.keeper = Keeper(self.warehouse, EVERY, clock=self.time, tell=self.told.put_nowait)

    async def next(self) -> Kept:
        return await asyncio.wait_for(self.told.get(), 30)

    async def nothing(self) -> None:
        """Nothing happens, however often the loop turns."""
        for _ in range(50):
            await asyncio.sleep(0)
        assert self.told.empty()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


@asynccontextmanager
async def watched(form: Form) -> AsyncIterator[Watched]:
    ward = Watched(form)
    running = asyncio.create_task(ward.keeper.run())
    try:
        yield ward
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


def retract(form: Form, name: str, at: datetime) -> None:
    assert form.server is not None
    for record in form.server.records:
        if record["id"] == name:
            record["status"] = "entered-in-error"
            record["meta"] = {"lastUpdated": at.isoformat()}


async def test_it_is_read_at_once_and_then_by_schedule(tmp_path: Path) -> None:
    async with watched(as_ndjson(tmp_path)) as ward:
        first = (await ward.next()).refreshed
        assert first is not None
        assert len(first.read) == 3
        ward.time.pass_by(timedelta(minutes=59))
        await ward.nothing()
        ward.time.pass_by(timedelta(minutes=1))
        again = (await ward.next()).refreshed
        assert again is not None
        assert again.read == ()


async def test_a_failure_changes_nothing_and_is_tried_again_ever_later(tmp_path: Path) -> None:
    async with watched(as_ndjson(tmp_path)) as ward:
        await ward.next()
        (tmp_path / "Patient.ndjson").rename(tmp_path / "away")
        ward.time.pass_by(EVERY)
        for pause in (1, 2, 4, 8, 16, 32, 60, 60):
            failed = await ward.next()
            assert failed.failure is not None
            assert failed.failure.code == "WR-DATA-010"
            assert table_of(ward.warehouse).patient_ids == USED
            await ward.settle()
            ward.time.pass_by(timedelta(minutes=pause) - timedelta(seconds=1))
            await ward.nothing()
            ward.time.pass_by(timedelta(seconds=1))
        await ward.next()
        (tmp_path / "away").rename(tmp_path / "Patient.ndjson")
        await ward.settle()
        ward.time.pass_by(EVERY)
        assert (await ward.next()).refreshed is not None
        await ward.settle()
        ward.time.pass_by(EVERY - timedelta(seconds=1))
        await ward.nothing()


async def test_a_clock_that_was_put_back_delays_nothing(tmp_path: Path) -> None:
    async with watched(as_ndjson(tmp_path)) as ward:
        await ward.next()
        await ward.settle()
        ward.time.pass_by(timedelta(minutes=1))
        await ward.settle()
        ward.time.at -= timedelta(days=400)
        ward.keeper.hint()
        await ward.next()
        await ward.settle()
        ward.time.pass_by(EVERY)
        assert (await ward.next()).refreshed is not None


async def test_many_hints_are_one_reading(tmp_path: Path) -> None:
    async with watched(as_ndjson(tmp_path)) as ward:
        await ward.next()
        for _ in range(100):
            ward.keeper.hint()
        await ward.nothing()  # it rests
        ward.time.pass_by(timedelta(seconds=10))
        await ward.next()
        await ward.settle()
        ward.time.pass_by(timedelta(seconds=10))
        await ward.nothing()


async def knock(url: str, headers: dict[str, str]) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.post(url, headers=headers, json={"deleted": "everything"})).status_code


async def test_a_knock_at_the_real_receiver_brings_what_changed(tmp_path: Path) -> None:
    form = as_search(tmp_path)
    async with watched(form) as ward, listening(ward.keeper.hint) as url:
        assert form.server is not None
        (source,) = form.mapping.sources
        assert isinstance(source, FhirServerSource)
        for one in subscriptions(ward.warehouse, source, url, SECRET, end="2027-01-01T00:00:00Z"):
            await asyncio.to_thread(client(form.server).subscribe, one)
        assert [
            one["criteria"].partition("?")[0] for one in form.server.subscriptions.values()
        ] == [
            "Patient",
            "Condition",
            "Observation",
        ]
        await ward.next()
        assert "1004" not in table_of(ward.warehouse).patient_ids
        await ward.settle()
        ward.time.pass_by(timedelta(minutes=10))
        await ward.nothing()
        retract(form, "o19", ward.time.now())
        calls: list[tuple[str, dict[str, str]]] = []
        form.server.ring(lambda to, headers: calls.append((to, headers)))
        assert [await knock(*call) for call in calls] == [200, 200, 200]
        assert (await ward.next()).failure is None
        assert "1004" in table_of(ward.warehouse).patient_ids


class Subscribed:
    """A search server that is asked for Subscriptions, under a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        form = as_search(folder)
        assert form.server is not None
        (source,) = form.mapping.sources
        assert isinstance(source, FhirServerSource)
        self.double, self.time = form.server, Time()
        warehouse, url = form.warehouse(), "http://127.0.0.1:7/fhir-hook"
        self.failures: list[WardroundError] = []
        self.subscriber = Subscriber(
            [
                (
                    client(form.server),
                    lambda end: subscriptions(warehouse, source, url, SECRET, end=end),
                )
            ],
            clock=self.time,
            tell=self.failures.append,
        )

    @property
    def ends(self) -> list[str]:
        return [one["end"] for one in self.double.subscriptions.values()]

    async def waiting(self, times: int) -> None:
        """Until it has begun to wait for so many times."""
        for _ in range(20_000):
            if self.time.waits == times:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(self.time.waits)


async def test_subscriptions_are_renewed_before_they_end(tmp_path: Path) -> None:
    ward = Subscribed(tmp_path)
    await asyncio.to_thread(ward.subscriber.subscribe)
    assert ward.ends == ["2026-01-02T12:00:00Z"] * 3
    first = set(ward.double.subscriptions)
    renewing = asyncio.create_task(ward.subscriber.renew())
    await ward.waiting(1)
    for time, end in ((2, "2026-01-03T00:00:00Z"), (3, "2026-01-03T12:00:00Z")):
        ward.time.pass_by(timedelta(hours=12))
        await ward.waiting(time)
        assert ward.ends == [end] * 3
    assert not first & set(ward.double.subscriptions)
    renewing.cancel()
    await asyncio.to_thread(ward.subscriber.end)
    assert ward.ends == []
    await asyncio.to_thread(ward.subscriber.subscribe)  # as a thread that was under way would
    assert ward.ends == []


async def test_a_server_that_is_down_is_asked_again_while_it_still_remembers(
    tmp_path: Path,
) -> None:
    ward = Subscribed(tmp_path)
    await asyncio.to_thread(ward.subscriber.subscribe)
    renewing = asyncio.create_task(ward.subscriber.renew())
    await ward.waiting(1)
    ward.double.faults.append(("Subscription", Response(status_code=404)))
    ward.time.pass_by(timedelta(hours=12))
    await ward.waiting(2)
    assert len(ward.failures) == 1
    assert ward.ends == ["2026-01-02T12:00:00Z"] * 3
    ward.time.pass_by(timedelta(minutes=1))
    await ward.waiting(3)
    assert ward.ends == ["2026-01-03T00:01:00Z"] * 3
    renewing.cancel()


async def test_a_stranger_is_no_hint(tmp_path: Path) -> None:
    async with watched(as_ndjson(tmp_path)) as ward, listening(ward.keeper.hint) as url:
        await ward.next()
        await ward.settle()
        ward.time.pass_by(timedelta(minutes=10))
        assert await knock(url, {"X-Wardround-Hook": "x" * 48}) == 401
        await ward.nothing()


async def test_a_knock_while_the_server_fails_is_not_forgotten(tmp_path: Path) -> None:
    form = as_search(tmp_path)
    async with watched(form) as ward:
        assert form.server is not None
        await ward.next()
        await ward.settle()
        ward.time.pass_by(timedelta(minutes=10))
        retract(form, "o19", ward.time.now())
        form.server.faults.append(("Condition", Response(status_code=404)))
        ward.keeper.hint()
        assert (await ward.next()).failure is not None
        assert "1004" not in table_of(ward.warehouse).patient_ids
        await ward.settle()
        ward.time.pass_by(timedelta(minutes=1))
        assert (await ward.next()).failure is None
        assert "1004" in table_of(ward.warehouse).patient_ids


async def test_a_table_that_is_being_made_stays_as_it_was_begun(tmp_path: Path) -> None:
    form = as_ndjson(tmp_path)
    warehouse = form.warehouse()
    warehouse.refresh()
    snapshot = warehouse.snapshot()
    path = tmp_path / "Patient.ndjson"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1][:-1]))
    warehouse.refresh()
    assert table_of(snapshot).patient_ids == USED
    assert table_of(warehouse).patient_ids == USED[1:]


@asynccontextmanager
async def listening(changed: Callable[[], None]) -> AsyncIterator[str]:
    """The real receiver, on a real socket of this machine."""
    server = receiver_server(receiver(SECRET, changed))
    running = asyncio.create_task(server.serve())
    while not server.started:
        assert not running.done()
        await asyncio.sleep(0.01)
    sockets: list[Any] = [one for listener in server.servers for one in listener.sockets]
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}/fhir-hook"
    finally:
        server.should_exit = True
        await running
