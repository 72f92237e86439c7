"""A share of a processor, held from outside by stopping and continuing the worker.

Where the kernel holds the share (`cgroups`), nothing of this is needed. Where it does not, the
agent lets the worker run while there is time in a bucket that fills at ``share`` seconds a second,
stops it (SIGSTOP, which no process can refuse) when the bucket is empty, and continues it when the
bucket is full again. What is taken out is the worker's processor time as the kernel counts it, and
nothing that a study or a record could have a say in; an agent that comes late to stop the worker
waits for what was overdrawn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

PERIOD_S = 0.1
"""How often a worker is stopped, about; the kernel's own default for ``cpu.max``."""

_LEAST_S = 0.0005
"""With less than this in the bucket it counts as empty: no clock of ours is finer."""


class Governed(Protocol):
    """What can be stopped and continued, and has a meter."""

    def stop(self) -> None:
        """Let none of its processes run."""
        ...

    def go_on(self) -> None:
        """Let them run again."""
        ...

    def spent_s(self) -> float:
        """Processor time spent since some moment in the past."""
        ...


class Governor:
    """One worker's account of processor time, over all of its calls. ``share`` is below 1."""

    def __init__(
        self,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._share = share
        self._clock = clock
        self._sleep = sleep
        self._most_s = PERIOD_S * share
        self._left_s = self._most_s
        self._at = clock()

    @asynccontextmanager
    async def holding(self, worker: Governed) -> AsyncIterator[None]:
        """Hold the worker to its share while it computes, which is during this block."""
        self._book(0.0)
        meter = _Meter(worker)
        task = asyncio.create_task(self._hold(worker, meter))
        try:
            yield
        finally:
            task.cancel()
            worker.go_on()  # it waits for its next call by itself
            self._book(meter.since_last())

    async def _hold(self, worker: Governed, meter: _Meter) -> None:
        while True:
            if self._left_s > _LEAST_S:
                # It may have got less of the processor meanwhile than there was to be had.
                await self._sleep(self._left_s / (1 - self._share))
                self._book(meter.since_last())
                continue
            worker.stop()
            try:
                await self._sleep((self._most_s - self._left_s) / self._share)
            finally:
                self._book(meter.since_last())
            worker.go_on()

    def _book(self, spent_s: float) -> None:
        """Fill the bucket for the time that has passed, and take out what was spent in it."""
        now = self._clock()
        filled = self._left_s + (now - self._at) * self._share - spent_s
        self._left_s, self._at = min(self._most_s, filled), now


class _Meter:
    """How much a worker has spent from one reading to the next."""

    def __init__(self, worker: Governed) -> None:
        self._worker = worker
        self._last = worker.spent_s()

    def since_last(self) -> float:
        now = self._worker.spent_s()
        spent, self._last = now - self._last, now
        return spent
