"""The tasks `private_scores` and `private_residuals`: how a model does, with noise on every cell.

One task covers training and held-out patients, as each patient is in one part only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.glm import Standardisation, check_coefficients, mean
from wardround.learning.metrics import ScoreTable
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Records, Split, Variables
from wardround.learning.scaling import Scaling, predictor

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

MAXIMUM_EDGES = 128

REACH = 3.0
"""A residual, and an outcome's distance from its centre, counts as this many of the outcome's
standard deviations at most."""


@dataclass(frozen=True, eq=False)
class NoisyScores:
    """Tables of scores whose counts, negative ones too, carry noise of the deviation ``noise``.

    ``predicted`` is the probability in the middle of each bin and ``squared_error`` follows from
    it: what a bin's patients were told more exactly isn't asked.
    """

    train: ScoreTable
    test: ScoreTable
    noise: float

    def of(self, part: Split) -> ScoreTable:
        """The table of one part."""
        return self.test if part is Split.TEST else self.train


@dataclass(frozen=True, eq=False)
class PrivateScores:
    """Lanes: training without, training with the outcome, the same held out; each bin by bin.

    A patient is in exactly one cell, so a row is exactly 1 long. ``edges`` (cuts,) part the linear
    predictor into bins that are closed on the left; 0 is among them, so that accuracy at
    probability 1/2 isn't blurred.
    """

    kind: ClassVar[str] = "private_scores"

    variables: Variables
    standardisation: Standardisation
    coefficients: NDArray[np.float64]
    edges: NDArray[np.float64]
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``centre``, ``scale``, ``edges`` and the coefficients."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        if variables.family is not Family.LOGISTIC:
            raise reader.malformed("variables.family", "must be logistic")
        standardisation = Standardisation.parse(reader, variables)
        (edges,) = reader.rows_of_numbers("edges", 1)
        reader.done()
        if not 1 <= len(edges) <= MAXIMUM_EDGES or not bool((np.diff(edges) > 0).all()):
            raise reader.malformed("edges", f"must be 1 to {MAXIMUM_EDGES} increasing numbers")
        if 0.0 not in edges.tolist():
            raise reader.malformed("edges", "must have 0 among them")
        return cls(variables, standardisation, check_coefficients(variables, model), edges)

    @property
    def _bins(self) -> int:
        return len(self.edges) + 1

    @property
    def lanes(self) -> int:
        """Two parts, two outcomes, and all bins."""
        return 4 * self._bins

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each patient's one cell."""
        scores = predictor(self.standardisation.design(records.x), self.coefficients)
        place = np.searchsorted(self.edges, scores, side="right")
        cell = place + self._bins * ((records.y > 0.5) + 2 * records.test.astype(np.int64))
        rows = np.zeros((len(scores), self.lanes))
        rows[np.arange(len(scores)), cell] = 1.0
        return rows

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyScores:
        """The federation's two tables."""
        parts = total.reshape(2, 2, self._bins)
        return NoisyScores(self._table(parts[0]), self._table(parts[1]), noise)

    def _table(self, counts: NDArray[np.float64]) -> ScoreTable:
        without, cases = counts[0], counts[1]
        gaps = np.diff(self.edges) if len(self.edges) > 1 else np.array([2.0])
        middle = np.concatenate(
            [
                [self.edges[0] - 0.5 * gaps[0]],
                0.5 * (self.edges[:-1] + self.edges[1:]),
                [self.edges[-1] + 0.5 * gaps[-1]],
            ]
        )
        # Exponentials differ in their last bits between machines, and a replay must not.
        exact = mean(Family.LOGISTIC, middle).tolist()
        predicted = np.array([float(f"{value:.9g}") for value in exact])
        errors = cases * (1.0 - predicted) ** 2 + without * predicted**2
        return ScoreTable(
            without=without,
            cases=cases,
            predicted=predicted,
            positive=np.arange(self._bins) > np.searchsorted(self.edges, 0.0),
            squared_error=float(np.cumsum(errors)[-1]),
        )


@dataclass(frozen=True)
class NoisyResiduals:
    """Patients, squared residuals, outcomes and their squares, in outcome deviations from its
    centre; each is a noisy sum over one part. ``noise`` is the deviation of the noise on
    ``patients``, and on the other sums before they were put in units; squares end at ``reach``."""

    patients: float
    residual_squares: float
    outcomes: float
    outcome_squares: float
    noise: float
    reach: float = REACH


@dataclass(frozen=True, eq=False)
class PrivateResiduals:
    """Lanes, for training and then for held-out patients: 1, 2 r^2 - 1, u and 2 u^2 - 1, halved,
    with residual r and outcome u in units of `REACH` and no further than 1 from 0.

    1 + 1 + u^2 + (2 u^2 - 1)^2 is at most 4, so no row is longer than 1. Coefficients are those of
    the outcome in its own unit.
    """

    kind: ClassVar[str] = "private_residuals"

    variables: Variables
    scaling: Scaling
    coefficients: NDArray[np.float64]
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the scaling and the coefficients."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        if variables.family is not Family.LINEAR:
            raise reader.malformed("variables.family", "must be linear")
        scaling = Scaling.parse(reader, variables)
        reader.done()
        return cls(variables, scaling, check_coefficients(variables, model))

    @property
    def lanes(self) -> int:
        """Four for each part."""
        return 8

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each patient's residual and outcome, in the lanes of their part."""
        design = self.scaling.standardisation.design(records.x)
        reach = REACH * self.scaling.outcome_scale
        r = np.clip((records.y - predictor(design, self.coefficients)) / reach, -1.0, 1.0)
        u = np.clip(self.scaling.outcome(records.y) / REACH, -1.0, 1.0)
        four = 0.5 * np.column_stack([np.ones(len(r)), 2 * r * r - 1, u, 2 * u * u - 1])
        rows = np.zeros((len(r), 8))
        rows[~records.test, :4] = four[~records.test]
        rows[records.test, 4:] = four[records.test]
        return rows

    def read(
        self, total: NDArray[np.float64], noise: float
    ) -> tuple[NoisyResiduals, NoisyResiduals]:
        """The sums over training and over held-out patients."""
        train, test = (self._sums(part, noise) for part in total.reshape(2, 4))
        return train, test

    def _sums(self, lanes: NDArray[np.float64], noise: float) -> NoisyResiduals:
        n, r, u, u2 = (2.0 * lanes).tolist()
        square = REACH * REACH
        return NoisyResiduals(
            patients=n,
            residual_squares=0.5 * square * (r + n),
            outcomes=REACH * u,
            outcome_squares=0.5 * square * (u2 + n),
            noise=2.0 * noise,
        )
