"""Hundreds of rounds in trouble: nothing is lost, and nothing grows.

In the first part every process lives through all of them, so that what grows with a process's life
is seen; in the second they die, and their disks fill up. What SQLite may keep of a file in memory
has a bound of its own (2 MiB a connection, reached within these rounds) and is made small here, and
the clock of requests runs fast, so that the ten minutes for which a request's nonce is remembered
pass in the warming up. What is left to grow are the journals' trees, 64 bytes a leaf.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import math
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from sqlalchemy import Engine, event

from ward import SITES, Ward, open_ward
from wardround.coordinator import coordinator as coordinator_module
from wardround.coordinator import reception
from wardround.coordinator.streams import GATHERING
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.learning.specify import specify
from wardround.site import link
from wardround.store import Database
from wardround.store.room import NO_ROOM, wants_room
from wardround.study import Task

ROUNDS = 500
WARM = 150
"""After so many rounds everything that is made once has been made."""

BYTES_PER_ROUND = 4 << 10
"""What a round may leave in memory, at the coordinator and three hospitals together: some 20 leaves
of their journals, which is 1.3 KiB, and as much again for what malloc makes of it."""

COHORTS = 250
BYTES_PER_COHORT = 12 << 10
"""The same in a stream of four hospitals: 40 leaves, and which version of the model there was."""

SECONDS_PER_ROUND = 10.0
THREE = SITES[:3]
SEED = 6


class Memory:
    """What this process holds, once all that is garbage is gone."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._bytes, self._files = self._now()

    def _now(self) -> tuple[int, int]:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return self._process.memory_info().rss, self._process.num_fds()

    def assert_flat(self, rounds: int, bytes_per_round: float) -> None:
        """No file is open that was not, and each round has left so much at the most."""
        now, files = self._now()
        assert files == self._files
        each = (now - self._bytes) / rounds
        assert each <= bytes_per_round


class Soak:
    """A ward whose lines lose and delay requests and answers, and whose parties die, by a die."""

    def __init__(self, ward: Ward, troubles: tuple[str, ...]) -> None:
        self.ward = ward
        self.dice = random.Random(SEED)
        self.troubles = dict.fromkeys(troubles, 0)
        self.disturbed = 0
        self.waited_for_room = 0
        self.totals: list[list[float]] = []
        for hospital in ward.hospitals.values():
            hospital.line.before = hospital.line.after = self.disturb
            hospital.line.spoken = _Nothing()
            hospital.events = _Rooms(self)
        ward.said = _Nothing()

    async def disturb(self, _kind: str) -> None:
        """Lose what goes over a line, or hold it up."""
        chance = self.dice.random()
        if chance < 0.03:
            self.disturbed += 1
        if chance < 0.01:
            raise httpx.ReadError("lost on the way")
        if chance < 0.03:
            await asyncio.sleep(self.dice.random() * 0.01)

    def task(self, step: int) -> Task:
        """Two questions, in turn."""
        return self.ward.task("moments" if step % 2 else "outcome_counts")

    async def sum(self) -> Total:
        """The next total; a full disk is waited out, as `wardround.coordinator.serve` does."""
        step = len(self.totals)
        while True:
            try:
                return await self.ward.driver.sum(self.task(step))
            except WardroundError as error:
                if not wants_room(error):
                    raise
            self.waited_for_room += 1
            await asyncio.sleep(0.01)
            try:
                self.ward.drive()
            except WardroundError as error:
                if not wants_room(error):
                    raise

    async def round(self) -> None:
        """One total, though somebody may die on the way to it, or find no room on its disk."""
        under_way = asyncio.ensure_future(self.sum())
        if self.dice.random() < 0.15:
            await asyncio.sleep(self.dice.random() * 0.03)
            trouble = self.dice.choice(list(self.troubles))
            self.troubles[trouble] += 1
            hospital = self.ward.hospitals[self.dice.choice(THREE)]
            match trouble:
                case "coordinator dies":
                    under_way.cancel()
                    await asyncio.wait({under_way})
                    await self.restart_coordinator()
                    under_way = asyncio.ensure_future(self.sum())
                case "site dies":
                    await hospital.kill()
                    await hospital.start()
                case "coordinator full":
                    await self.fill_up(self.ward.coordinator.state.database)
                case "site full":
                    assert hospital.database is not None
                    await self.fill_up(hospital.database)
        total: Total = await asyncio.wait_for(under_way, 60)
        assert total.survivors == THREE
        self.totals.append(list(total.values))

    async def fill_up(self, database: Database) -> None:
        """For a while no page can be added to this database."""
        with _room(database):
            await asyncio.sleep(0.1 + self.dice.random() * 0.2)

    async def restart_coordinator(self) -> None:
        """Killed and started again, it has every total that there was."""
        await self.ward.crash()
        driver = await self.ward.restart()
        for step, known in enumerate(self.totals):
            assert list((await driver.sum(self.task(step))).values) == known


@contextmanager
def _room(database: Database) -> Iterator[None]:
    """None, in this block; outside it, as much as there is."""

    def most(pages: int) -> None:
        with database.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    most(1)  # no fewer than there are
    try:
        yield
    finally:
        most(1 << 30)


class _Nothing(list[object]):
    """A record that keeps nothing: what grows must be the product's."""

    def append(self, _one: object) -> None:
        return None


class _Rooms(_Nothing):
    """Counts how often a hospital says that it waits for room."""

    def __init__(self, soak: Soak) -> None:
        super().__init__()
        self._soak = soak

    def append(self, one: object) -> None:
        self._soak.waited_for_room += isinstance(one, tuple) and one[1].get("code") == NO_ROOM


class _FastClock:
    """The module ``time``, in which so many seconds more have passed."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def time(self) -> float:
        return time.time() + self.ahead_s

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[_FastClock]:
    """The clock of requests; SQLite's caches are small meanwhile, and a twin comes at once."""
    fast = _FastClock()
    monkeypatch.setattr(reception, "time", fast)
    monkeypatch.setattr(link, "time", fast)
    monkeypatch.setattr(coordinator_module, "TWIN_WITHIN_S", 0.0)

    def connected(connection: object, _record: object) -> None:
        connection.execute("PRAGMA cache_size = -100")  # type: ignore[attr-defined]

    event.listen(Engine, "connect", connected)
    yield fast
    event.remove(Engine, "connect", connected)


@asynccontextmanager
async def soaking(folder: Path, *troubles: str) -> AsyncIterator[Soak]:
    cohort = {"minimum_sites": 3, "deadline_s": 30, "attempts": 10}
    async with open_ward(folder, sites=THREE, cohort=cohort) as ward:
        yield Soak(ward, troubles)


async def soaked(soak: Soak, clock: _FastClock, bytes_per_round: float) -> None:
    """All the rounds: none is lost, and none leaves anything."""
    memory = None
    while len(soak.totals) < ROUNDS:
        await soak.round()
        clock.ahead_s += SECONDS_PER_ROUND
        if len(soak.totals) == WARM:
            memory = Memory()
    assert memory is not None
    memory.assert_flat(ROUNDS - WARM, bytes_per_round)
    totals = soak.totals
    assert all(one == totals[step % 2] for step, one in enumerate(totals)), "one of two totals"
    opened = [one.facts["round"] for one in soak.ward.entries("total")]
    assert len(opened) == len(set(opened)) == ROUNDS
    assert not any((soak.ward.folder / "coordinator" / "spool").glob("[!.]*"))
    assert soak.disturbed > 100
    assert min(soak.troubles.values()) >= 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_five_hundred_rounds_leave_nothing_in_those_who_live_through_them(
    tmp_path: Path, clock: _FastClock
) -> None:
    """Lines lose and delay, and disks are full for a while; nobody is started again."""
    async with soaking(tmp_path, "coordinator full", "site full") as soak:
        await soaked(soak, clock, BYTES_PER_ROUND)
        assert soak.waited_for_room >= 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_five_hundred_rounds_in_which_everybody_dies(
    tmp_path: Path, clock: _FastClock
) -> None:
    """A process that dies takes its memory along; here it is one process, so files are compared."""
    async with soaking(tmp_path, "coordinator dies", "site dies") as soak:
        await soaked(soak, clock, math.inf)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_hundreds_of_late_cohorts_leave_nothing_either(
    tmp_path: Path, clock: _FastClock
) -> None:
    fedavg = {"rounds": COHORTS, "learning_rate": 0.5}
    model = {"kind": "logistic", "algorithm": "fedavg", "fedavg": fedavg}
    late = {"sites": 4, "tolerated_dropouts": 0, "sum_deadline_s": 20.0}
    cohort = {"deadline_s": 60.0, "attempts": 2, "asynchronous": late}
    changes = {"cohort": cohort, "model": model, "adversary": {"corrupt_sites": 0}}
    async with open_ward(tmp_path, **changes) as ward:
        soak = Soak(ward, ())
        start = np.zeros(3)
        scaled = {"centre": [14.0, 19.0], "scale": [3.5, 4.0], "decay": 0.01}
        task = specify(ward.study, "buffered_fedavg", {**scaled, "round": 0}, start)
        stream = ward.driver.stream(task)
        memory, state = None, 0
        for number in range(1, COHORTS + 1):
            await asyncio.wait_for(anext(stream), 120)
            stream.publish(start + number / 1000)
            clock.ahead_s += SECONDS_PER_ROUND
            if number == WARM:
                memory, state = Memory(), _size_of_state(ward)
        assert memory is not None
        memory.assert_flat(COHORTS - WARM, BYTES_PER_COHORT)
        assert _size_of_state(ward) <= state + 4000, "what is rewritten at every transition"
        opened = [one.facts["round"] for one in ward.entries("total")]
        assert len(opened) == len(set(opened)) == COHORTS
        assert soak.disturbed > 100


def _size_of_state(ward: Ward) -> int:
    streaming = ward.coordinator.stream
    assert streaming is not None
    return len(GATHERING.dump_json(streaming.gathering.state))
