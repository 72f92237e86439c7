"""Federated averaging at everybody's own pace, in the race of `_straggler`.

A hospital trains from the newest model that it has and says ready; four that are ready form a late
cohort and open their sum (`docs/explanation/late-cohorts.md`). The slow hospital is in one now and
then, with what it trained from an older model.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks._straggler import (
    FEATURES,
    Race,
    pooled_loss,
    slowed_federation,
    standardised,
)
from wardround.algorithms.glm import constants
from wardround.learning.buffered import BufferedFedAvg
from wardround.learning.contribution import from_total
from wardround.learning.specify import specify
from wardround.trust.canonical import JSON

CEILING_S = 60
COHORT: dict[str, JSON] = {"deadline_s": CEILING_S, "asynchronous": {}}


async def asynchronous(target: float, most: int) -> Race:
    """Late cohorts until a loss is reached, ``most`` of them at the most.

    ``survivors`` are the members of each cohort.
    """
    async with slowed_federation(COHORT) as federation:
        standardisation, _ = await standardised(federation)
        race, weights = Race(), np.zeros(len(FEATURES) + 1)
        choice: dict[str, JSON] = {**constants(standardisation), "decay": 1e-4, "round": 0}
        task = specify(federation.study, BufferedFedAvg.kind, choice, weights)
        question = BufferedFedAvg.parse(task.parameters, weights)
        stream = federation.stream(task)
        started = time.perf_counter()
        try:
            for _ in range(most):
                total = await anext(aiter(stream))
                totals, _ = from_total(question, total.values)
                weights = weights + totals.damped
                race.seconds.append(time.perf_counter() - started)
                race.losses.append(pooled_loss(standardisation, weights))
                race.survivors.append(len(total.survivors))
                if race.losses[-1] <= target:
                    break
                stream.publish(weights)
        finally:
            await stream.aclose()
        return race
