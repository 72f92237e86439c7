"""The share of a processor: held over any mixture of calls, whatever the agent's own delays."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.sandbox import Limits
from wardround.sandbox.governor import PERIOD_S, Governor


class Bench:
    """A clock that only tests move, and a worker that is told to stop and go on.

    While it may run it gets ``gets`` of a processor; others have the rest.
    """

    def __init__(self, late_s: float = 0.0, gets: float = 1.0) -> None:
        self.now = 0.0
        self.gets = gets
        self.running = True
        self.ran = 0.0
        self.switches = 0
        self._late_s = late_s
        self._until = 0.0
        self._done = asyncio.Event()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """As asyncio's, but late, and not past the end of the call."""
        await asyncio.sleep(0)
        wake = self.now + max(seconds, 0.0) + self._late_s
        end = min(wake, self._until)
        self.ran += (end - self.now) * self.running * self.gets
        self.now = end
        if end < wake:
            self._done.set()
            await asyncio.Event().wait()  # cancelled with the call

    def stop(self) -> None:
        self.running = False
        self.switches += 1

    def go_on(self) -> None:
        self.running = True

    def spent_s(self) -> float:
        return self.ran

    async def call(self, governor: Governor, wall_s: float) -> None:
        """A computation that is at it for so long, by the clock on the wall."""
        self._done.clear()
        self._until = self.now + wall_s
        async with governor.holding(self):
            await self._done.wait()


@given(
    st.floats(0.05, 0.95),
    st.lists(st.tuples(st.floats(0.001, 3.0), st.floats(0.0, 0.5)), min_size=1, max_size=20),
    st.floats(0.0, 0.03),
)
def test_no_mixture_of_calls_gets_more_than_the_share(share, calls, late_s):
    """Pauses between calls earn no more than one period's worth."""

    async def run() -> None:
        bench = Bench(late_s)
        governor = Governor(share, bench.clock, bench.sleep)
        for wall_s, pause_s in calls:
            await bench.call(governor, wall_s)
            assert bench.running
            bench.now += pause_s
        allowance = PERIOD_S * share + share * bench.now
        # What an agent overdraws by being late, or by a call's first moment, is one delay at most.
        assert bench.ran <= allowance + late_s + 1e-9

    asyncio.run(run())


def test_a_long_call_gets_its_share_and_no_less():
    async def run() -> None:
        bench = Bench()
        await bench.call(Governor(0.25, bench.clock, bench.sleep), 100.0)
        assert bench.ran == pytest.approx(25.0, abs=PERIOD_S)
        assert 100 < bench.switches < 1500

    asyncio.run(run())


def test_on_a_busy_machine_it_still_gets_what_it_may():
    """Time in which others had the processor is not held against it."""

    async def run() -> None:
        bench = Bench(gets=0.3)
        await bench.call(Governor(0.25, bench.clock, bench.sleep), 100.0)
        assert bench.ran == pytest.approx(25.0, abs=PERIOD_S)

    asyncio.run(run())


async def test_a_real_worker_takes_as_long_as_its_share_makes_it(make_worker):
    """By its own account of processor time; a busy machine can only make it longer."""
    worker = await make_worker("work", Limits(cpu_share=0.2))
    started = time.monotonic()
    (spent,) = await worker.call({"s": 0.3})
    passed = time.monotonic() - started
    assert spent >= 0.3
    assert passed >= (spent - PERIOD_S) / 0.2


async def test_a_worker_under_a_share_answers_and_ends(make_worker):
    worker = await make_worker("add_up", Limits(cpu_share=0.05))
    for _ in range(5):
        assert (await worker.call({"columns": ["b"]})).tolist() == [60.0]
    await worker.close()
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({"columns": ["b"]})
