"""Which ring and how many fractional bits: they follow from cohort, bound, resolution and noise.

Data can't overflow: the largest sum of encodings is compared with the ring as whole numbers. Noise
has no largest value, so it gets head-room beside the data, and wraps with a probability that is
stated for each element of a total. It is never drawn again: that would show what the data are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from wardround.errors import WardroundError
from wardround.secagg.chosen import Chosen
from wardround.secagg.encoding import FixedPoint, RingBits
from wardround.secagg.quantised import Quantised

Encoding: TypeAlias = FixedPoint | Quantised | Chosen
"""How a contribution becomes ring elements."""

_RINGS: tuple[RingBits, RingBits] = (32, 64)
_LN2 = Fraction(693_147_180_560, 10**12)
"""The natural logarithm of two, rounded up."""


@dataclass(frozen=True)
class Noise:
    """What the sites of a cohort add to one element, all together, each on its own encoding.

    ``deviation`` is the square root of the variance proxy of the sum, in the values' own unit;
    sites that each add a variance of s^2 make it s * sqrt(cohort). A total wraps with a probability
    of at most 2^-``wrap_bits`` for each element.
    """

    deviation: float
    wrap_bits: int = 64

    def __post_init__(self) -> None:
        if not (math.isfinite(self.deviation) and self.deviation > 0 and self.wrap_bits >= 1):
            raise WardroundError(
                "WR-SECAGG-041",
                "Noise needs a positive deviation, and a wrap probability of at most a half.",
                "This is a fault in the program that calls; report it.",
            )

    def room(self, fractional_bits: int, cohort: int) -> int:
        """Ring steps that the sum of the noise exceeds with at most the stated probability.

        Bernstein's inequality: for a sum Z whose logarithmic moment-generating function is at most
        s^2 (cosh u - 1) at every u, P(|Z| >= t) <= 2 exp(-t^2 / (2 (s^2 + t/3))). That holds for
        Gaussian and discrete Gaussian noise (s^2 u^2 / 2 is less; Canonne, Kamath and Steinke 2020)
        and for Skellam noise (exactly this). Rounding a Gaussian at each site adds half a step for
        each of them.
        """
        variance = (Fraction(self.deviation) * (1 << fractional_bits)) ** 2
        exponent = (self.wrap_bits + 1) * _LN2  # 2 exp(-exponent) <= 2^-wrap_bits
        under_root = (exponent / 3) ** 2 + 2 * exponent * variance
        root = math.isqrt(math.ceil(under_root)) + 1
        return math.ceil(exponent / 3) + root + -(-cohort // 2)


@dataclass(frozen=True)
class Headroom:
    """An encoding, and how far an honest total may lie from zero, in ring steps."""

    encoding: Encoding
    noise: int = 0
    """Ring steps kept for noise, 0 where there is none."""

    def largest_total(self, survivors: int) -> int:
        """The magnitude that no element of an honest total exceeds, but for the stated chance.

        Of a compressed one that is no element from `Quantised.bounded_from` on.

        The noise of fewer sites is less, so its room is enough for any number of survivors.
        """
        return survivors * self.encoding.largest + self.noise


def choose(bound: float, cohort: int, resolution: float, noise: Noise | None = None) -> Headroom:
    """The smallest ring in which sums over ``cohort`` sites are as fine as ``resolution``.

    ``bound`` is the largest magnitude of one site's value and ``resolution`` the largest step
    between encodings, in the same unit. Within the ring the encoding is as fine as it gets: without
    noise it is `FixedPoint.fit`. Raises WR-SECAGG-003 for a bound or a cohort that no ring takes,
    WR-SECAGG-040 when no ring is fine enough, and with noise when nothing is left for it.
    """
    if not (math.isfinite(resolution) and resolution > 0):
        raise _too_fine(cohort, noise)
    for ring_bits in _RINGS:
        try:
            finest = FixedPoint.fit(bound, cohort, ring_bits)
        except WardroundError:
            if ring_bits == _RINGS[-1]:
                raise
            continue
        found = _leave_room(finest, noise)
        if found is not None and found.encoding.resolution <= resolution:
            return found
    raise _too_fine(cohort, noise)


def _leave_room(finest: FixedPoint, noise: Noise | None) -> Headroom | None:
    """The finest encoding of the same ring in which data and noise have their places."""
    if noise is None:
        return Headroom(finest)
    for bits in range(finest.fractional_bits, -1, -1):
        encoding = FixedPoint(finest.ring_bits, bits, finest.bound, finest.cohort)
        room = noise.room(bits, finest.cohort)
        if finest.cohort * encoding.largest + room < 1 << (finest.ring_bits - 1):
            return Headroom(encoding, room)
    return None


def _too_fine(cohort: int, noise: Noise | None) -> WardroundError:
    beside = "" if noise is None else f" beside noise that wraps once in 2^{noise.wrap_bits}"
    return WardroundError(
        "WR-SECAGG-040",
        f"No ring holds sums over {cohort} sites at the wanted resolution{beside}.",
        "Ask for a coarser resolution, a smaller bound"
        + (", less noise" if noise is not None else "")
        + " or a smaller cohort.",
    )
