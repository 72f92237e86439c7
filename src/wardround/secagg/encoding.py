"""Real numbers as integers of a ring, so that masked sums are exact to the last bit.

A value x becomes round(x * 2**fractional_bits), half to even, in Z(2^32) or Z(2^64), negative
numbers in two's complement. The number of fractional bits follows from the bound on one site's
values and the size of the cohort, so that no sum of encodings can leave the signed range:
overflow is impossible, not unlikely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.secagg.adversary import MAXIMUM_COHORT

RingBits: TypeAlias = Literal[32, 64]
"""The width of the ring's integers."""

RingArray: TypeAlias = NDArray[np.uint32] | NDArray[np.uint64]
"""Elements of Z(2^32) or Z(2^64), one-dimensional."""

FloatArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
"""Values before encoding, one-dimensional."""


_CHUNK = 1 << 16
"""Elements worked on at a time: the scratch arrays then stay in a core's own cache."""

_MOST_FRACTIONAL_BITS = 256
"""Finer than any value needs, and far from where a power of two stops being a float64."""


@dataclass(frozen=True)
class FixedPoint:
    """Fixed-point numbers in a ring of ``ring_bits`` for sums over at most ``cohort`` sites.

    No single value may exceed ``bound`` in magnitude. Build it with :meth:`fit`, which chooses
    ``fractional_bits``; a choice that could overflow can't be built (WR-SECAGG-003).
    """

    ring_bits: RingBits
    fractional_bits: int
    bound: float
    cohort: int

    def __post_init__(self) -> None:
        valid = (
            self.ring_bits in (32, 64)
            and 0 <= self.fractional_bits <= _MOST_FRACTIONAL_BITS
            and math.isfinite(self.bound)
            and self.bound > 0
            and 1 <= self.cohort <= MAXIMUM_COHORT
        )
        if not valid or not _fits(self.ring_bits, self.fractional_bits, self.bound, self.cohort):
            raise WardroundError(
                "WR-SECAGG-003",
                f"Values of this bound, summed over {self.cohort} sites, have no place in a ring "
                f"of {self.ring_bits} bits with {self.fractional_bits} fractional bits.",
                "Use the 64-bit ring, or scale the values to a smaller bound.",
            )

    @classmethod
    def fit(cls, bound: float, cohort: int, ring_bits: RingBits) -> FixedPoint:
        """The finest encoding under which ``cohort`` values of up to ``bound`` can't overflow."""
        bits = 0
        if math.isfinite(bound) and bound > 0 and ring_bits in (32, 64):
            # One too many to begin with: rounding decides the last bit.
            room = Fraction(2 ** (ring_bits - 1)) / (Fraction(bound) * max(cohort, 1))
            bits = room.numerator.bit_length() - room.denominator.bit_length() + 1
            bits = max(0, min(_MOST_FRACTIONAL_BITS, bits))
            while bits > 0 and not _fits(ring_bits, bits, bound, cohort):
                bits -= 1
        return cls(ring_bits, bits, bound, cohort)

    @property
    def dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        """The array type of the ring."""
        return np.dtype(np.uint32) if self.ring_bits == 32 else np.dtype(np.uint64)

    @property
    def resolution(self) -> float:
        """The step between neighbouring encodings; one encoding is off by at most half of it."""
        return math.ldexp(1.0, -self.fractional_bits)

    @property
    def largest(self) -> int:
        """The largest magnitude of an encoding: that of the bound itself."""
        return largest_encoding(self.bound, self.fractional_bits)

    @property
    def bounded_from(self) -> int:
        """From which element on `largest` holds: all of them."""
        return 0

    def encode(self, values: FloatArray, *, out: RingArray | None = None) -> RingArray:
        """Encode ``values``, shape (length,), into ``out`` or a new array of the same shape.

        Raises WR-SECAGG-004 for another shape or type and WR-SECAGG-005 if any value is not
        finite or exceeds the bound; ``out`` then holds nothing of use. The error says neither
        which value nor where: both would be about patients.
        """
        if values.ndim != 1 or values.dtype not in (np.float32, np.float64):
            raise _wrong_array("a contribution", "one-dimensional float32 or float64")
        if out is None:
            out = _empty(len(values), self.ring_bits)
        elif out.shape != values.shape or out.dtype != self.dtype:
            raise _wrong_array("the place for an encoding", f"{self.dtype} of the same length")
        # A power of two scales a float exactly, so float32 values need no wider arithmetic
        # unless the power itself is too large for one.
        wide = values.dtype == np.float64 or self.fractional_bits > 126
        scale = math.ldexp(1.0, self.fractional_bits)
        signed = out.view(np.int32 if self.ring_bits == 32 else np.int64)
        scratch = np.empty(min(len(values), _CHUNK), np.float64 if wide else np.float32)
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            scaled = scratch[: len(chunk)]
            # Compared as float64, so that the bound is not rounded to the values' type, and so
            # that a NaN, which compares false with everything, fails.
            if not (float(chunk.max()) <= self.bound and float(chunk.min()) >= -self.bound):
                raise WardroundError(
                    "WR-SECAGG-005",
                    "A contribution holds a value that is not finite or exceeds the task's bound.",
                    "Look for a computation that diverged, or a feature outside the range that "
                    "the study declares for it.",
                )
            np.multiply(chunk, scale, out=scaled, dtype=scaled.dtype)
            np.rint(scaled, out=scaled)
            signed[start : start + _CHUNK] = scaled
        return out

    def decode(
        self, values: RingArray, *, out: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """The real numbers, shape (length,), that a sum of encodings stands for.

        Exact in the 32-bit ring; in the 64-bit ring rounded once, and only where a sum has more
        than 53 significant bits. Raises WR-SECAGG-004 for another shape or type.
        """
        if values.ndim != 1 or values.dtype != self.dtype:
            raise _wrong_array("a total", f"one-dimensional {self.dtype}")
        if out is None:
            out = np.empty(len(values), np.float64)
        elif out.shape != values.shape or out.dtype != np.float64:
            raise _wrong_array("the place for a total", "float64 of the same length")
        signed = values.view(np.int32 if self.ring_bits == 32 else np.int64)
        np.multiply(signed, self.resolution, out=out)
        return out


def _fits(ring_bits: int, fractional_bits: int, bound: float, cohort: int) -> bool:
    """Whether ``cohort`` encodings of magnitude ``bound`` stay within the signed range."""
    return largest_encoding(bound, fractional_bits) * cohort < 1 << (ring_bits - 1)


def largest_encoding(bound: float, fractional_bits: int) -> int:
    """What ``bound`` is encoded as."""
    return round(Fraction(bound) * (1 << fractional_bits))  # half to even, as np.rint


def magnitude(values: RingArray) -> int:
    """The largest magnitude of any of (at least one) signed elements."""
    signed = values.view(np.int32 if values.itemsize == 4 else np.int64)
    return max(int(signed.max()), -int(signed.min()))


def _empty(length: int, ring_bits: RingBits) -> RingArray:
    return np.empty(length, np.uint32) if ring_bits == 32 else np.empty(length, np.uint64)


def _wrong_array(what: str, wanted: str) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-004",
        f"The array given as {what} has another shape or type than {wanted}.",
        "This is a fault in the program that calls; report it.",
    )
