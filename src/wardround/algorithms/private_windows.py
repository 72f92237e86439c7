"""Where each variable's values lie, from noisy histograms: windows for moments of less noise.

A plausible range is wide on purpose, and noise on a mean is a share of the range that is summed
over. So each measured variable gets a window: the range of values to which the noisy moments are
clipped. A wrong window costs accuracy and no privacy, as a clipped row is no longer than any other.

A histogram is compared with triangles of many places and widths on its bins (a matched filter;
Turin 1960): of all of them the one that makes the noisy counts most likely, its height fitted too,
says where the values are and how wide they lie. Sums over a triangle average the noise of all its
bins, so that fine bins cost nothing. Only additions, multiplications, divisions and square roots,
in a fixed order: whoever replays it gets the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = 4.0
"""Half a window in standard deviations of the triangle: hardly anybody of a usual distribution is
clipped, and a centre that is off by one deviation still leaves three on its other side."""

_SURE = 9.0
"""How much more likely (as a natural logarithm) the best triangle must make the counts than no
patients at all. Of 1,000 histograms of noise alone 1 to 9 exceed it (noise of .09 to .3 of the
patients on each of 64 counts)."""

_STEP = 0.25
"""Triangles' centres are so many bins apart."""

_WIDTHS = tuple(0.35 * 2.0 ** (k / 2.0) for k in range(11))
"""Standard deviations of triangles, in bins: up to 11 of 64."""

_ODDS = 0.35
"""Of each width against the next narrower one, as a natural logarithm: that of sqrt(2)."""

_HALF_BASE = 6.0**0.5
"""Of a triangle, in its standard deviations."""

_FEWEST, _MOST = 0.8, 1.2
"""Of the patients that the study expects, how many a triangle may hold."""

_SEEN = 4.0
"""A tail beyond a window counts if its sum exceeds so many deviations of its noise."""


@dataclass(frozen=True)
class Place:
    """Where a histogram has its values: mean and standard deviation in bins from its low end."""

    centre: float
    deviation: float
    tails: tuple[float, float]
    """Below the upper and above the lower of these edges there certainly are values, in bins."""


def find_place(counts: NDArray[np.float64], noise: float, patients: float) -> Place | None:
    """The best triangle for noisy counts (bins,), or None where they may be noise alone.

    ``noise`` is the standard deviation of the noise on each count, ``patients`` how many there are,
    roughly.
    """
    shapes, centres, deviations, handicap = _triangles(len(counts))
    match = np.cumsum(shapes * counts, axis=1)[:, -1]
    size = np.cumsum(shapes * shapes, axis=1)[:, -1]
    held = np.clip(match / size, _FEWEST * patients, _MOST * patients)
    # Twice the logarithm of the likelihood ratio, times the noise's variance.
    gain = held * (2.0 * match - held * size)
    # There are so many more places for a narrow triangle than for a wide one.
    gain += 2.0 * noise * noise * handicap
    best = int(np.argmax(gain))
    if float(gain[best]) <= 2.0 * _SURE * noise * noise:
        return None
    return Place(float(centres[best]), float(deviations[best]), _seen(counts, noise))


def window(place: Place, bins: int) -> tuple[float, float]:
    """From where to where moments are to be taken, in bins: `REACH` deviations and seen tails."""
    low = min(place.centre - REACH * place.deviation, place.tails[0])
    high = max(place.centre + REACH * place.deviation, place.tails[1])
    return max(low, 0.0), min(high, float(bins))


def _triangles(
    bins: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of triangles in each bin, (triangles, bins), their centres, deviations, odds."""
    edges = np.arange(bins + 1.0)
    shapes, centres, deviations, odds = [], [], [], []
    for k, deviation in enumerate(_WIDTHS):
        if deviation > bins / 4.0:
            break
        middles = (0.5 + np.arange(int(bins / _STEP))) * _STEP
        t = (edges - middles[:, np.newaxis]) / (_HALF_BASE * deviation)
        side = 1.0 - np.minimum(np.abs(t), 1.0)
        below = np.where(t < 0, 0.5 * side * side, 1.0 - 0.5 * side * side)
        shapes.append(below[:, 1:] - below[:, :-1])
        centres.append(middles)
        deviations.append(np.full(len(middles), deviation))
        odds.append(np.full(len(middles), _ODDS * k))
    return (
        np.concatenate(shapes),
        np.concatenate(centres),
        np.concatenate(deviations),
        np.concatenate(odds),
    )


def _seen(counts: NDArray[np.float64], noise: float) -> tuple[float, float]:
    """Upward from the first and downward from the second there is more than noise in a tail.

    Each as far out as that is certain; where it never is, at the opposite end.
    """
    bins = len(counts)
    limit = _SEEN * noise * np.sqrt(np.arange(1.0, bins + 1.0))
    left = np.flatnonzero(np.cumsum(counts) > limit)
    right = np.flatnonzero(np.cumsum(counts[::-1]) > limit)
    low = float(left[0]) if len(left) else float(bins)
    high = float(bins - right[0]) if len(right) else 0.0
    return low, high
