"""A stream as an algorithm sees it at the coordinator: totals of one late cohort after another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.coordinator import audit
from wardround.coordinator.streaming import Streaming
from wardround.federation.federation import Total
from wardround.study import Task

if TYPE_CHECKING:
    from wardround.coordinator.driver import Driver


class LiveStream:
    """The coordinator's `Stream`: first what was recorded, then one late cohort after another."""

    def __init__(self, streaming: Streaming, rounds: Driver, task: Task) -> None:
        self._streaming = streaming
        self._rounds = rounds
        self._task = task
        self._given = 0
        self._published = 0

    def __aiter__(self) -> LiveStream:
        """Itself."""
        return self

    def publish(self, model: NDArray[np.float64]) -> None:
        """Give out ``model``; raises WR-ROUND-003 if another one was given out in its place."""
        self._published += 1
        self._streaming.publish(self._published, model)

    async def aclose(self) -> None:
        """No more cohorts: the sites are asked for other things again."""
        self._streaming.close()

    async def __anext__(self) -> Total:
        """The next total; raises WR-ROUND-040 when no cohort comes together for too long."""
        streaming, number = self._streaming, self._given
        self._given += 1
        steps = streaming.opened
        if number < len(steps):
            recorded = self._rounds.recorded(self._task, steps[number])
            assert recorded is not None
            return streaming.dated(recorded, number)
        self._rounds.replays = False
        cohort = self._rounds.study.cohort
        deadline = time.monotonic() + cohort.deadline_s * cohort.attempts
        streaming.serve()
        while True:
            streaming.bar(self._rounds.culprits)
            if not streaming.in_flight:
                await self._form(deadline)
                streaming.begin_round()
            assert streaming.round is not None
            step = streaming.round.state.step
            total = await self._rounds.conduct(self._task, step)
            audit.stop_at_garbage(streaming, step)
            streaming.over(step)
            if total is not None:
                return streaming.dated(total, number)

    async def _form(self, deadline: float) -> None:
        """Have a cohort that everybody in it has signed and dealt to."""
        streaming = self._streaming
        asynchronous = self._rounds.study.cohort.asynchronous
        assert asynchronous is not None
        began: tuple[object, float] = (None, 0.0)
        while True:
            cohort = streaming.forming()
            now = time.monotonic()
            if cohort is not None and not cohort.under_way:
                return
            if now >= deadline:
                raise streaming.stalled()
            if cohort is None:
                await streaming.changed.wait_for(deadline - now)
                continue
            at = (cohort.manifest.sequence, cohort.phase)
            if began[0] != at:
                began = at, now
            left = began[1] + asynchronous.sum_deadline_s - now
            if left <= 0:
                streaming.deadline_passed()
            else:
                await streaming.changed.wait_for(left)
