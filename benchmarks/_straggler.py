"""Eight simulated hospitals, one of which computes ten times as long, and federated averaging.

Coordinator and agents are the product's own services in one process; only how long a hospital
computes is made up: each answer sleeps first, a fifth longer or shorter by chance (with a seed).
Its records are invented, and the same in every race.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.ask import ask
from wardround.algorithms.glm import constants
from wardround.clinical.quarantine import Quarantine
from wardround.clinical.table import FeatureTable
from wardround.ids import SiteName
from wardround.learning.glm import Standardisation, log_likelihood
from wardround.learning.local_sgd import FedAvg
from wardround.learning.moments import Moments
from wardround.learning.records import Family
from wardround.sandbox import InlineWorker, Vector
from wardround.simulation.inprocess import InProcessFederation, open_federation
from wardround.trust.canonical import JSON

SITES = tuple(SiteName(f"site-{number}") for number in range(8))
SLOW = SITES[3]
USUAL_S = 0.3
TIMES_SLOWER = 10.0
RECORDS = 200
FEATURES = ("radius_mean", "texture_mean")


@dataclass
class Race:
    """The mean log loss over all records of all hospitals, and when it was reached, in seconds."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)

    def time_to(self, loss: float) -> float:
        """When the loss was first that low."""
        return next(at for at, one in zip(self.seconds, self.losses, strict=True) if one <= loss)


class SlowedWorker(InlineWorker):
    """A worker that sleeps before it computes."""

    def __init__(self, site: SiteName, entry: str) -> None:
        super().__init__(entry)
        self._usual_s = USUAL_S * (TIMES_SLOWER if site == SLOW else 1.0)
        self._draw = np.random.default_rng([5, *site.encode()])

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        """Sleep, then compute."""
        await asyncio.sleep(self._usual_s * self._draw.uniform(0.8, 1.2))
        return await super().call(request, array)


def tables() -> dict[SiteName, FeatureTable]:
    """Invented measurements with a real relation to the outcome, alike in all hospitals."""
    made = {}
    for site in SITES:
        draw = np.random.default_rng([2, *site.encode()])
        radius = np.clip(draw.normal(14.0, 3.5, RECORDS), 2.0, 60.0)
        texture = np.clip(draw.normal(19.0, 4.0, RECORDS), 1.0, 90.0)
        score = 0.5 * (radius - 14.0) + 0.2 * (texture - 19.0)
        malignant = (draw.random(RECORDS) < 1 / (1 + np.exp(-score))).astype(np.float64)
        columns = {FEATURES[0]: radius, FEATURES[1]: texture, "malignant": malignant}
        ids = tuple(f"{site}-{number}" for number in range(RECORDS))
        made[site] = FeatureTable(ids, columns, (), Quarantine())
    return made


@asynccontextmanager
async def slowed_federation(cohort: Mapping[str, JSON]) -> AsyncIterator[InProcessFederation]:
    """The eight of them, with one slow."""
    document: dict[str, JSON] = {
        "id": "straggler",
        "title": "Benchmark",
        "question": "How long does a slow hospital hold the others up?",
        "purpose": "Measurement on invented numbers.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2099-12-31",
        "cohort": {"rounds_per_setup": 64, **cohort},
        "data": {"outcome": "malignant", "features": list(FEATURES)},
        "model": {
            "kind": "logistic",
            "algorithm": "fedavg",
            "fedavg": {"rounds": 200, "local_epochs": 1, "learning_rate": 0.02},
        },
        "disclosure": {"opened_numbers": 1_000_000},
    }
    with tempfile.TemporaryDirectory() as folder:
        async with open_federation(
            document, tables(), Path(folder), worker_of=SlowedWorker
        ) as federation:
            yield federation


async def standardised(federation: InProcessFederation) -> tuple[Standardisation, int]:
    """Means and deviations over the hospitals, before the race begins; and the records."""
    moments, _ = await ask(federation, Moments, {})
    return Standardisation(moments.mean, moments.deviation), moments.records


def pooled_loss(standardisation: Standardisation, weights: NDArray[np.float64]) -> float:
    """Mean log loss of a model over every record of every hospital, the slow one's as well."""
    every = [one.columns for one in tables().values()]
    x = np.concatenate([np.column_stack([one[name] for name in FEATURES]) for one in every])
    y = np.concatenate([one["malignant"] for one in every])
    eta = standardisation.design(x) @ weights
    return float(-log_likelihood(Family.LOGISTIC, y, eta).mean())


async def synchronous(cohort: Mapping[str, JSON], rounds: int, target: float | None) -> Race:
    """Federated averaging for so many rounds, or until a loss is reached."""
    async with slowed_federation(cohort) as federation:
        standardisation, records = await standardised(federation)
        told, race = constants(standardisation), Race()
        weights = np.zeros(len(FEATURES) + 1)
        started = time.perf_counter()
        for number in range(1, rounds + 1):
            choice: dict[str, JSON] = {**told, "decay": 1e-4, "round": number}
            totals, _ = await ask(federation, FedAvg, choice, weights)
            weights = weights + totals.update
            race.seconds.append(time.perf_counter() - started)
            race.losses.append(pooled_loss(standardisation, weights))
            race.survivors.append(round(totals.records / records * len(SITES)))
            if target is not None and race.losses[-1] <= target:
                break
        return race
