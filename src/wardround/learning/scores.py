"""The tasks `score_histogram` and `prediction_moments`: how a model does, summed over sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Answer, Limits, unit
from wardround.learning.glm import (
    LinearModel,
    Standardisation,
    check_coefficients,
    likelihood_bound,
)
from wardround.learning.metrics import Regression, ScoreTable
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Records, Split, Variables, read_split

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

SCORE_EDGES: NDArray[np.float64] = np.arange(-32, 33) / 4.0
"""Bins of the linear predictor: 64 of width 1/4 from -8 to 8, and one beyond either end.

Probability 0.5 is an edge, so accuracy is exact; the AUROC is as exact as its ties are few.
"""

_BINS = len(SCORE_EDGES) + 1


@dataclass(frozen=True, eq=False)
class _Scored:
    """A model to be applied to the training or to the held-out records."""

    kind: ClassVar[str]
    family: ClassVar[Family]

    variables: Variables
    standardisation: Standardisation
    coefficients: NDArray[np.float64]
    rows: Split

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``centre``, ``scale``, ``rows`` and the coefficients."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        if variables.family is not cls.family:
            raise reader.malformed("variables.family", f"must be {cls.family}")
        standardisation = Standardisation.parse(reader, variables)
        rows = read_split(reader)
        reader.done()
        return cls(variables, standardisation, check_coefficients(variables, model), rows)

    @property
    def model(self) -> LinearModel:
        """The model under evaluation."""
        v = self.variables
        return LinearModel(v.family, v.features, self.standardisation, self.coefficients)


class ScoreHistogram(_Scored):
    """`score_histogram`. Lanes: per bin records without and with the outcome and the sum of
    predicted probabilities; then the sum of (predicted - outcome)^2.

    Its cells are *not* suppressed: a test set of two dozen people over so many bins would vanish.
    Every site in the sum has at least the minimum cell of records with, and of records without,
    the outcome among these rows (`Limits.check`). In the total a bin may well hold one person, so
    a score histogram says of the whole federation that somebody scored about so much.
    """

    kind = "score_histogram"
    family = Family.LOGISTIC

    @property
    def units(self) -> NDArray[np.float64]:
        """Probabilities are at most 1."""
        return np.ones(3 * _BINS + 1)

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Score the records and count."""
        x, y = records.of(self.rows)
        place = np.searchsorted(SCORE_EDGES, self.model.scores(x), side="right")
        predicted = self.model.predict(x)
        columns = [
            np.bincount(place, weights=weights, minlength=_BINS)
            for weights in (1.0 - y, y, predicted)
        ]
        return Answer(np.concatenate([*columns, [((predicted - y) ** 2).sum()]]))

    def read(self, lanes: NDArray[np.float64]) -> ScoreTable:
        """The federation's table of scores."""
        without, cases, predicted = np.split(lanes[:-1], 3)
        return ScoreTable(
            without=np.rint(without),
            cases=np.rint(cases),
            predicted=predicted / np.maximum(np.rint(without + cases), 1.0),
            positive=np.arange(_BINS) > np.searchsorted(SCORE_EDGES, 0.0),
            squared_error=float(lanes[-1]),
        )


class PredictionMoments(_Scored):
    """`prediction_moments`. Lanes: records, sum of squared residuals, and the sums of u and u^2,
    the outcome brought to [-1, 1] by its plausible range."""

    kind = "prediction_moments"
    family = Family.LINEAR

    @property
    def units(self) -> NDArray[np.float64]:
        """A residual is bounded by the outcome's range and the largest prediction."""
        largest = self.standardisation.largest(self.variables)
        residual, _ = likelihood_bound(self.variables, largest, self.coefficients)
        return unit(np.array([1.0, residual * residual, 1.0, 1.0]))

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Predict and compare."""
        x, y = records.of(self.rows)
        v = self.variables
        residual = y - self.model.predict(x)
        u = (y - v.outcome_low) / (v.outcome_high - v.outcome_low) * 2.0 - 1.0
        return Answer(np.array([float(len(y)), (residual**2).sum(), u.sum(), (u * u).sum()]))

    def read(self, lanes: NDArray[np.float64]) -> Regression:
        """R squared and the root mean squared error."""
        n = round(lanes[0])
        if n == 0:
            return Regression(0, None, None)
        half = 0.5 * (self.variables.outcome_high - self.variables.outcome_low)
        around_mean = half * half * (lanes[3] - lanes[2] * lanes[2] / n)
        squares = max(float(lanes[1]), 0.0)
        return Regression(
            records=n,
            r_squared=1.0 - squares / around_mean if around_mean > 0 else None,
            rmse=float(np.sqrt(squares / n)),
        )
