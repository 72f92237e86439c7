"""The rounded Gaussian: round(deviation * Z), Z standard normal, exactly.

It is Gaussian noise followed by rounding, so what is proven for the Gaussian mechanism on integers
holds for it (rounding is post-processing). Nothing is added to delta. That rests on: the cipher;
IEEE 754 double precision; mpmath's complementary error function, which is evaluated with 30 bits
more than are used; and scipy's ``ndtri`` being within 2^-47 of its value for arguments from 2^-40
to 1/2. Its source (Cephes, Moshier 1989) states 2^-50; a test compares it with mpmath and asks for
2^-49.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.inversion import draw, whole_steps
from wardround.privacy.randomness import NoiseSource

NDTRI_ERROR = 2.0**-47
"""Relative error of the normal quantile that is allowed for, with a factor of 8 to spare."""

NEAR_ZERO_ERROR = 2.0**-50
"""The same, absolute: rounding U to 53 bits moves a quantile by at most sqrt(pi/2) 2^-53, and
close to 1/2 ``ndtri`` is only so good as the distance from it."""

LARGEST_DEVIATION = 2.0**40


@dataclass(frozen=True)
class RoundedGaussian:
    """The distribution of round(``deviation`` * Z), as `inversion.draw` needs it."""

    deviation: float

    smallest = 2.0**-21
    """A quantile of 4.9."""

    @property
    def error(self) -> float:
        """4.9 * 2^-47 + 2^-50 + 2^-64 / density(4.9) < 2^-43, in units of the deviation."""
        return self.deviation * 2.0**-43

    def quantiles(self, uniform: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write ``deviation`` times the normal upper quantiles."""
        upper_quantiles(uniform, out)
        np.multiply(out, self.deviation, out=out)

    def errors(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound each quantile's error."""
        return self.deviation * upper_quantile_errors(uniform)

    def tail(self, k: int, bits: int) -> int:
        """P(round(deviation Z) >= k) = erfc((2k - 1) / (2 sqrt(2) deviation)) / 2."""
        from mpmath import libmp

        precision = bits + 30
        scaled = libmp.mpf_div(
            libmp.from_int(2 * k - 1), libmp.from_float(self.deviation), precision
        )
        over = libmp.mpf_sqrt(libmp.from_int(8), precision)
        tail = libmp.mpf_erfc(libmp.mpf_div(scaled, over, precision), precision)
        return whole_steps(tail, bits - 1)


def upper_quantiles(uniform: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the z with P(Z > z) = ``uniform``, which is between 0 and 1/2, so z is positive."""
    from scipy.special import ndtri

    ndtri(uniform, out=out)
    np.negative(out, out=out)


def upper_quantile_errors(uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound the errors of `upper_quantiles` for intervals 2^-64 wide around ``uniform``.

    An interval du around u is an interval du / density(z) around z; with u above 2^-40 the density
    is the same up to 2^-20 across it, which is why the whole width is counted and not its half.
    """
    quantile = np.empty_like(uniform)
    upper_quantiles(uniform, quantile)
    width = 2.0**-64 * math.sqrt(2 * math.pi) * np.exp(quantile * quantile / 2)
    bound: NDArray[np.float64] = NDTRI_ERROR * quantile + NEAR_ZERO_ERROR + width
    return bound


def rounded_gaussian(source: NoiseSource, deviation: float, size: int) -> NDArray[np.int64]:
    """Draw Gaussian noise of standard deviation ``deviation``, rounded, shape (size,).

    From a deviation of about 2^32 on, noticeably many elements are settled in integers; a million
    at 2^40 take minutes. Raises WR-PRIVACY-011 for a deviation below 1 or above 2^40.
    """
    if not 1 <= deviation <= LARGEST_DEVIATION:
        raise WardroundError(
            "WR-PRIVACY-011",
            "Gaussian noise needs a standard deviation from 1 to 2^40 steps.",
            "Ask `wardround privacy plan` for a noise multiplier.",
        )
    return draw(source, RoundedGaussian(float(deviation)), size)
