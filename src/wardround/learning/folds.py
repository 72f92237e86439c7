"""The tasks `fold_newton` and `fold_scores`: many fits at once, each without one fold.

Cross-validation (Stone 1974) fits a model for every penalty and every fold, and tries it on the
fold that the fit never saw. One after the other that would be hundreds of rounds, so one task
carries all fits that still run: a *path* is a fit that leaves out one fold, and its lanes are
those of one Newton step. Two paths at the same coefficients differ by the federation's records in
two folds, so a site with a small share of any fold stays out of the study (`Limits.check`); it is
not left out of single paths, which would make a difference of two totals its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Answer, Limits, unit
from wardround.learning.glm import (
    Standardisation,
    Sums,
    check_coefficients,
    likelihood_bound,
    log_likelihood,
)
from wardround.learning.newton import NEWTON, Newton
from wardround.learning.parameters import Reader
from wardround.learning.records import Records, Split, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

MAXIMUM_FOLDS = 20
MAXIMUM_PATHS = 400


@dataclass(frozen=True, eq=False)
class _Paths:
    """Fits side by side: path i stands at ``coefficients[i]`` and leaves out ``left_out[i]``."""

    kind: ClassVar[str]

    variables: Variables
    standardisation: Standardisation
    left_out: tuple[int, ...]
    coefficients: tuple[NDArray[np.float64], ...]

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``centre``, ``scale``, ``left_out`` and the coefficients of all paths in a row."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        standardisation = Standardisation.parse(reader, variables)
        left_out = reader.wholes("left_out", 0, MAXIMUM_FOLDS - 1)
        reader.done()
        if len(left_out) > MAXIMUM_PATHS:
            raise reader.malformed("left_out", f"must be at most {MAXIMUM_PATHS} paths")
        m = len(variables.features) + 1
        if model is None or model.ndim != 1 or len(model) != m * len(left_out):
            check_coefficients(variables, None)
        assert model is not None
        each = [check_coefficients(variables, one) for one in model.reshape(len(left_out), m)]
        return cls(variables, standardisation, left_out, tuple(each))


class FoldNewton(_Paths):
    """`fold_newton`. Lanes: for each path those of a Newton step over the records outside its
    fold."""

    kind = "fold_newton"

    @property
    def _steps(self) -> tuple[Newton, ...]:
        family = NEWTON[self.variables.family]
        return tuple(family(self.variables, self.standardisation, one) for one in self.coefficients)

    @property
    def units(self) -> NDArray[np.float64]:
        """As of each path's Newton step."""
        return np.concatenate([step.units for step in self._steps])

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Sums over the training records outside each path's fold."""
        answers = [
            step.contribute(records.without_fold(fold), limits)
            for step, fold in zip(self._steps, self.left_out, strict=True)
        ]
        return Answer(np.concatenate([answer.lanes for answer in answers]))

    def read(self, lanes: NDArray[np.float64]) -> tuple[Sums, ...]:
        """The federation's sums of each path."""
        parts = np.split(lanes, len(self.left_out))
        return tuple(step.read(part) for step, part in zip(self._steps, parts, strict=True))


@dataclass(frozen=True)
class FoldScore:
    """How well one path predicts the fold that it left out."""

    log_likelihood: float
    records: int


class FoldScores(_Paths):
    """`fold_scores`. Lanes: for each path the log-likelihood of the training records in its fold,
    and how many they are."""

    kind = "fold_scores"

    @property
    def units(self) -> NDArray[np.float64]:
        """Bounds of one record's log-likelihood."""
        largest = self.standardisation.largest(self.variables)
        bounds = [likelihood_bound(self.variables, largest, one)[1] for one in self.coefficients]
        return np.column_stack([unit(np.array(bounds)), np.ones(len(bounds))]).ravel()

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Try each path on what it has not seen."""
        lanes = np.zeros((len(self.left_out), 2))
        for i, fold in enumerate(self.left_out):
            x, y = records.of_fold(fold).of(Split.TRAIN)
            eta = self.standardisation.design(x) @ self.coefficients[i]
            lanes[i] = log_likelihood(self.variables.family, y, eta).sum(), len(y)
        return Answer(lanes.ravel())

    def read(self, lanes: NDArray[np.float64]) -> tuple[FoldScore, ...]:
        """The score of each path."""
        pairs = lanes.reshape(len(self.left_out), 2)
        return tuple(FoldScore(float(pair[0]), round(pair[1])) for pair in pairs)
