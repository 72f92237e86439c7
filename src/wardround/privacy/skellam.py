"""Skellam noise, exactly: the difference of two independent Poisson numbers of mean variance/2.

Skellam numbers add up to Skellam numbers (their variances add), which rounded Gaussians don't: so
shares that hospitals draw on their own are together one noise whose distribution is known
(Agarwal, Kairouz and Liu 2021). P(X = k) = e^-variance I_k(variance).

Neither Poisson numbers nor Bessel functions are computed. The tail P(X >= k) is known to any
number of bits from the characteristic function e^(variance (cos t - 1)) (`tail`), and elements
come from inverting it lazily (`inversion`):

- up to a variance of 2^16, by a table of the tail, itself computed in integers (Miller's backward
  recurrence for I_k);
- above, by the Cornish-Fisher expansion of the quantile around the normal one. Between half-odd
  points the lattice distribution is interpolated by one with characteristic function
  e^(variance (cos t - 1)) (t/2) / sin(t/2) (Kolassa and McCullagh 1990), that is with variance
  s^2 = variance - 1/12 and fourth cumulant about s^2, so the quantile is
  s z + (z^3 - 3 z) / (24 s), up to terms of order z^5 / s^3.

Nothing is added to delta. That rests on what `gaussian` rests on (``ndtri`` and the cipher), on
mpmath's sine and exponential functions, and on the remainder being below (8 + z^5) / (64 s^3). The
last is an asymptotic bound with a factor of 2.5 to spare, not a theorem: a test compares it with
exact tails, for z up to 7.3 and variances from the smallest it is used for up to 2^48.
At 2^48, a deviation of four times a patient's vector, it is 10^-21 steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.gaussian import upper_quantile_errors, upper_quantiles
from wardround.privacy.inversion import CHUNK, FIRST_BITS, MAGNITUDE, LazyUniform, draw, whole_steps
from wardround.privacy.randomness import NoiseSource

SMALLEST_VARIANCE = 2.0**-20
LARGEST_VARIANCE = 2.0**80
TABLE_VARIANCE = 2.0**16
"""Up to here elements come from a table."""

_TABLE_BITS = 300
"""The table is cut where less than 2^-300 remains, and its entries are as good."""


def tail(variance: float, k: int, bits: int) -> int:
    """P(X >= ``k``) times 2^``bits``, at most 1 away from the exact value; k is 1 or more.

    With N points, the trapezoid rule for the integral of the characteristic function times the
    Dirichlet kernel sin((k - 1/2) t) / sin(t/2) gives P(|X| < k) with whole multiples of N taken
    for 0: it is too large by at most P(|X| > N - k), which Chernoff's bound makes small enough.
    """
    from mpmath import libmp

    precision = bits + 64 + k.bit_length()
    points = _reach(float(variance), bits + 10) + k
    width = 2 * k - 1
    negligible = (bits + 20 + width.bit_length()) * math.log(2)
    mean = libmp.mpf_shift(_exact(variance), 1)  # 2 variance sin(t/2)^2 is the exponent
    total = libmp.from_int(width)
    for j in range(1, points // 2 + 1):
        if 2 * float(variance) * math.sin(math.pi * j / points) ** 2 > negligible:
            break
        sine = libmp.mpf_sin_pi(libmp.from_rational(j, points, precision), precision)
        angle = libmp.from_rational(width * j % (2 * points), points, precision)
        kernel = libmp.mpf_div(libmp.mpf_sin_pi(angle, precision), sine, precision)
        square = libmp.mpf_mul(sine, sine, precision)
        damped = libmp.mpf_exp(libmp.mpf_neg(libmp.mpf_mul(mean, square, precision)), precision)
        term = libmp.mpf_mul(kernel, damped, precision)
        twice = 2 * j != points  # t and -t
        total = libmp.mpf_add(total, libmp.mpf_shift(term, int(twice)), precision)
    inside = libmp.mpf_div(total, libmp.from_int(points), precision)
    outside = libmp.mpf_sub(libmp.from_int(1), inside, precision)
    return whole_steps(outside, bits - 1)


def _exact(variance: float) -> tuple[int, int, int, int]:
    """The number as mpmath has it; Python's own arithmetic keeps whole numbers whole."""
    from mpmath import libmp

    numerator, denominator = variance.as_integer_ratio()
    shift = denominator.bit_length() - 1  # a power of two
    value: tuple[int, int, int, int] = libmp.from_man_exp(numerator, -shift)
    return value


def _reach(variance: float, bits: int) -> int:
    """Find an a with P(|X| >= a) <= 2^-``bits``, by Chernoff's bound."""

    def enough(a: int) -> bool:
        root = math.hypot(variance, a)
        exponent = a * a / (root + variance) - a * math.asinh(a / variance)
        return exponent < -(bits + 1) * math.log(2) * 1.001

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class LargeSkellam:
    """The distribution for variances from 2^16 on, as `inversion.draw` needs it."""

    variance: float

    smallest = 2.0**-21
    """A normal quantile of 4.9."""

    @property
    def error(self) -> float:
        """What `errors` gives at ``smallest``, at most."""
        return self._spread * 2.0**-43 + 46 / self._spread**3

    @property
    def _spread(self) -> float:
        return math.sqrt(self.variance - 1 / 12)

    def quantiles(self, uniform: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write z (s + (z^2 - 3) / (24 s)); ``uniform`` serves as scratch."""
        spread = self._spread
        upper_quantiles(uniform, out)
        np.multiply(out, out, out=uniform)
        np.multiply(uniform, 1 / (24 * spread), out=uniform)
        np.add(uniform, spread - 3 / (24 * spread), out=uniform)
        np.multiply(out, uniform, out=out)

    def errors(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound each quantile's error: the normal one's, and the expansion's remainder."""
        z = np.empty_like(uniform)
        upper_quantiles(uniform, z)
        spread = self._spread
        slope = spread + z * z / (8 * spread)
        bound: NDArray[np.float64] = slope * upper_quantile_errors(uniform)
        bound += (8 + z**5) / (64 * spread**3)
        return bound

    def tail(self, k: int, bits: int) -> int:
        """See `skellam.tail`."""
        return tail(self.variance, k, bits)


@dataclass(frozen=True)
class SmallSkellam:
    """The distribution for variances up to 2^16, by the table of its tail."""

    variance: float

    def tail(self, k: int, bits: int) -> int:
        """See `skellam.tail`."""
        return tail(self.variance, k, bits)

    def draw(self, source: NoiseSource, size: int, margin: int = 1) -> NDArray[np.int64]:
        """Draw integers, shape (size,); search for those within ``margin`` 2^-64 of an edge."""
        table = _table(self.variance)
        last = len(table) - 1
        result = np.empty(size, np.int64)
        bits = np.empty(min(size, CHUNK), np.uint64)
        for start in range(0, size, CHUNK):
            raw = bits[: min(CHUNK, size - start)]
            source.fill(raw)
            uniform = raw.view(np.int64) & MAGNITUDE
            index = np.searchsorted(table[:last], uniform, side="right")
            magnitude = last - index
            near = (table[index] - uniform <= margin) | (uniform - table[index - 1] <= margin)
            for at in np.flatnonzero(near).tolist():
                lazy = LazyUniform(source, self, int(uniform[at]))
                magnitude[at] = lazy.magnitude(int(magnitude[at]))
            sign = raw.view(np.int64) >> 63
            result[start : start + len(raw)] = (magnitude ^ sign) - sign
        return result


@lru_cache(maxsize=8)
def _table(variance: float) -> NDArray[np.int64]:
    """P(X >= k) times 2^64, rounded down, for falling k down to 1, between 0 and 2^63 - 1.

    p(k - 1) = p(k + 1) + (2 k / variance) p(k), from a k where next to nothing remains down to 0,
    is stable (Miller; Abramowitz and Stegun 9.12); the sum of all is known to be 1.
    """
    numerator, denominator = variance.as_integer_ratio()
    top = _reach(variance, _TABLE_BITS)
    later, now = 0, 1 << _TABLE_BITS
    masses = [now]
    for k in range(top, 0, -1):
        later, now = now, later + 2 * k * denominator * now // numerator
        masses.append(now)
    everything = 2 * sum(masses) - masses[-1]
    tails, above = [0], 0
    for mass in masses[:-1]:
        above += mass
        entry = (above << FIRST_BITS) // everything
        if entry > 0:
            tails.append(entry)
    tails.append(int(MAGNITUDE))
    table = np.array(tails, np.int64)
    table.flags.writeable = False
    return table


def skellam(source: NoiseSource, variance: float, size: int) -> NDArray[np.int64]:
    """Draw Skellam noise of ``variance`` (a whole number is taken exactly), shape (size,).

    From a variance of about 2^60 on, noticeably many elements are settled in integers. Raises
    WR-PRIVACY-011 for a variance below 2^-20 or above 2^80.
    """
    if not SMALLEST_VARIANCE <= variance <= LARGEST_VARIANCE:
        raise WardroundError(
            "WR-PRIVACY-011",
            "Skellam noise needs a variance from 2^-20 to 2^80.",
            "Ask `wardround privacy plan` for a noise multiplier.",
        )
    exact = variance if isinstance(variance, int) else float(variance)
    if exact > TABLE_VARIANCE:
        return draw(source, LargeSkellam(exact), size)
    return SmallSkellam(exact).draw(source, size)
