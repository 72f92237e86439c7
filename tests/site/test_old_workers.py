"""A long study outlives its workers' processor time: they are replaced between tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bedside import Bedside
from burning import BURNT_S
from studies import private
from ward import SECURE_SUM
from wardround.errors import WardroundError
from wardround.sandbox import ConfinedWorker, HostLimits, Limits
from wardround.sandbox.interface import Columns
from wardround.study import HospitalPolicy

CPU_S = 2
TASKS = 7
assert CPU_S < TASKS * BURNT_S, "one worker could not answer them all"


class Counted(ConfinedWorker):
    """A worker with little processor time, that counts how often it was started and loaded."""

    def __init__(self) -> None:
        limits = Limits(cpu_s=CPU_S)
        super().__init__(
            "burning:compute", required=frozenset(), limits=limits, use_bubblewrap=False
        )
        self.starts = self.loads = 0

    async def start(self) -> HostLimits:
        self.starts += 1
        return await super().start()

    async def load(self, columns: Columns) -> None:
        self.loads += 1
        await super().load(columns)


class OldBedside(Bedside):
    make_worker = Counted


@pytest.mark.parametrize("profile", ["secure-sum", "private"])
async def test_many_tasks_are_answered_with_little_processor_time(
    tmp_path: Path, profile: str
) -> None:
    if profile == "private":
        more = {key: private()[key] for key in ("model", "privacy")}
        bedside = OldBedside(tmp_path, hospital=HospitalPolicy(), profile="private", **more)
        task, tasks = bedside.task("private_moments"), 2  # no more are in the plan
    else:
        bedside = OldBedside(tmp_path, hospital=SECURE_SUM)
        task, tasks = bedside.task(), TASKS
    bedside.set_up(TASKS)
    bedside.give_shares(bedside.order(task))
    await bedside.worker.start()
    try:
        for number in range(tasks):
            await bedside.answered(bedside.order(task, index=number, attempt=number))
    finally:
        await bedside.worker.close()
    assert bedside.door.stopped is None
    assert bedside.worker.starts >= bedside.worker.loads > 1, "each new one has the records"


@pytest.mark.slow
async def test_without_that_the_kernel_ends_it_in_the_middle() -> None:
    worker = Counted()
    await worker.start()
    await worker.load({"a": np.zeros(3)})
    codes = []
    for _ in range(TASKS):
        try:
            await worker.call({"kind": "none", "parameters": {}, "length": 1})
        except WardroundError as error:  # the first ones: there is no such computation
            codes.append(error.code)
    await worker.close()
    assert "WR-SANDBOX-011" in codes and worker.is_old


def test_how_old_it_is_goes_by_the_clock_alone() -> None:
    """What a worker has spent depends on the records; when it is replaced must not."""
    now = 100.0
    limits = Limits(cpu_s=3600)
    worker = ConfinedWorker("x:y", required=frozenset(), limits=limits, clock=lambda: now)
    assert not worker.is_old
    now += 899.0
    assert not worker.is_old
    now += 1.0
    assert worker.is_old
