"""A private contribution: who takes part is drawn, each patient's vector clipped, then all summed.

This runs in the agent's own process. The confined worker only turns patients into vectors; it gets
a batch of a fixed size and does not learn who of it counts. So whatever a patient's vector is, that
patient changes the sum by at most the sensitivity that the accountant counts with. (Attackers here:
the coordinator, who picks the model and sees totals and timing; and faults of the code in the
worker, but for code that mixes patients on purpose or fails because of one: it holds all records,
and the trial on a few of them finds only what shows there.)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.mixing import refuse_mixing
from wardround.learning.private import PrivateComputation
from wardround.learning.private_fedavg import PrivateFedAvg
from wardround.learning.registry import find_private
from wardround.privacy.batches import draw_batch, padded, padded_size
from wardround.privacy.clipping import clip_and_sum
from wardround.privacy.events import FRACTIONAL_BITS
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.shares import noise_share
from wardround.sandbox.interface import Vector, Worker
from wardround.secagg.encoding import FixedPoint
from wardround.study import Study, Task
from wardround.study.plan import Line, line_of

_KEY_BYTES = 32
_BLOCK_BYTES = 64 << 20
"""The patients' vectors that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class PatientSum:
    """A sum over clipped patients in whole steps, shape (task.length,): exact, not yet private."""

    steps: NDArray[np.int64] = field(repr=False)
    line: Line


@dataclass(frozen=True, eq=False)
class NoisyUpdate:
    """What noisy steps led to, in whole steps, shape (task.length,): private as it is."""

    steps: NDArray[np.int64] = field(repr=False)


class Patients:
    """A hospital's patients as the door asks for them: one at a time clipped, only sums come out.

    ``random_bytes`` is the system's cryptographic generator. Every answer gets fresh keys.
    """

    def __init__(
        self,
        study: Study,
        worker: Worker,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._study = study
        self._worker = worker
        self._random_bytes = random_bytes
        self._tried: set[str] = set()

    def source(self) -> NoiseSource:
        """A stream of noise that is used for one answer and forgotten."""
        return NoiseSource(self._random_bytes(_KEY_BYTES))

    async def answer(self, task: Task, patients: int) -> PatientSum | NoisyUpdate:
        """The contribution to a private task over the ``patients`` that the worker has loaded.

        Raises WR-LEARN-030 for a model whose layers mix patients, and WR-SITE-012 when the worker
        answers in another shape.
        """
        line = line_of(self._study, task.kind)
        computation = find_private(task.kind).parse(task.parameters, _model(task.model))
        if isinstance(computation, PrivateFedAvg):
            return await self._train(task, computation, line, patients)
        steps = await self._sum(task, computation, task.model, line.event.sampling_rate, patients)
        return PatientSum(steps, line)

    async def _train(
        self, task: Task, computation: PrivateFedAvg, line: Line, patients: int
    ) -> NoisyUpdate:
        """Noisy steps of this hospital's own, each with all the noise that its price asks for."""
        source, weights = self.source(), computation.coefficients
        for _ in range(line.events_per_task):
            clipped = await self._sum(
                task, computation, weights, line.event.sampling_rate, patients
            )
            noisy = clipped + noise_share(line.event, 1, source, len(clipped))
            weights = computation.step(weights, noisy.astype(np.float64) * 2.0**-FRACTIONAL_BITS)
        update = computation.update(weights)
        encoding = FixedPoint(task.ring_bits, FRACTIONAL_BITS, task.bound, 1)
        return NoisyUpdate(encoding.encode(update).view(np.int64))

    async def _sum(
        self,
        task: Task,
        computation: PrivateComputation[object],
        model: Vector | None,
        rate: float,
        patients: int,
    ) -> NDArray[np.int64]:
        """The clipped sum over a batch that is drawn for it: everyone with the same chance."""
        if rate < 1:
            source = self.source()
            batch = draw_batch(source, patients, rate)
            places, chosen = padded(batch, padded_size(patients, rate), source)
        else:
            places, chosen = np.arange(patients), np.ones(patients, dtype=np.bool_)
        quantile = computation.with_quantile
        total = np.zeros(computation.lanes + quantile, dtype=np.int64)
        block = max(1, _BLOCK_BYTES // (8 * computation.lanes))
        for start in range(0, len(places), block):
            part = slice(start, start + block)
            rows = await self._rows(task, computation, model, places[part])
            if start == 0:
                await self._try_mixing(task, computation, model, places[part], rows)
            total += clip_and_sum(rows, chosen[part], with_quantile=quantile)
        return total

    async def _try_mixing(
        self,
        task: Task,
        computation: PrivateComputation[object],
        model: Vector | None,
        places: NDArray[np.int64],
        rows: NDArray[np.float64],
    ) -> None:
        """The first time that a kind of task is asked, a few patients' rows are computed alone too.

        Clipping one patient's row bounds nothing if the others' depend on it (WR-LEARN-030).
        """
        if task.kind in self._tried:
            return
        for index in {0, len(places) // 2, len(places) - 1}:
            alone = await self._rows(task, computation, model, places[index : index + 1])
            refuse_mixing(rows[index : index + 1], alone)
        self._tried.add(task.kind)

    async def _rows(
        self,
        task: Task,
        computation: PrivateComputation[object],
        model: Vector | None,
        places: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        request = {
            "kind": task.kind,
            "parameters": dict(task.parameters),
            "length": task.length,
            "limits": {"minimum_cell": 0, "minimum_cohort": 1},  # a refusal by count would tell it
            "batch": len(places),
        }
        parts = [places.astype(np.float64)]
        if model is not None:
            parts.insert(0, np.asarray(model, dtype=np.float64))
        rows = await self._worker.call(request, np.concatenate(parts))
        if rows.dtype != np.float64 or rows.shape != (len(places) * computation.lanes,):
            raise WardroundError(
                "WR-SITE-012",
                "The computation returned another shape than agreed.",
                "The agent refuses; nothing is lost. Tell the study's coordinator.",
            )
        return rows.astype(np.float64, copy=False).reshape(len(places), computation.lanes)


def _model(model: Vector | None) -> NDArray[np.float64] | None:
    return None if model is None else np.asarray(model, dtype=np.float64)
