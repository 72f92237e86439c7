"""Federated regression beside the same regression on all records in one place.

The four demonstration hospitals (real biopsies) run whole studies in this process, through the
real protocol: masks, fixed point, signatures. The peer is scikit-learn on the pooled training
records, standardised by their own mean and deviation. Compared are the intercept and all
coefficients, each difference relative to the pooled value.
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

from benchmarks.report import Cell, Report
from wardround.algorithms import Candidate, run_study
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.harmonise import harmonise
from wardround.clinical.mapping import Mapping as FieldMapping
from wardround.clinical.table import FeatureTable
from wardround.ids import SiteName
from wardround.learning.records import TEST_COLUMN
from wardround.simulation.hospitals import FEATURES, OUTCOME, write_demo_hospitals
from wardround.simulation.inprocess import open_federation
from wardround.site.custody import computable
from wardround.study import Study
from wardround.trust.canonical import JSON

TARGET = 1e-6


@dataclass(frozen=True)
class Case:
    """One regression to be compared."""

    kind: str
    outcome: str
    ridge: float

    @property
    def features(self) -> list[str]:
        """All ten, less the outcome where it is one of them."""
        return [feature for feature in FEATURES if feature != self.outcome]

    def document(self) -> dict[str, JSON]:
        """The study, without its parties."""
        return {
            "id": f"exact-{self.kind}",
            "title": "Benchmark",
            "question": "Are federated coefficients those of the pooled fit?",
            "purpose": "Measurement on public data.",
            "version": 1,
            "profile": "secure-sum",
            "expires": "2099-12-31",
            "data": {"outcome": self.outcome, "features": [*self.features]},
            "model": {"kind": self.kind, "ridge": self.ridge},
            "disclosure": {"opened_numbers": 100_000},
        }


CASES = (
    Case("logistic", OUTCOME, 1.0),
    Case("logistic", OUTCOME, 0.01),
    Case("logistic", OUTCOME, 0.0),
    Case("linear", "area_mean", 1.0),
    Case("linear", "area_mean", 0.0),
)


def run() -> Report:
    """Fit every case both ways."""
    rows: list[Mapping[str, Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        tables = demo_tables(Path(folder) / "hospitals")
        for number, case in enumerate(CASES):
            began = time.perf_counter()
            study, candidate = asyncio.run(_federate(case, tables, Path(folder) / str(number)))
            seconds = time.perf_counter() - began
            pooled = pooled_fit(case, study, tables)
            found = candidate.model["coefficients"]
            rows.append(
                {
                    "model": case.kind,
                    "ridge": case.ridge,
                    "records": _count(candidate, "training_records"),
                    "steps": _count(candidate, "steps"),
                    "study_s": round(seconds, 3),
                    "max_relative_difference": largest_difference(found, pooled),
                }
            )
    worst = max(float(row["max_relative_difference"] or 0.0) for row in rows)
    return Report(
        results=rows,
        figures={"max_relative_difference": worst},
        notes=[f"target: at most {TARGET:g}", "study_s is a whole study, statistics to evaluation"],
    )


def largest_difference(found: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """The largest |found - expected| / |expected|."""
    return float(np.max(np.abs(found - expected) / np.abs(expected)))


def demo_tables(folder: Path) -> dict[SiteName, FeatureTable]:
    """The demonstration hospitals' harmonised records."""
    graph = ConceptGraph.load()
    return {
        hospital.name: harmonise(
            FieldMapping.load(hospital.mapping_path), hospital.folder, graph, FEATURES, OUTCOME
        )
        for hospital in write_demo_hospitals(folder)
    }


def pooled_fit(
    case: Case, study: Study, tables: Mapping[SiteName, FeatureTable]
) -> NDArray[np.float64]:
    """scikit-learn's intercept and coefficients on all training records at once."""
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    parts = [computable(study, table) for table in tables.values()]
    train = np.concatenate([part[TEST_COLUMN] for part in parts]) == 0
    x = np.column_stack([np.concatenate([part[f] for part in parts]) for f in case.features])
    y = np.concatenate([part[case.outcome] for part in parts])
    z = StandardScaler().fit_transform(x[train])
    if case.kind == "logistic":
        inverse = 1.0 / case.ridge if case.ridge else np.inf
        peer = LogisticRegression(C=inverse, solver="newton-cholesky", tol=1e-12, max_iter=200)
    elif case.ridge:
        peer = Ridge(alpha=case.ridge, solver="svd")
    else:
        peer = LinearRegression()
    peer.fit(z, y[train])
    return np.append(peer.intercept_, peer.coef_)


def _count(candidate: Candidate, name: str) -> int:
    value = candidate.description[name]
    assert isinstance(value, int)
    return value


async def _federate(
    case: Case, tables: Mapping[SiteName, FeatureTable], folder: Path
) -> tuple[Study, Candidate]:
    async with open_federation(case.document(), tables, folder) as federation:
        return federation.study, await run_study(federation)
