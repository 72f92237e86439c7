"""The discrete Laplace distribution, P(x) proportional to e^(-|x| / scale), exactly.

Also called two-sided geometric (Ghosh, Roughgarden and Sundararajan 2009): the difference of two
geometric numbers. With q = e^(-1/scale), P(X >= k) = q^k / (1 + q) for k of 1 or more, so that one
logarithm gives one element. Nothing is added to delta. That rests on: the cipher; IEEE 754 double
precision; mpmath's exponential function; and numpy's logarithm being within 2^-50 of its value for
arguments from 2^-40 to 1/2 (numpy states 2^-52; a test compares it with mpmath).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.inversion import draw, whole_steps
from wardround.privacy.randomness import NoiseSource

SMALLEST_SCALE = 2.0**-6
LARGEST_SCALE = 2.0**40
_ERROR = 2.0**-50


@dataclass(frozen=True)
class DiscreteLaplaceLaw:
    """The distribution, as `inversion.draw` needs it."""

    scale: float

    smallest = 2.0**-16
    """Its logarithm is -11.1."""

    @property
    def error(self) -> float:
        """What `errors` gives at ``smallest``, at most; it falls from there to 1/2."""
        return self.scale * 2.0**-45 + 2.0**-49

    def quantiles(self, uniform: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write -scale * log(U (1 + q)) - 1/2, whose rounding is the magnitude."""
        np.log(uniform, out=out)
        np.multiply(out, -self.scale, out=out)
        np.subtract(out, self.scale * math.log1p(math.exp(-1 / self.scale)) + 0.5, out=out)

    def errors(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound each quantile's error: the logarithm's, its roundings', and the interval's."""
        logarithm = -np.log(uniform)
        bound: NDArray[np.float64] = (
            self.scale * (2 * _ERROR * (logarithm + 1) + 2.0**-64 / uniform) + 2 * _ERROR
        )
        return bound

    def tail(self, k: int, bits: int) -> int:
        """P(X >= k) = e^(-k / scale) / (1 + e^(-1 / scale))."""
        from mpmath import libmp

        precision = bits + 60
        scale = libmp.from_float(self.scale)
        one = libmp.from_int(1)
        step = libmp.mpf_exp(libmp.mpf_neg(libmp.mpf_div(one, scale, precision)), precision)
        power = libmp.mpf_exp(libmp.mpf_div(libmp.from_int(-k), scale, precision), precision)
        tail = libmp.mpf_div(power, libmp.mpf_add(one, step, precision), precision)
        return whole_steps(tail, bits)


def discrete_laplace(source: NoiseSource, scale: float, size: int) -> NDArray[np.int64]:
    """Draw noise with P(x) proportional to e^(-|x| / ``scale``), shape (size,).

    Raises WR-PRIVACY-011 for a scale below 2^-6 or above 2^40.
    """
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise WardroundError(
            "WR-PRIVACY-011",
            "Discrete Laplace noise needs a scale from 2^-6 to 2^40.",
            "Ask `wardround privacy plan` for a scale; it is 1 / epsilon of the one count.",
        )
    return draw(source, DiscreteLaplaceLaw(float(scale)), size)
