"""Poisson batches: each patient takes part with the same chance, independently of everybody.

That independence is what amplification by subsampling is proven for (Zhu and Wang 2019). Batches
of a fixed size, or a shuffled epoch, are another mechanism with another, larger epsilon
(Chua et al. 2024), however alike they look. A batch's size is then random and tells about the
data, so what leaves trusted code for the computation is always of one size, filled up with
patients who won't count.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.randomness import NoiseSource

OVERFLOW_PROBABILITY = 2.0**-60
"""The chance, for each batch, that it has more members than places, so that some are left out.
The accountant adds it to delta, once for each batch."""

_SUMMED_TERMS = 1 << 16


def draw_batch(source: NoiseSource, patients: int, rate: float) -> NDArray[np.bool_]:
    """Choose each of ``patients`` with probability ``rate``, shape (patients,).

    The probability is ``rate`` rounded down to a multiple of 2^-64. Raises WR-PRIVACY-014 if the
    rate is not above 0 and at most 1. However few patients there are, a batch is drawn: to refuse
    would tell, for no charge, whether there is one fewer than the rate needs.
    """
    _check_probability(rate)
    if rate == 1:
        return np.ones(patients, np.bool_)
    threshold = np.uint64(math.floor(math.ldexp(rate, 64)))
    return source.integers(patients) < threshold


def check_rate(patients: int, rate: float) -> None:
    """Refuse a sampling rate that this cohort can't give: to be asked before a run, not in it.

    Raises WR-PRIVACY-014 for less than one patient on average, and as `draw_batch`.
    """
    _check_probability(rate)
    if rate * patients < 1:
        raise WardroundError(
            "WR-PRIVACY-014",
            f"At the sampling rate {rate:g}, a batch would have less than one of this hospital's "
            "patients on average.",
            "Plan the study with a higher sampling rate and fewer steps, or take part with more "
            "patients.",
        )


def _check_probability(rate: float) -> None:
    if not 0 < rate <= 1:
        raise WardroundError(
            "WR-PRIVACY-014",
            "A sampling rate is above 0 and at most 1.",
            "Ask `wardround privacy plan` for a sampling rate.",
        )


@lru_cache(maxsize=256)
def padded_size(patients: int, rate: float, tail: float = OVERFLOW_PROBABILITY) -> int:
    """The fewest places that a Poisson batch outgrows with probability ``tail`` at most.

    Never more than ``patients``. Raises WR-PRIVACY-014 as `draw_batch` does.
    """
    _check_probability(rate)
    low, high = math.floor(patients * rate) - 1, patients  # the mean is outgrown too often
    if rate == 1:
        return patients
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _exceeds(patients, rate, middle) <= tail else (middle, high)
    return high


def _exceeds(patients: int, rate: float, size: int) -> float:
    """P(Binomial(patients, rate) > size) for a size of at least the mean less 1, from above.

    The first term comes from the logarithm of the gamma function at 100 bits, the others from it
    by their ratios, and what is behind those that are summed is at most a geometric series.
    """
    from mpmath import libmp

    first = size + 1
    if first > patients:
        return 0.0
    logarithm = _log_binomial(patients, first)
    chance = libmp.from_float(rate)
    precision = 100
    logarithm = libmp.mpf_add(
        logarithm,
        libmp.mpf_mul(libmp.from_int(first), libmp.mpf_log(chance, precision)),
        precision,
    )
    other = libmp.mpf_log(libmp.mpf_sub(libmp.from_int(1), chance), precision)
    logarithm = libmp.mpf_add(
        logarithm, libmp.mpf_mul(libmp.from_int(patients - first), other), precision
    )
    term = float(libmp.to_float(libmp.mpf_exp(logarithm, precision)))
    j = np.arange(first, min(patients, first + _SUMMED_TERMS), dtype=np.float64)
    ratios = (patients - j) / (j + 1) * (rate / (1 - rate))
    products = np.cumprod(ratios)
    total = 1.0 + float(products.sum())
    if len(ratios) and first + _SUMMED_TERMS < patients:
        last = float(ratios[-1])
        total += float(products[-1]) * last / (1 - last) if last < 1 else math.inf
    return term * total * (1 + 2.0**-30)


def _log_binomial(patients: int, chosen: int) -> tuple[int, int, int, int]:
    from mpmath import libmp

    precision = 100 + patients.bit_length()
    result = libmp.mpf_loggamma(libmp.from_int(patients + 1), precision)
    for part in (chosen, patients - chosen):
        result = libmp.mpf_sub(
            result, libmp.mpf_loggamma(libmp.from_int(part + 1), precision), precision
        )
    value: tuple[int, int, int, int] = result
    return value


def padded(
    batch: NDArray[np.bool_], size: int, source: NoiseSource
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Fill a batch up to ``size`` places with patients who don't count.

    ``batch`` has shape (patients,). Returns the places' patients, distinct and in rising order,
    and who of them counts; both of shape (min(size, patients),). Which patients fill up is random,
    so where the batch is one of independent, equal chances, the places tell nothing about who
    counts nor how many do. Surplus members are dropped at random
    (`OVERFLOW_PROBABILITY` bounds how often).
    """
    places = min(size, len(batch))
    order = source.integers(len(batch)) >> np.uint64(1)
    order |= (~batch).astype(np.uint64) << np.uint64(63)
    if places == len(batch):
        indices = np.arange(places)
    else:
        indices = np.sort(np.argpartition(order, places)[:places])
    return indices, batch[indices]
