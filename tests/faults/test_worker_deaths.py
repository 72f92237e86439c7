"""A hospital's worker that dies alone, at any of its calls: it keeps nothing, and nothing is lost.

In a study with noise the agent stops instead, until the steward has looked (``tests/site``); that
a worker dies with its agent is tested in ``tests/sandbox``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from faults.enumeration import SITES, Enumeration, enumeration
from faults.outcome import examine
from faults.trial import Trial
from wardround.errors import WardroundError
from wardround.sandbox import InlineWorker
from wardround.sandbox.interface import Vector
from wardround.simulation.inprocess import ENTRY

CALLS = 8
"""So often does each hospital compute something in that study."""


class Mortal(InlineWorker):
    """Dies at its ``last`` call, once it has computed, and has no records until it is loaded."""

    def __init__(self, last: int) -> None:
        super().__init__(ENTRY)
        self.calls, self.died = 0, False
        self._last = last

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        self.calls += 1
        answer = await super().call(request, array)
        if self.calls == self._last:
            self.died, self._columns = True, None
            raise WardroundError("WR-SANDBOX-004", "The worker ended.", "The next one is new.")
        return answer


async def survives(one: Enumeration, call: int) -> Mortal:
    """A run in which one hospital's worker dies at that call."""
    worker = Mortal(call)
    trial = Trial(one.cast, one.cast.folder.parent / f"call-{call}")
    trial.worker_of = lambda site: worker if site == SITES[0] else InlineWorker(ENTRY)
    await trial.run()
    assert examine(trial).totals == one.truth.totals
    return worker


@pytest.mark.timeout(120)
def test_a_worker_that_dies_at_any_call_costs_one_round() -> None:
    with enumeration() as one:
        for call in range(1, CALLS + 1):
            worker = asyncio.run(survives(one, call))
            assert worker.died
            assert worker.calls == CALLS + 1, "that one again, and no other"
