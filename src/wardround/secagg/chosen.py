"""Compression that commutes with the sum: in each round all sites send the same few coordinates.

Random-k sparsification with a seed that everybody shares (Konecny et al. 2016, "random mask";
Stich, Cordonnier and Jaggi 2018): as all send the same coordinates, these are added in the ring as
any others are, masks and checksum and all. Which ones follows from a public seed and the number of
the round alone. The order is drawn anew for each cycle of ceil(m / k) rounds and gone through
without replacement, so that every coordinate has its turn in each cycle, where independent draws
would leave some waiting for long; the set of any one round is uniform all the same.

What is not sent has to be kept by the site (`learning.error_feedback`): an encoding that dropped it
would be biased, so one that is asked to refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.secagg.encoding import FixedPoint, FloatArray, RingArray, RingBits

_CHUNK = 1 << 20
"""Coordinates whose random numbers are drawn at a time."""


def cycle_rounds(first: int, sent: int) -> int:
    """After how many rounds each of ``first`` coordinates has had its turn."""
    return -(-first // sent)


@lru_cache(maxsize=2)
def coordinates(seed: bytes, first: int, sent: int, number: int) -> NDArray[np.int64]:
    """Which ``sent`` of ``first`` coordinates travel in round ``number`` (from 1), ascending.

    Those with the next smallest of random numbers, SHAKE-256 of seed and cycle: no library's
    generator decides it, nor how a library sorts, since no two numbers are equal. Read-only.
    """
    cycle, place = divmod(number - 1, cycle_rounds(first, sent))
    start = min(place * sent, first - sent)  # the last of a cycle is filled up from the one before
    bits = np.uint64((first - 1).bit_length())
    keys = np.arange(first, dtype=np.uint64)
    for at in range(0, first, _CHUNK):
        part = keys[at : at + _CHUNK]
        name = b"wardround random-k v1 " + seed + cycle.to_bytes(8, "big") + at.to_bytes(8, "big")
        drawn = np.frombuffer(shake_256(name).digest(8 * len(part)), "<u8")
        part |= drawn.astype(np.uint64) << bits
    ends = sorted({start, start + sent - 1})
    found = np.partition(keys, ends)[start : start + sent] & ((np.uint64(1) << bits) - np.uint64(1))
    chosen = np.sort(found).astype(np.int64)
    chosen.flags.writeable = False
    return chosen


@dataclass(frozen=True)
class Chosen:
    """The encoding of ``length`` values, of whose ``first`` only those are sent whose turn it is.

    All that travels is encoded by ``exact``; ``seed`` is public.
    """

    exact: FixedPoint
    first: int
    sent: int
    number: int
    seed: bytes

    @property
    def ring_bits(self) -> RingBits:
        """The width of the ring's integers."""
        return self.exact.ring_bits

    @property
    def dtype(self) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
        """The array type of the ring."""
        return self.exact.dtype

    @property
    def fractional_bits(self) -> int:
        """Those of every value that is sent."""
        return self.exact.fractional_bits

    @property
    def largest(self) -> int:
        """The largest magnitude of an encoding."""
        return self.exact.largest

    @property
    def bounded_from(self) -> int:
        """From which element on `largest` holds: all of them."""
        return 0

    @property
    def resolution(self) -> float:
        """The step between neighbouring encodings."""
        return self.exact.resolution

    @property
    def coordinates(self) -> NDArray[np.int64]:
        """Which of the first values are sent, shape (sent,), ascending."""
        return coordinates(self.seed, self.first, self.sent, self.number)

    def encode(self, values: FloatArray, *, out: RingArray | None = None) -> RingArray:
        """Encode ``values``, shape (length,), into ``out`` or a new array, shape (sent + others,).

        Raises WR-SECAGG-004 where a value would be dropped, or for another shape; else as
        `FixedPoint.encode`.
        """
        if values.ndim != 1 or len(values) < self.first:
            raise _wrong("a contribution is shorter than the vector that it begins with")
        vector = values[: self.first]
        turn = vector[self.coordinates]
        if np.count_nonzero(vector) != np.count_nonzero(turn):
            raise _wrong("a contribution has values whose turn it is not")
        return self.exact.encode(np.concatenate([turn, values[self.first :]]), out=out)

    def decode(self, ring: RingArray) -> NDArray[np.float64]:
        """The real numbers, shape (length,), that a sum of encodings stands for; 0 if not sent."""
        if ring.ndim != 1 or len(ring) < self.sent:
            raise _wrong("a total is shorter than what was to be sent")
        found = self.exact.decode(ring)
        out = np.zeros(self.first + len(ring) - self.sent)
        out[self.coordinates] = found[: self.sent]
        out[self.first :] = found[self.sent :]
        return out


def _wrong(what: str) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-004",
        f"Random-k can't be applied: {what}.",
        "This is a fault in the program that calls; report it.",
    )
