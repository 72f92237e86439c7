"""What was released, as facts that an accountant can price: one event for each noisy sum.

Every private contribution is brought to one scale before it is protected: each patient's vector
is clipped to Euclidean length 1, multiplied by 2^`FRACTIONAL_BITS` and rounded to whole numbers,
so that every release in the system has the same sensitivity, `L2` (and `L1` in the sum of
magnitudes), whatever was computed. Noise is counted in multiples of it.

The relation is *add or remove one patient* at one hospital: with or without somebody, the sum
changes by one such vector, or doesn't. Hospitals that take part, and the number of patients that
the study states, are public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from wardround.errors import WardroundError

FRACTIONAL_BITS = 22
"""A patient's clipped vector is a multiple of 2^-22."""

MAXIMUM_LANES = 1 << 24
"""The longest private vector. Rounding to nearest adds at most half a step to each element."""

L2 = (1 << FRACTIONAL_BITS) + math.isqrt(MAXIMUM_LANES) // 2
"""Steps by which one patient changes a sum at most, in Euclidean length."""

L1 = L2 * math.isqrt(MAXIMUM_LANES)
"""The same in the sum of magnitudes (Cauchy and Schwarz)."""


@dataclass(frozen=True)
class Gaussian:
    """A sum with Gaussian noise of ``noise_multiplier`` times `L2`, rounded after it was added.

    Each patient took part with probability ``sampling_rate``, independently (1: everybody).
    """

    noise_multiplier: float
    sampling_rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self.noise_multiplier, self.sampling_rate)


@dataclass(frozen=True)
class Skellam:
    """A sum with Skellam noise: a standard deviation of at least ``noise_multiplier`` times `L2`.

    It is made of shares, one from each site, and Skellam shares add up to Skellam noise.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self.noise_multiplier, self.sampling_rate)


@dataclass(frozen=True)
class DiscreteLaplace:
    """A count, to which one patient adds at most 1, with noise P(x) proportional to e^(-|x|/scale).

    The privacy loss is 1 / ``scale``, with no delta.
    """

    scale: float

    def __post_init__(self) -> None:
        _check(self.scale, 1.0)


Event: TypeAlias = Gaussian | Skellam | DiscreteLaplace


def deviation(noise_multiplier: float) -> float:
    """The standard deviation of the noise on one element, in units of a patient's clipped vector.

    Slightly more than the multiplier, by what rounding adds to the sensitivity.
    """
    return noise_multiplier * L2 / (1 << FRACTIONAL_BITS)


def _check(noise: float, rate: float) -> None:
    if not (math.isfinite(noise) and noise > 0 and 0 < rate <= 1):
        raise WardroundError(
            "WR-PRIVACY-003",
            "A release needs positive noise and a sampling rate above 0, at most 1.",
            "Ask `wardround privacy plan` for noise that fits the study's epsilon.",
        )
