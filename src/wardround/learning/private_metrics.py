"""How well a model does, from noisy tables: estimates, and intervals that include the noise.

A noisy count is the true one plus independent noise of known variance, so every figure below is a
smooth function of noisy numbers, and the variance that noise gives it follows from its derivatives
(delta method). That is added to the variance of sampling patients. Estimates use the counts as they
came, negative ones too, which makes sums of them unbiased; only curves and groups for drawing use
the nearest non-negative counts. A figure whose denominator is itself mostly noise is None.

Noise leaves room for few bins, and patients in one bin count as tied. The AUROC's interval is
therefore extended upwards by half the share of tied pairs: it holds for the model's own scores if
those are no worse than chance inside the bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.learning.glm import mean
from wardround.learning.metrics import (
    CalibrationGroup,
    Classification,
    Interval,
    Regression,
    ScoreTable,
    auroc_interval,
    calibration_groups,
    roc,
    wilson,
)
from wardround.learning.private_histogram import nearest_counts
from wardround.learning.private_scores import NoisyResiduals
from wardround.learning.records import Family

_Z = 1.959963984540054
_KNOWN = 2.0
"""A group counts as known to exist if its noisy size is so many of the noise's deviations."""


@dataclass(frozen=True)
class NoisyClassification:
    """A classifier's figures, and 95 % intervals of those that `Classification` has none for."""

    figures: Classification
    brier_interval: Interval | None
    slope_interval: Interval | None
    intercept_interval: Interval | None


@dataclass(frozen=True)
class NoisyRegression:
    """A linear model's figures, and the 95 % interval of R squared."""

    figures: Regression
    r_squared_interval: Interval | None


def noisy_classification(table: ScoreTable, noise: float) -> NoisyClassification:
    """All figures of a classifier from a table whose counts have noise of that deviation."""
    bins = len(table.cases)
    spread = noise * math.sqrt(bins)
    cases, without = _sum(table.cases), _sum(table.without)
    n = cases + without
    if not n > max(1.0, _KNOWN * math.sqrt(2.0) * spread):
        nothing = Classification(
            max(round(n), 0), 0, None, None, None, None, None, None, None, None
        )
        return NoisyClassification(nothing, None, None, None)
    least = max(1.0, _KNOWN * spread)
    both = cases > least and without > least
    right = _sum(table.cases[table.positive]) + _sum(table.without[~table.positive])
    accuracy = _within(right / n)
    wrong_bins, right_bins = accuracy * accuracy, (1.0 - accuracy) * (1.0 - accuracy)
    accuracy_noise = noise * noise * bins * (wrong_bins + right_bins) / (n * n)
    brier, brier_interval = _brier(table, noise, n)
    drawn = _drawable(table, cases, without)
    figures = Classification(
        records=round(n),
        cases=max(round(cases), 0),
        auroc=None,
        auroc_interval=None,
        auroc_uncertainty=None,
        accuracy=accuracy,
        accuracy_interval=_around(accuracy, wilson(accuracy * n, n, accuracy_noise)),
        brier=brier,
        calibration_intercept=None,
        calibration_slope=None,
        calibration=_groups(drawn, noise),
    )
    if not both:
        return NoisyClassification(figures, brier_interval, None, None)
    raw, tied = _auroc(table, cases, without)
    area = _within(raw)
    area_noise = noise * noise * _auroc_gain(table, raw, cases, without)
    line = _recalibration(table, noise)
    blurred = max(tied, 0.0)
    low, high = auroc_interval(area, cases, without, area_noise)
    figures = replace(
        figures,
        auroc=area,
        auroc_interval=_around(area, (low, min(high + blurred, 1.0))),
        auroc_uncertainty=blurred,
        calibration_intercept=None if line is None else line[0],
        calibration_slope=None if line is None else line[1],
        roc=roc(drawn),
    )
    intervals = (None, None) if line is None else (line[2], line[3])
    return NoisyClassification(figures, brier_interval, intervals[1], intervals[0])


def noisy_regression(sums: NoisyResiduals, outcome_scale: float) -> NoisyRegression:
    """R squared and the root mean squared error, in the outcome's unit."""
    n, noise = sums.patients, sums.noise
    if not n > max(2.0, _KNOWN * noise):
        return NoisyRegression(Regression(max(round(n), 0), None, None), None)
    rmse = None
    if sums.residual_squares > _KNOWN * 0.5 * sums.reach * sums.reach * math.sqrt(2.0) * noise:
        rmse = outcome_scale * math.sqrt(sums.residual_squares / n)
    around_mean = sums.outcome_squares - sums.outcomes * sums.outcomes / n
    slope = sums.outcomes / n
    # Lanes are n, 2 r^2 - 1, u and 2 u^2 - 1, each with this noise, r and u in units of the reach.
    half = 0.5 * sums.reach * sums.reach
    turn = 2.0 * slope * sums.reach
    spread = math.sqrt(2.0 * half * half + turn * turn) * noise
    if not around_mean > _KNOWN * spread:
        return NoisyRegression(Regression(round(n), None, rmse), None)
    r_squared = 1.0 - sums.residual_squares / around_mean
    share = 1.0 - r_squared
    by_n = half - share * (half + slope * slope)
    by_others = half * half * (1.0 + share * share) + share * share * turn * turn
    noisy = noise * noise * (by_n * by_n + by_others) / (around_mean * around_mean)
    # Olkin and Finn 1995: the large-sample variance of R squared.
    known = _within(r_squared)
    sampling = 4.0 * known * (1.0 - known) * (1.0 - known) / n
    reach = _Z * math.sqrt(noisy + sampling)
    interval = (r_squared - reach, min(r_squared + reach, 1.0))
    return NoisyRegression(Regression(round(n), r_squared, rmse), _around(r_squared, interval))


def _auroc(table: ScoreTable, cases: float, without: float) -> tuple[float, float]:
    """As `metrics.auroc`, whose sums are exact for whole numbers only."""
    pairs = cases * without
    below = np.cumsum(table.without) - table.without
    tied = 0.5 * _sum(table.cases * table.without) / pairs
    return _sum(table.cases * below) / pairs + tied, tied


def _auroc_gain(table: ScoreTable, area: float, cases: float, without: float) -> float:
    """The variance of the AUROC for noise of variance 1 on each count.

    A count's derivative is (the share of the other group that is on its right side, less the
    AUROC) divided by its own group's size. Noisy shares vary a little more than true ones, which
    stands for the second order that is left out.
    """
    below = (np.cumsum(table.without) - 0.5 * table.without) / without
    above = (cases - np.cumsum(table.cases) + 0.5 * table.cases) / cases
    return _sum((below - area) ** 2) / (cases * cases) + _sum((above - area) ** 2) / (
        without * without
    )


def _brier(table: ScoreTable, noise: float, n: float) -> tuple[float, Interval]:
    p = table.predicted
    for_case, for_other = (1.0 - p) ** 2, p**2
    value = _within((_sum(table.cases * for_case) + _sum(table.without * for_other)) / n)
    fourth = (_sum(table.cases * for_case**2) + _sum(table.without * for_other**2)) / n
    sampling = max(fourth - value * value, 0.0) / n
    gain = _sum((for_case - value) ** 2) + _sum((for_other - value) ** 2)
    reach = _Z * math.sqrt(sampling + noise * noise * gain / (n * n))
    return value, (max(value - reach, 0.0), min(value + reach, 1.0))


def _recalibration(
    table: ScoreTable, noise: float
) -> tuple[float, float, Interval, Interval] | None:
    """Intercept and slope of the outcome refitted on the linear predictor (Cox 1958).

    The likelihood equations are linear in the counts, so noisy counts, negative ones too, leave
    them unbiased; the covariance is the sandwich of information and the equations' variance, that
    of the noise included. None where the equations have no sensible solution. Rounded to six
    digits, as `metrics.recalibration` is.
    """
    eta = np.log(table.predicted) - np.log1p(-table.predicted)
    n = table.cases + table.without
    beta = np.array([0.0, 1.0])
    for _ in range(50):
        mu = mean(Family.LOGISTIC, beta[0] + beta[1] * eta)
        residual, weight = table.cases - n * mu, n * mu * (1.0 - mu)
        inverted = _inverse(_sum(weight), _sum(weight * eta), _sum(weight * eta * eta))
        if inverted is None:
            return None
        step = inverted @ np.array([_sum(residual), _sum(residual * eta)])
        beta = beta + step
        if not float(np.abs(beta).max()) < 100.0:
            return None
        if float(np.abs(step).max()) < 1e-9:
            break
    else:
        return None
    # Var(residual_k) from the noise on both counts: (1 - mu)^2 + mu^2 each.
    shaken = noise * noise * ((1.0 - mu) ** 2 + mu * mu)
    meat = _matrix(_sum(shaken), _sum(shaken * eta), _sum(shaken * eta * eta))
    covariance = inverted + inverted @ meat @ inverted
    values = [float(f"{value:.6g}") for value in beta]
    reaches = [float(f"{_Z * math.sqrt(covariance[i, i]):.6g}") for i in range(2)]
    intervals = [(v - r, v + r) for v, r in zip(values, reaches, strict=True)]
    return values[0], values[1], intervals[0], intervals[1]


def _matrix(a: float, b: float, c: float) -> NDArray[np.float64]:
    return np.array([[a, b], [b, c]])


def _inverse(a: float, b: float, c: float) -> NDArray[np.float64] | None:
    """The inverse of the symmetric matrix, None unless it is clearly positive definite."""
    determinant = a * c - b * b
    if not (a > 0 and c > 0 and determinant > 1e-9 * a * c):
        return None
    return _matrix(c, -b, a) / determinant


def _drawable(table: ScoreTable, cases: float, without: float) -> ScoreTable:
    """The nearest table of counts that could be counts."""
    # Multiples of 2^-10, so that sums of them are exact in any order.
    counts = [
        np.rint(nearest_counts(one, total) * 1024.0) / 1024.0
        for one, total in ((table.cases, cases), (table.without, without))
    ]
    return replace(table, cases=counts[0], without=counts[1])


def _groups(drawn: ScoreTable, noise: float) -> tuple[CalibrationGroup, ...]:
    """Groups of six deviations of a count's noise at least, ten at most."""
    everybody = _sum(drawn.cases) + _sum(drawn.without)
    groups = min(10.0, everybody / (6.0 * noise) if noise > 0 else 10.0)
    return calibration_groups(drawn, max(1, int(groups)))


def _sum(values: NDArray[np.float64]) -> float:
    """A running sum: its order, and so its last bit, is the same everywhere."""
    return float(np.cumsum(values)[-1]) if len(values) else 0.0


def _within(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _around(value: float, interval: Interval) -> Interval:
    """The interval, stretched to its estimate where rounding put that outside."""
    return min(interval[0], value), max(interval[1], value)
