"""A private study with all records in one place: what a federation's noisy sums are held against.

Trust is what differs, not the mechanism. One holder of everybody's records answers the very tasks
that hospitals are asked, clips each patient and adds the whole of the noise itself, Gaussian or
Skellam as the study says. Shares of Skellam noise add up to Skellam noise, so if nobody drops out
and nobody is assumed corrupt, a federation's totals have the same distribution.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wardround.clinical.table import FeatureTable
from wardround.federation.federation import Stream, Total
from wardround.ids import RoundId, SiteName
from wardround.learning.specify import check_task
from wardround.privacy.events import FRACTIONAL_BITS, deviation
from wardround.privacy.shares import noise_share
from wardround.sandbox import InlineWorker
from wardround.simulation.inprocess import ENTRY
from wardround.site.custody import computable
from wardround.site.patients import Patients, PatientSum
from wardround.study import Study, Task
from wardround.study.checks import not_asynchronous

_EVERYBODY = SiteName("everybody")


class CentralFederation:
    """A `Federation` of one holder of all records. Build it with `pool`."""

    def __init__(self, study: Study, worker: InlineWorker, patients: int) -> None:
        self._study = study
        self._patients = patients
        self._clipped = Patients(study, worker)
        self._asked = 0

    @classmethod
    async def pool(cls, study: Study, tables: Mapping[SiteName, FeatureTable]) -> CentralFederation:
        """Bring the hospitals' tables together for a study of the profile ``private``."""
        columns = [computable(study, table) for table in tables.values()]
        worker = InlineWorker(ENTRY)
        await worker.start()
        await worker.load(
            {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
        )
        return cls(study, worker, sum(map(len, tables.values())))

    @property
    def study(self) -> Study:
        """The study in force."""
        return self._study

    async def sum(self, task: Task) -> Total:
        """The task's total over everybody, with one draw of all the noise."""
        check_task(self._study, task)
        answer = await self._clipped.answer(task, self._patients)
        steps, noise = answer.steps, 0.0
        if isinstance(answer, PatientSum):
            event = answer.line.event
            steps = steps + noise_share(event, 1, self._clipped.source(), task.length)
            noise = deviation(event.noise_multiplier)
        self._asked += 1
        values = steps.astype(np.float64) * 2.0**-FRACTIONAL_BITS
        return Total(values, (_EVERYBODY,), RoundId(f"round-{self._asked}"), noise=noise)

    def stream(self, task: Task) -> Stream:
        """Refused, as in every private study."""
        raise not_asynchronous()

    def say(self, event: str, **facts: str | float) -> None:
        """Nobody watches."""
