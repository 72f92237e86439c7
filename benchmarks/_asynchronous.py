"""Federated averaging at everybody's own pace beside waiting for all, where one hospital is slow.

Eight hospitals train a logistic model on real biopsies (Wolberg et al. 1995, as in scikit-learn)
through the real services in this process. Training takes each of them `TRAINING_S`, one of them ten
times as long: they wait that long before they compute, since the computation itself takes no time.
The loss is that of all training records. `measure` gives the seconds until each way first reaches
the loss that waiting for all has after `ROUNDS` rounds.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quarantine import Quarantine
from wardround.clinical.table import FeatureTable
from wardround.federation.federation import Federation
from wardround.ids import SiteName
from wardround.learning.buffered import BufferedFedAvg
from wardround.learning.contribution import from_total
from wardround.learning.local_sgd import FedAvg
from wardround.learning.specify import specify
from wardround.sandbox import InlineWorker, Vector
from wardround.simulation.inprocess import ENTRY, open_federation
from wardround.site.custody import computable
from wardround.study import HospitalPolicy, Profile, Study
from wardround.trust.canonical import JSON

SITES = tuple(SiteName(f"hospital-{letter}") for letter in "abcdefgh")
SLOW = SITES[-1]
TRAINING_S = 1.0
SLOWER = 10
ROUNDS = 6
COHORTS = 400
"""The most cohorts that the asynchronous way may take."""

_FEATURES = ("radius_mean", "texture_mean", "smoothness_mean", "compactness_mean")
_DECAY = 0.002


@dataclass(frozen=True)
class Asynchronous:
    """What was measured; times in seconds."""

    target_loss: float
    waiting_s: float
    asynchronous_s: float
    rounds: int
    cohorts: int
    cohort: int
    """How many hospitals were in each cohort."""

    @property
    def speedup(self) -> float:
        """How many times sooner the loss is reached."""
        return self.waiting_s / self.asynchronous_s


def measure() -> Asynchronous:
    """Train both ways to the same loss, one after the other, on this machine."""
    tables = _tables()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(tables, Path(folder)))


class SlowWorker(InlineWorker):
    """A worker whose training takes a while."""

    def __init__(self, training_s: float) -> None:
        super().__init__(ENTRY)
        self._training_s = training_s

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        """Wait as long as training would take, then compute."""
        await asyncio.sleep(self._training_s)
        return await super().call(request, array)


def slow_worker(site: SiteName) -> InlineWorker:
    """The worker of one hospital of eight, of which one is slow."""
    return SlowWorker(TRAINING_S * (SLOWER if site == SLOW else 1))


async def _measure(tables: Mapping[SiteName, FeatureTable], folder: Path) -> Asynchronous:
    hospital = HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM,), minimum_cell=0)
    async with open_federation(
        _document(None), tables, folder / "waiting", hospital=hospital, worker_of=slow_worker
    ) as federation:
        records = _Pooled(federation.study, tables)
        waiting_s, target = await _wait_for_all(federation, records)
    async with open_federation(
        _document({}), tables, folder / "own-pace", hospital=hospital, worker_of=slow_worker
    ) as federation:
        seconds, cohorts = await _at_own_pace(federation, records, target)
        size = federation.study.late_terms.size
    return Asynchronous(target, waiting_s, seconds, ROUNDS, cohorts, size)


async def _wait_for_all(federation: Federation, records: _Pooled) -> tuple[float, float]:
    weights, began = np.zeros(len(_FEATURES) + 1), time.perf_counter()
    for number in range(1, ROUNDS + 1):
        choice = {**records.constants, "decay": _DECAY, "round": number}
        task = specify(federation.study, FedAvg.kind, choice, weights)
        total = await federation.sum(task)
        read, _ = from_total(FedAvg.parse(task.parameters, weights), total.values)
        weights = weights + read.update
    return time.perf_counter() - began, records.loss(weights)


async def _at_own_pace(
    federation: Federation, records: _Pooled, target: float
) -> tuple[float, int]:
    weights, began = np.zeros(len(_FEATURES) + 1), time.perf_counter()
    choice = {**records.constants, "decay": _DECAY, "round": 0}
    task = specify(federation.study, BufferedFedAvg.kind, choice, weights)
    question = BufferedFedAvg.parse(task.parameters, weights)
    stream = federation.stream(task)
    try:
        for cohorts in range(1, COHORTS + 1):
            total = await anext(aiter(stream))
            read, _ = from_total(question, total.values)
            weights = weights + read.damped
            if records.loss(weights) <= target:
                return time.perf_counter() - began, cohorts
            stream.publish(weights)
    finally:
        await stream.aclose()
    raise RuntimeError(f"the loss {target:.4f} was not reached in {COHORTS} cohorts")


class _Pooled:
    """All training records in one place, which only a benchmark has."""

    def __init__(self, study: Study, tables: Mapping[SiteName, FeatureTable]) -> None:
        columns = [computable(study, table) for table in tables.values()]
        train = np.concatenate([one["_test"] for one in columns]) == 0
        x = np.column_stack(
            [np.concatenate([one[name] for one in columns])[train] for name in _FEATURES]
        )
        self._y = np.concatenate([one["malignant"] for one in columns])[train]
        centre, scale = x.mean(axis=0), x.std(axis=0)
        self._design = np.column_stack([np.ones(len(x)), (x - centre) / scale])
        self.constants: dict[str, JSON] = {"centre": centre.tolist(), "scale": scale.tolist()}

    def loss(self, weights: NDArray[np.float64]) -> float:
        """The mean log loss at these weights, with the ridge."""
        z = self._design @ weights
        mean = float(np.mean(np.logaddexp(0.0, z) - self._y * z))
        return mean + 0.5 * _DECAY * float(weights[1:] @ weights[1:])


def _document(asynchronous: dict[str, JSON] | None) -> dict[str, JSON]:
    cohort: dict[str, JSON] = {"deadline_s": 120.0}
    if asynchronous is not None:
        cohort["asynchronous"] = {**asynchronous}
    return {
        "id": "straggler",
        "title": "One slow hospital",
        "question": "How long does a model take when one hospital of eight is slow?",
        "purpose": "A benchmark on public data.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2099-12-31",
        "cohort": cohort,
        "data": {"outcome": "malignant", "features": [*_FEATURES]},
        "model": {
            "kind": "logistic",
            "algorithm": "fedavg",
            "fedavg": {"rounds": COHORTS, "learning_rate": 0.1, "batch_size": 16},
        },
        "disclosure": {"opened_numbers": 10_000_000, "minimum_cell": 0},
    }


def _tables() -> dict[SiteName, FeatureTable]:
    """The biopsies, dealt to eight hospitals at random."""
    from sklearn.datasets import load_breast_cancer

    biopsies = load_breast_cancer()
    names = [
        str(name).replace("mean ", "").replace(" ", "_") + "_mean"
        for name in biopsies.feature_names[:10]
    ]
    order = np.random.default_rng(1).permutation(len(biopsies.target))
    tables = {}
    for number, site in enumerate(SITES):
        rows = order[number :: len(SITES)]
        columns = {name: biopsies.data[rows, names.index(name)] for name in _FEATURES}
        columns["malignant"] = 1.0 - biopsies.target[rows]
        ids = tuple(f"{site}-{row}" for row in rows)
        tables[site] = FeatureTable(ids, columns, (), Quarantine())
    return tables
