"""Readmission within 30 days under differential privacy: ten ARTIFICIAL hospitals, real patients.

The data are Diabetes 130-US hospitals (Strack et al. 2014): the first stay of each of about 70,000
patients, divided at random among ten hospitals that don't exist, since the file names none
(`benchmarks._diabetes`). They are harmonised by a mapping, as any hospital's records are, and
fitted through the real protocol in this process.

The unit of privacy is the patient, with one row each. Epsilon is 1.5 at the default delta for
everything together: standardisation, training, evaluation. With so many patients the noise hardly
shows; what costs is clipping, since only the few who are readmitted have long gradients. So the
clipping norm is about as long as a row of sixteen standardised features. It, the steps and the
learning rate were chosen by cross-validation among the training patients, and the division of the
budget was not tuned. Both fits are tried on the same held-out third, here, to the last patient; the
federation's own figure, from its noisy evaluation, stands beside it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._diabetes import FEATURES, HELD_OUT, OUTCOME, data_file, diabetes_tables
from benchmarks._private import Tables, Training, central, federated, privacy_table, sealed
from benchmarks.report import Cell, Report
from wardround.algorithms import Candidate
from wardround.learning.glm import LinearModel
from wardround.learning.records import Family
from wardround.study.price import statement_of
from wardround.trust.canonical import JSON

EPSILON = 1.5
RUNS = 5
PATIENTS = 70_000
TRAINING = Training(steps=40, clipping_norm=4.0, learning_rate=1.5)
"""The step divides by all `PATIENTS`, of whom two thirds are for training."""

RIDGE = 1.0


def run() -> Report:
    """The private fit several times, by the federation and in one place, and one without noise."""
    with tempfile.TemporaryDirectory() as folder:
        tables = diabetes_tables(data_file(), Path(folder) / "hospitals")
    return _compare(tables)


def document() -> dict[str, JSON]:
    """The study without its parties and without privacy."""
    return {
        "id": "readmission",
        "title": "Benchmark",
        "question": "Who is admitted again within 30 days?",
        "purpose": "Measurement on public data, divided among hospitals that don't exist.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2099-12-31",
        "data": {
            "outcome": OUTCOME,
            "features": [*FEATURES],
            "also_required": [HELD_OUT],
            "held_out": HELD_OUT,
        },
        "model": {"kind": "logistic", "ridge": RIDGE},
        "disclosure": {"opened_numbers": 1_000_000},
    }


def private() -> dict[str, JSON]:
    """The same with noise: the default adversary, three of the ten hospitals corrupt."""
    return {
        **document(),
        "profile": "private",
        "model": {"kind": "logistic", "algorithm": "dp-sgd", "ridge": RIDGE},
        "privacy": privacy_table(EPSILON, None, PATIENTS, TRAINING),
    }


def auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The chance that one of the positives scores higher than one of the others, ties half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - 0.5 * (count - 1)
    yes = int(positive.sum())
    above = float(middle[place][positive].sum()) - yes * (yes + 1) / 2
    return above / (yes * (len(score) - yes))


def _compare(tables: Tables) -> Report:
    test = np.concatenate([one.columns[HELD_OUT] for one in tables.values()]) == 1
    again = np.concatenate([one.columns[OUTCOME] for one in tables.values()])[test] == 1
    x = np.concatenate([one.matrix(FEATURES) for one in tables.values()])[test]

    def measure(candidate: Candidate) -> float:
        model = LinearModel.from_arrays(Family.LOGISTIC, FEATURES, candidate.model)
        return auroc(model.predict(x), again)

    study = private()
    fits = [federated(study, tables) for _ in range(RUNS)]
    private_runs = np.array([measure(one) for one in fits])
    central_runs = np.array([measure(central(study, tables)) for _ in range(RUNS)])
    plain = measure(federated(document(), tables))
    rows: list[Mapping[str, Cell]] = [
        _row("private, ten artificial hospitals", private_runs),
        _row("private, one place", central_runs),
        _row("without privacy, ten artificial hospitals", np.array([plain])),
    ]
    told = [_told(one) for one in fits]
    patients = sum(map(len, tables.values()))
    return Report(
        rows,
        {
            "auroc_private": float(private_runs.mean()),
            "auroc_central": float(central_runs.mean()),
            "auroc_non_private": plain,
            "auroc_told": float(np.mean([one[0] for one in told])),
            "difference": plain - float(private_runs.mean()),
            "patients": float(patients),
            "test_patients": float(test.sum()),
        },
        [
            statement_of(sealed(study, tables)).words(),
            "the hospitals are artificial: the records name none, and were divided at random",
            "target: auroc_private within 0.01 of auroc_non_private",
            "auroc_told is the federation's own, from its noisy evaluation; 95 % intervals: "
            + ", ".join(f"{low:.3f} to {high:.3f}" for _, low, high in told),
            f"readmitted within 30 days: {again.mean():.3f} of the test patients",
        ],
    )


def _told(candidate: Candidate) -> tuple[float, ...]:
    """What the federation says of its model's AUROC on held-out patients, and the interval."""
    held_out = candidate.evaluation["held_out"]
    assert isinstance(held_out, Mapping)
    figures = [held_out[name] for name in ("auroc", "auroc_low", "auroc_high")]
    return tuple(float(str(one)) for one in figures)


def _row(what: str, runs: NDArray[np.float64]) -> Mapping[str, Cell]:
    return {
        "fit": what,
        "runs": len(runs),
        "auroc": round(float(runs.mean()), 4),
        "lowest": round(float(runs.min()), 4),
        "highest": round(float(runs.max()), 4),
    }
