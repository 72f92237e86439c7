"""How much a training worker disturbs a small HTTP service on the same machine, capped and not.

The service and its visitor are ordinary processes. Against them runs one training process for each
processor, always at work: *capped* is the product's confined worker as a hospital may set it
(``cpu_share = 0.5``, ``priority = "idle"``), *default* the same worker with nothing set, *uncapped*
the same computation as an ordinary process. All four conditions, with the idle one, take turns in a
new random order in each cycle, so that what else a shared machine does hits all alike. Latencies
are counted from when a request was due, and pooled over all cycles.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial

import numpy as np

from benchmarks._contention_parties import training_columns, training_request
from benchmarks._process import Party, free_port
from benchmarks.report import Cell, Report
from wardround.sandbox import BASE_LIMITS, CAPS, ConfinedWorker, Limits, Priority, probe
from wardround.sandbox.meter import meter_of

CYCLES = 40
SLICE_S = 1.0
CAPPED = Limits(cpu_share=0.5, priority=Priority.IDLE)
_ENTRY = "wardround.learning.own:compute"
_MODULE = "benchmarks._contention_parties"


def run() -> Report:
    """The 50th and 99th percentile of the service's latency under each condition."""
    return asyncio.run(_run())


async def _run() -> Report:
    processors = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        port = free_port()
        service = Party(_MODULE, "service", str(port))
        stack.callback(service.end)
        await asyncio.to_thread(_wait_for, port)
        visitor = Party(_MODULE, "visitor", str(port))
        stack.callback(visitor.end)
        visitor.hear()
        async with AsyncExitStack() as workers:
            conditions = {
                "idle": _Nobody(),
                "capped": await workers.enter_async_context(_confined(CAPPED, processors)),
                "default": await workers.enter_async_context(_confined(Limits(), processors)),
                "uncapped": await workers.enter_async_context(_ordinary(processors)),
            }
            await _measure(visitor, conditions["idle"], 1.0)  # to warm up
            taken: dict[str, list[float]] = {name: [] for name in conditions}
            used = dict.fromkeys(conditions, 0.0)
            for _ in range(CYCLES):
                for name in random.sample([*conditions], len(conditions)):
                    took, busy = await _measure(visitor, conditions[name], SLICE_S)
                    taken[name] += took
                    used[name] += busy
    return _report(taken, used)


def _report(taken: dict[str, list[float]], used: dict[str, float]) -> Report:
    idle = np.percentile(taken["idle"], (50, 99))
    rows: list[dict[str, Cell]] = []
    for name, took in taken.items():
        p50, p99 = np.percentile(took, (50, 99))
        rows.append(
            {
                "training": name,
                "requests": len(took),
                "p50_ms": float(p50),
                "p99_ms": float(p99),
                "p50_ratio": float(p50 / idle[0]),
                "p99_ratio": float(p99 / idle[1]),
                "processors_used": used[name] / CYCLES,
            }
        )
    ratios = {str(row["training"]): float(str(row["p99_ratio"])) for row in rows}
    figures = {
        "p99_ratio": ratios["capped"],
        "p99_ratio_default": ratios["default"],
        "p99_ratio_uncapped": ratios["uncapped"],
        "processors_used_capped": used["capped"] / CYCLES,
    }
    notes = [
        "p99_ratio: capped against idle; aim at most 1.5. processors_used: by training.",
        f"{CYCLES} cycles of {SLICE_S:g} s for each condition, one training process a processor.",
    ]
    return Report(rows, figures, notes)


class _Nobody:
    """Nothing trains."""

    async def begin(self) -> None:
        """Do nothing."""

    async def pause(self) -> None:
        """Do nothing."""

    def spent_s(self) -> float:
        """Return nothing."""
        return 0.0


class _Confined(_Nobody):
    """Confined workers, each called again as soon as it has answered."""

    def __init__(self, workers: list[ConfinedWorker]) -> None:
        self._workers = workers
        self._tasks: list[asyncio.Task[None]] = []
        self._training = False

    async def begin(self) -> None:
        self._training = True
        self._tasks = [asyncio.create_task(self._train(worker)) for worker in self._workers]

    async def _train(self, worker: ConfinedWorker) -> None:
        while self._training:
            await worker.call(training_request())

    async def pause(self) -> None:
        self._training = False
        await asyncio.gather(*self._tasks)

    def spent_s(self) -> float:
        # Nobody but a benchmark asks a worker for this, so there is no public way.
        return sum(one._conversation.spent_s() for one in self._workers if one._conversation)


class _Ordinary(_Nobody):
    """Ordinary processes, stopped while it is not their turn."""

    def __init__(self, parties: list[Party]) -> None:
        self._parties = parties
        self._meters: list[Callable[[], float]] = [meter_of(one.number) for one in parties]

    async def begin(self) -> None:
        for one in self._parties:
            os.kill(one.number, signal.SIGCONT)

    async def pause(self) -> None:
        for one in self._parties:
            os.kill(one.number, signal.SIGSTOP)

    def spent_s(self) -> float:
        return sum(meter() for meter in self._meters)


@asynccontextmanager
async def _confined(limits: Limits, count: int) -> AsyncIterator[_Confined]:
    required = (BASE_LIMITS | CAPS) & (await asyncio.to_thread(partial(probe, limits))).enforced
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(count):
            workers.append(ConfinedWorker(_ENTRY, required=required, limits=limits))
            stack.push_async_callback(workers[-1].close)
            await workers[-1].start()
            await workers[-1].load(training_columns())
        yield _Confined(workers)


@asynccontextmanager
async def _ordinary(count: int) -> AsyncIterator[_Ordinary]:
    with ExitStack() as stack:
        parties = []
        for _ in range(count):
            # In a session of its own, as another program of the hospital's would be.
            parties.append(Party(_MODULE, "trainer", apart=True))
            stack.callback(parties[-1].end)
            parties[-1].hear()
            os.kill(parties[-1].number, signal.SIGSTOP)
        yield _Ordinary(parties)


async def _measure(visitor: Party, condition: _Nobody, seconds: float) -> tuple[list[float], float]:
    """Latencies in milliseconds while somebody trains, and how many processors that took."""
    await condition.begin()
    started, before = time.perf_counter(), condition.spent_s()
    answer = await asyncio.to_thread(visitor.ask, {"seconds": seconds})
    used = (condition.spent_s() - before) / (time.perf_counter() - started)
    await condition.pause()
    took = answer["ms"]
    assert isinstance(took, list)
    return took, used


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/wards/1").read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
