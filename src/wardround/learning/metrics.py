"""How well a model does: AUROC, accuracy, calibration, with 95 % intervals.

Everything is computed from a table of scores: distinct scores (or bins of them) in increasing
order, with how many records without and with the outcome fall on each. One hospital's exact
scores and a federation's secure histogram go through the same functions; records in one bin count
as tied. Counts are whole numbers, whose sums are exact in any order, so the figures of a histogram
are the same to the last bit on every machine (`recalibration`, with its logarithms, is rounded).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.fit import Rule, advance, start
from wardround.learning.glm import evaluate, mean
from wardround.learning.records import Family

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

Interval: TypeAlias = tuple[float, float]

_Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Records by increasing score, each array of shape (bins,).

    ``predicted`` is the mean predicted probability of the bin's records; ``positive`` says
    whether the bin's scores mean *yes* at probability 0.5; ``squared_error`` is the sum of
    (predicted - outcome)^2 over all records.
    """

    without: NDArray[np.float64]
    cases: NDArray[np.float64]
    predicted: NDArray[np.float64]
    positive: NDArray[np.bool_]
    squared_error: float

    @classmethod
    def exact(cls, y: NDArray[np.float64], scores: NDArray[np.float64]) -> ScoreTable:
        """Every distinct linear predictor is its own bin; both arguments have shape (records,)."""
        distinct, place = np.unique(scores, return_inverse=True)
        cases, without = (
            np.bincount(place, weights=share, minlength=len(distinct)).astype(np.float64)
            for share in (y, 1.0 - y)
        )
        predicted = mean(Family.LOGISTIC, distinct)
        return cls(
            without=without,
            cases=cases,
            predicted=predicted,
            positive=distinct >= 0,
            squared_error=float(((predicted[place] - y) ** 2).sum()),
        )


@dataclass(frozen=True)
class CalibrationGroup:
    """Records of similar predicted probability: mean prediction, observed share, how many."""

    predicted: float
    observed: float
    records: int


@dataclass(frozen=True)
class Classification:
    """A classifier's figures. What can't be told (one outcome only, no records) is None.

    ``auroc_uncertainty`` is how far binning can have moved the AUROC at most; ``roc`` holds
    (false-positive rate, sensitivity). ``calibration_slope`` and ``calibration_intercept`` refit
    the outcome on the model's linear predictor (Cox 1958): 1 and 0 are perfect.
    """

    records: int
    cases: int
    auroc: float | None
    auroc_interval: Interval | None
    auroc_uncertainty: float | None
    accuracy: float | None
    accuracy_interval: Interval | None
    brier: float | None
    calibration_intercept: float | None
    calibration_slope: float | None
    calibration: tuple[CalibrationGroup, ...] = ()
    roc: tuple[tuple[float, float], ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, JSON]:
        """The headline figures, in the shape that reports read."""
        figures: dict[str, JSON] = {"records": self.records, "auroc": self.auroc}
        figures["accuracy"] = self.accuracy
        for name, interval in (
            ("auroc", self.auroc_interval),
            ("accuracy", self.accuracy_interval),
        ):
            if interval is not None:
                figures[f"{name}_low"], figures[f"{name}_high"] = interval
        figures["roc"] = [[x, y] for x, y in self.roc]
        return figures


@dataclass(frozen=True)
class Regression:
    """A linear model's figures, in the outcome's unit."""

    records: int
    r_squared: float | None
    rmse: float | None

    def to_json(self) -> dict[str, JSON]:
        """The headline figures, in the shape that reports read."""
        return {"records": self.records, "r_squared": self.r_squared, "rmse": self.rmse}


def classification(table: ScoreTable) -> Classification:
    """All figures of a classifier from its table of scores."""
    cases, without = float(table.cases.sum()), float(table.without.sum())
    n = cases + without
    if n == 0:
        return Classification(0, 0, None, None, None, None, None, None, None, None)
    right = float(table.cases[table.positive].sum() + table.without[~table.positive].sum())
    both = cases > 0 and without > 0
    area, uncertainty = auroc(table) if both else (None, None)
    intercept, slope = recalibration(table) if both else (None, None)
    return Classification(
        records=round(n),
        cases=round(cases),
        auroc=area,
        auroc_interval=None if area is None else auroc_interval(area, cases, without),
        auroc_uncertainty=uncertainty,
        accuracy=right / n,
        accuracy_interval=wilson(right, n),
        brier=table.squared_error / n,
        calibration_intercept=intercept,
        calibration_slope=slope,
        calibration=calibration_groups(table),
        roc=roc(table) if both else (),
    )


def auroc(table: ScoreTable) -> tuple[float, float]:
    """The probability that a case scores higher than a record without; ties count one half.

    Also half the share of tied pairs: the exact value of unbinned scores lies that close.
    """
    pairs = float(table.cases.sum() * table.without.sum())
    below = np.cumsum(table.without) - table.without
    tied = 0.5 * float((table.cases * table.without).sum()) / pairs
    return float((table.cases * below).sum()) / pairs + tied, tied


def auroc_interval(area: float, cases: float, without: float, noise: float = 0.0) -> Interval:
    """A 95 % interval that stays inside [0, 1] and is sensible at 1.

    ``noise`` is the variance of what was added to ``area`` on purpose, beside that of sampling.

    Newcombe 2006 (Statistics in Medicine 25:559-573), method 5: the values whose distance from
    ``area`` is at most 1.96 of their own standard error, by Hanley and McNeil's variance with
    both group sizes less one replaced by their mean less one.
    """
    spare = 0.5 * (cases + without) - 1.0

    def excess(value: float) -> float:
        spread = 1.0 + spare * ((1.0 - value) / (2.0 - value) + value / (1.0 + value))
        variance = value * (1.0 - value) * spread / (cases * without)
        return abs(area - value) - _Z * math.sqrt(max(variance, 0.0) + noise)

    return _root(excess, area, 0.0), _root(excess, area, 1.0)


def wilson(successes: float, n: float, noise: float = 0.0) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson 1927).

    ``noise`` is the variance of what was added to the proportion on purpose: with it, the values
    whose distance from the proportion is at most 1.96 standard errors of both together.
    """
    share, z2 = successes / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = (
        _Z
        / (1 + z2 / n)
        * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n) + noise * (1 + z2 / n))
    )
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def roc(table: ScoreTable) -> tuple[tuple[float, float], ...]:
    """The ROC curve from (0, 0) to (1, 1): one point per bin, highest scores first."""
    x = np.cumsum(table.without[::-1]) / table.without.sum()
    y = np.cumsum(table.cases[::-1]) / table.cases.sum()
    used = (table.without[::-1] + table.cases[::-1]) > 0
    points = zip(x[used], y[used], strict=True)
    return ((0.0, 0.0), *((float(a), float(b)) for a, b in points))


def recalibration(table: ScoreTable) -> tuple[float | None, float | None]:
    """Intercept and slope of the outcome refitted on the linear predictor.

    A bin's linear predictor is the logit of its mean prediction. Rounded to six digits: logarithms
    and exponentials differ in their last bits between machines, and a replay must not. None where
    the refit has no solution (scores that separate the outcome, or too few records).
    """
    records = table.cases + table.without
    used = (records > 0) & (table.predicted > 0) & (table.predicted < 1)
    predicted = table.predicted[used]
    eta = np.log(predicted) - np.log1p(-predicted)
    cases, without = table.cases[used].astype(int), table.without[used].astype(int)
    scores = np.concatenate([np.repeat(eta, cases), np.repeat(eta, without)])
    y = np.repeat([1.0, 0.0], [cases.sum(), without.sum()])
    design = np.column_stack([np.ones_like(scores), scores])
    progress = start(Rule(Family.LOGISTIC, ridge=0.0, tolerance=1e-8, maximum_steps=50), 1)
    try:
        while progress.fit is None:
            progress = advance(progress, evaluate(Family.LOGISTIC, design, y, progress.ask))
    except WardroundError:
        return None, None
    intercept, slope = (float(f"{value:.6g}") for value in progress.fit.coefficients)
    return intercept, slope


def calibration_groups(table: ScoreTable, groups: int = 10) -> tuple[CalibrationGroup, ...]:
    """Neighbouring bins merged to about ``groups`` groups of at least ten records."""
    records = table.cases + table.without
    least = max(10.0, float(records.sum()) / groups)
    made: list[CalibrationGroup] = []
    first = 0
    left = float(records.sum())
    size = 0.0
    for last in range(len(records)):
        size += float(records[last])
        left -= float(records[last])
        if (size >= least and left >= 10.0) or last == len(records) - 1:
            chosen = slice(first, last + 1)
            total = float(records[chosen].sum())
            if total > 0:
                made.append(
                    CalibrationGroup(
                        predicted=math.fsum((table.predicted * records)[chosen]) / total,
                        observed=float(table.cases[chosen].sum()) / total,
                        records=round(total),
                    )
                )
            first, size = last + 1, 0.0
    return tuple(made)


def _root(excess: Callable[[float], float], inside: float, outside: float) -> float:
    """Where ``excess`` turns positive between a value inside the interval and one outside."""
    if excess(outside) <= 0:
        return outside
    for _ in range(100):
        middle = 0.5 * (inside + outside)
        if excess(middle) <= 0:
            inside = middle
        else:
            outside = middle
    return inside
