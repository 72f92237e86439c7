"""What the benchmarks of private studies share: a calibrated budget, runs, and their comparison."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms import Candidate, run_study
from wardround.clinical.table import FeatureTable
from wardround.ids import SiteName
from wardround.privacy.calibrate import Part, divide
from wardround.privacy.events import Skellam
from wardround.simulation.central import CentralFederation
from wardround.simulation.inprocess import Keys, open_federation
from wardround.study import HospitalPolicy, Profile, Study
from wardround.trust.canonical import JSON

SHARES: Mapping[str, float] = {"statistics": 0.1, "training": 0.8, "evaluation": 0.1}
"""How a budget is divided, for every benchmark: nothing was tuned."""

Tables = Mapping[SiteName, FeatureTable]
Measure = Callable[[Candidate], float]


@dataclass(frozen=True)
class Training:
    """The steps of a fit, as ``privacy.training`` has them."""

    steps: int
    clipping_norm: float
    learning_rate: float


def privacy_table(
    epsilon: float, delta: float | None, patients: int, training: Training
) -> dict[str, JSON]:
    """A study's ``[privacy]``: all of ``epsilon``, divided by `SHARES`, without spare rounds.

    Everybody takes part in each step; noise is shared.
    """
    in_force = min(1e-5, 0.1 / patients) if delta is None else delta
    releases = {"statistics": 2, "training": training.steps, "evaluation": 1}
    noise = divide(
        [Part(name, SHARES[name], Skellam, times) for name, times in releases.items()],
        epsilon,
        in_force,
    )
    table: dict[str, JSON] = {
        name: {"noise_multiplier": noise[name], "spare": 0} for name in releases
    }
    table["training"] = {
        "noise_multiplier": noise["training"],
        "spare": 0,
        "steps": training.steps,
        "clipping_norm": training.clipping_norm,
        "learning_rate": training.learning_rate,
    }
    stated: dict[str, JSON] = {} if delta is None else {"delta": delta}
    return {
        "epsilon": epsilon,
        **stated,
        "patients": patients,
        "rationale": "Public records, to measure what privacy costs.",
        **table,
    }


def federated(document: Mapping[str, JSON], tables: Tables) -> Candidate:
    """One run through the real services, each hospital's noise drawn by itself."""
    return asyncio.run(_federated(document, tables))


async def _federated(document: Mapping[str, JSON], tables: Tables) -> Candidate:
    hospital = HospitalPolicy(accepted_profiles=tuple(Profile), minimum_cell=0, minimum_cohort=5)
    with tempfile.TemporaryDirectory() as folder:
        async with open_federation(document, tables, Path(folder), hospital=hospital) as opened:
            return await run_study(opened)


def sealed(document: Mapping[str, JSON], tables: Tables) -> Study:
    """The study with parties in it: what can be priced."""
    return Keys.generate(tuple(tables)).seal(document)


def central(document: Mapping[str, JSON], tables: Tables) -> Candidate:
    """One run of the same study over all records in one place."""
    return asyncio.run(_central(document, tables))


async def _central(document: Mapping[str, JSON], tables: Tables) -> Candidate:
    return await run_study(await CentralFederation.pool(sealed(document, tables), tables))


@dataclass(frozen=True, eq=False)
class Compared:
    """A figure over repeated runs, one value each: the federation's and one place's."""

    federated: NDArray[np.float64]
    central: NDArray[np.float64]

    def standard_error(self, runs: int) -> float:
        """Of a mean over so many of the central runs."""
        return float(self.central.std(ddof=1)) / math.sqrt(runs)

    @property
    def difference(self) -> float:
        """How far the federation's mean is above the other."""
        return float(self.federated.mean() - self.central.mean())

    @property
    def chance(self) -> float:
        """The standard error of `difference`: both means have their own noise (Welch 1947)."""
        variances = [float(one.var(ddof=1)) / len(one) for one in (self.federated, self.central)]
        return math.sqrt(sum(variances))


CENTRAL_RUNS = 500
"""A run in one place takes a fifteenth of a federation's time: its mean may as well be known."""


def compare(document: Mapping[str, JSON], tables: Tables, runs: int, measure: Measure) -> Compared:
    """Run a study ``runs`` times as a federation and `CENTRAL_RUNS` times in one place.

    Each run has fresh noise.
    """
    here = [measure(federated(document, tables)) for _ in range(runs)]
    there = [measure(central(document, tables)) for _ in range(CENTRAL_RUNS)]
    return Compared(np.array(here), np.array(there))
