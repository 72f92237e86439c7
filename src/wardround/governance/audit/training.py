"""Many models at once by the study's own mechanism, as shadow models need them.

The steps are those of the study: a sum of clipped gradients, noise, and a step along it. What is
simplified is said here and on the page: features are standardised by the table's own moments
(which the attacker may know), the clipping norm stays the first one, and a sum is divided by the
number of patients that the table makes one expect, as the study divides by its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.governance.audit.cohort import Cohort
from wardround.learning.glm import log_likelihood
from wardround.learning.records import Family
from wardround.learning.scaling import gradients
from wardround.privacy.attacks.whitebox import Mechanism
from wardround.privacy.events import Gaussian, Skellam

Watch: TypeAlias = Callable[[NDArray[np.float64]], None]
"""Is shown the coefficients at which each step begins, shape (models, features + 1)."""


@dataclass(frozen=True, eq=False)
class Trainer:
    """Fits one model for each row of members, shape (models, patients)."""

    family: Family
    design: NDArray[np.float64]
    outcome: NDArray[np.float64]
    sums: Mechanism
    event: Gaussian | Skellam
    steps: int
    clipping_norm: float
    learning_rate: float
    decay: float = 0.0
    """The ridge per patient; it pulls at every coefficient but the intercept."""

    @property
    def patients(self) -> int:
        """How many patients there are to choose from."""
        return len(self.outcome)

    def gradients(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each patient's gradient of the log-likelihood in units of the clipping norm, (n, m)."""
        rows = gradients(self.family, self.design, self.outcome, coefficients)
        return rows / self.clipping_norm

    def fit(self, members: NDArray[np.bool_], watch: Watch | None = None) -> NDArray[np.float64]:
        """Coefficients, shape (models, features + 1), intercept first.

        Noise is drawn for all models in one go: its elements are independent anyway.
        """
        models, lanes = len(members), self.design.shape[1]
        coefficients = np.zeros((models, lanes))
        expected = max(self.event.sampling_rate * float(members.sum(axis=1).mean()), 1.0)
        pace = self.learning_rate * self.clipping_norm / expected
        for _ in range(self.steps):
            if watch is not None:
                watch(coefficients)
            totals = np.empty((models, lanes), dtype=np.int64)
            for place, (at, who) in enumerate(zip(coefficients, members, strict=True)):
                drawn = who & self.sums.batch(self.patients, self.event)
                totals[place] = self.sums.clipped_sum(self.gradients(at), drawn)
            noise = self.sums.noise(models * lanes, self.event).reshape(models, lanes)
            pull = self.learning_rate * self.decay * coefficients
            pull[:, 0] = 0.0
            coefficients = coefficients + pace * self.sums.in_units(totals + noise) - pull
        return coefficients

    def meets(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """How each model meets each patient, (models, patients): see `attacks.Train`."""
        predicted = coefficients @ self.design.T
        if self.family is Family.LINEAR:
            return self.outcome - predicted
        met: NDArray[np.float64] = np.where(self.outcome > 0.5, predicted, -predicted)
        return met

    def likelihood(
        self, coefficients: NDArray[np.float64], variance: float
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """Of each patient's outcome, if their design was another; ``variance`` for a linear one."""

        def of(design: NDArray[np.float64]) -> NDArray[np.float64]:
            fit = log_likelihood(self.family, self.outcome, design @ coefficients)
            return fit / variance if self.family is Family.LINEAR else fit

        return of


def trainer_of(
    cohort: Cohort,
    sums: Mechanism,
    event: Gaussian | Skellam,
    *,
    steps: int,
    clipping_norm: float,
    learning_rate: float,
    decay: float = 0.0,
) -> Trainer:
    """A trainer over a cohort's standardised records."""
    return Trainer(
        cohort.variables.family,
        cohort.design,
        cohort.outcome,
        sums,
        event,
        steps,
        clipping_norm,
        learning_rate,
        decay,
    )
