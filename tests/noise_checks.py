"""What noise and batches must pass, as functions, so that deliberate faults can be put to them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from mpmath import mp, mpf
from scipy.special import ive
from scipy.stats import chi2, norm

LEAST_EXPECTED = 8.0


def chi_square(draws, tails) -> float:
    """The p-value of whole numbers against a symmetric law over the integers.

    ``tails`` gives P(X >= k) for rising k of 1 or more, as pairs (k, probability); the last pair
    opens the tail's cell. All cells are kept, both signs apart.
    """
    edges = np.array([k for k, _ in tails])
    upper = np.array([float(probability) for _, probability in tails])
    assert upper[-1] * len(draws) >= LEAST_EXPECTED
    signed = np.concatenate([1 - edges[::-1], edges])
    cells = np.bincount(np.searchsorted(signed, draws, side="right"), minlength=len(signed) + 1)
    side = upper - np.append(upper[1:], 0.0)
    expected = np.concatenate([side[::-1], [1 - 2 * upper[0]], side]) * len(draws)
    assert expected.min() >= LEAST_EXPECTED / 2, "cells too small for the approximation"
    statistic = float(((cells - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, len(expected) - 1))


def cells(tail: Callable[[int], float], draws: int, number: int = 100):
    """Pairs for `chi_square`: up to ``number`` edges on each side, as far as draws are expected."""
    furthest = 1
    while tail(2 * furthest) * draws >= LEAST_EXPECTED:
        furthest *= 2
    step = furthest
    while step:
        if tail(furthest + step) * draws >= LEAST_EXPECTED:
            furthest += step
        step //= 2
    edges = sorted({1 + (furthest - 1) * i // (number - 1) for i in range(number)})
    edges = [k for k in edges if (1 - 2 * tail(k)) * draws >= LEAST_EXPECTED]
    kept = [furthest]
    for k in reversed(edges[:-1]):
        if (tail(k) - tail(kept[-1])) * draws >= LEAST_EXPECTED:
            kept.append(k)
    return [(k, tail(k)) for k in reversed(kept)]


def variance_is(draws, variance: float, excess_kurtosis: float) -> bool:
    """Whether mean and variance are within five standard errors of 0 and ``variance``."""
    n = len(draws)
    values = draws.astype(np.float64)
    mean_off = abs(values.mean()) / math.sqrt(variance / n)
    spread = variance * math.sqrt((excess_kurtosis + 2) / n)
    return mean_off < 5 and abs(np.mean(values**2) - variance) / spread < 5


def poisson_sizes(sizes, patients: int, rate: float) -> bool:
    """Whether ``sizes`` of batches have the mean and the variance of independent choices.

    Batches of a fixed size, or epochs that are shuffled and cut, have the mean alone.
    """
    sizes = np.asarray(sizes, float)
    n, mean, variance = len(sizes), patients * rate, patients * rate * (1 - rate)
    off = norm.sf(abs(sizes.mean() - mean) / math.sqrt(variance / n)) * 2
    ratio = ((sizes - mean) ** 2).sum() / variance
    tail = 2 * min(chi2.cdf(ratio, n), chi2.sf(ratio, n))
    return min(off, tail) > 1e-6


def fresh_each_time(contribute: Callable[[], np.ndarray], deviation: float) -> bool:
    """Whether two runs of the same contribution differ as independent noise does.

    A generator that starts from the same seed repeats itself, so that two runs subtract to the
    data; ``contribute`` is one whole run, with its key.
    """
    first, second = contribute(), contribute()
    difference = (first - second).astype(np.float64)
    ratio = np.mean(difference**2) / (2 * deviation**2)
    return bool(np.mean(first == second) < 0.5 and abs(ratio - 1) < 10 / math.sqrt(len(first)))


def whole(draws) -> bool:
    """Whether noise is made of integers: nothing of a floating-point Gaussian is left in it."""
    return isinstance(draws, np.ndarray) and draws.dtype == np.int64


def gaussian_tail(deviation: float) -> Callable[[int], float]:
    """P(round(deviation Z) >= k), by mpmath."""
    return lambda k: float(mp.ncdf(-(mpf(k) - mpf("0.5")) / mpf(deviation)))


def laplace_tail(scale: float) -> Callable[[int], float]:
    """P(X >= k), as the sum of a geometric series."""
    q = mp.exp(-1 / mpf(scale))
    return lambda k: float(q**k * (1 - q) / (1 + q) / (1 - q))


def skellam_tail(variance: float) -> Callable[[int], float]:
    """P(X >= k), by summing SciPy's e^-variance I_j(variance) from k on."""
    last = int(12 * math.sqrt(variance) + 60)
    masses = ive(np.arange(last + 1), float(variance))
    assert abs(2 * masses.sum() - masses[0] - 1) < 1e-11
    tails = np.cumsum(masses[::-1])[::-1]
    return lambda k: float(tails[k]) if k <= last else 0.0
