"""Compression that commutes with the sum: 16 or 8 bits a value on the wire, whatever the sum does.

Most of a contribution is one vector whose Euclidean norm is bounded. It is rotated (`rotation`), so
that no coordinate is much larger than any other, rounded to whole steps at random, up or down so
that the expectation is the value itself (unbiased: Alistarh et al. 2017, Suresh et al. 2017), and
several steps are packed into one ring element, side by side in *lanes* of 16 or 8 bits. Elements
are added in the ring as always, masks and checksum and all, and lanes add with them.

A lane has room for the sum and no more: what is bounded by the norm is the *sum over all sites*
(of w_i x_i with weights that add up to at most 1), so that no bits are set aside for the number of
sites but one step each, for their rounding. It spills into its neighbour with a probability of at
most 2^-30 a round, over all lanes; who receives a total has to make sure that the weights did add
up (`learning.local_sgd` does). The few values behind the vector are exact, an element each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.secagg.encoding import FixedPoint, FloatArray, RingArray, RingBits
from wardround.secagg.expand import Keystream
from wardround.secagg.rotation import flatness, rotate, rotate_back

LaneBits: TypeAlias = Literal[8, 16]
"""The width of a lane."""

RING_BITS: Literal[64] = 64
_SLACK = 1.0 + 2.0**-30
"""Norms and weights are computed in floating point."""

_CHUNK = 1 << 16
LEAST_STEPS = 63
"""With fewer steps on either side of zero, rounding would be most of what is sent."""


def steps_each_way(lane_bits: LaneBits, cohort: int) -> int:
    """The whole steps that a sum over the sites' values has on either side of zero."""
    return (1 << (lane_bits - 1)) - 1 - cohort


def ring_elements(first: int, length: int, lane_bits: LaneBits) -> int:
    """How many ring elements a vector of ``length`` takes whose ``first`` values are in lanes."""
    lanes = RING_BITS // lane_bits
    return -(-first // lanes) + length - first


def rounding(first: int, lane_bits: LaneBits, sites: int) -> float:
    """How much longer than the norm a sum may be that is honest, as a share of the norm.

    But for a chance of 2^-30, for sums over ``sites`` or fewer. The rounding of a value is one of
    two neighbours, so the length of all of it is a convex function of independent variables of
    range 1, and sqrt(sites) its Lipschitz constant: Talagrand 1995 (theorem 4.1.1) bounds how far
    it lies above its median, and Markov's inequality the median by the root of twice the mean
    square.
    """
    root = math.sqrt(first)
    steps = min(sites * root, math.sqrt(sites) * (math.sqrt(0.5) * root + 9.5))
    step = _SLACK * flatness(first, sites + 1) / steps_each_way(lane_bits, sites)
    return step * steps


@dataclass(frozen=True)
class Quantised:
    """The encoding of ``length`` values, of which the ``first`` are rotated, rounded and packed.

    Over all sites together the first values have a Euclidean norm of at most ``norm``; the others
    are encoded by ``exact``. ``seed`` fixes the rotation and is public. Raises WR-SECAGG-003 where
    so many sites leave no room in a lane.
    """

    exact: FixedPoint
    lane_bits: LaneBits
    first: int
    norm: float
    seed: bytes

    def __post_init__(self) -> None:
        if self.exact.ring_bits != RING_BITS or self.steps < LEAST_STEPS or not self.norm > 0:
            raise WardroundError(
                "WR-SECAGG-003",
                f"Lanes of {self.lane_bits} bits have no room for sums over {self.exact.cohort} "
                "sites.",
                "Use wider lanes, or smaller groups.",
            )

    @property
    def ring_bits(self) -> RingBits:
        """The width of the ring's integers."""
        return RING_BITS

    @property
    def dtype(self) -> np.dtype[np.uint64]:
        """The array type of the ring."""
        return np.dtype(np.uint64)

    @property
    def fractional_bits(self) -> int:
        """Those of the exact values."""
        return self.exact.fractional_bits

    @property
    def largest(self) -> int:
        """That of the exact values."""
        return self.exact.largest

    @property
    def bounded_from(self) -> int:
        """The first exact one. Of packed elements every bit pattern can be honest.

        What an honest sum of them can't be is long: `rounding` says how far beyond the norm.
        """
        return self.elements(self.first)

    @property
    def steps(self) -> int:
        """Whole steps on either side of zero that one site's value may have."""
        return steps_each_way(self.lane_bits, self.exact.cohort)

    @property
    def resolution(self) -> float:
        """A step, in the values' own unit, before the rotation is undone."""
        return self.norm * _SLACK * flatness(self.first, self.exact.cohort + 1) / self.steps

    def elements(self, length: int) -> int:
        """How many ring elements a vector of ``length`` takes."""
        return ring_elements(self.first, length, self.lane_bits)

    def encode(
        self, values: FloatArray, rounding_key: bytes, *, out: RingArray | None = None
    ) -> RingArray:
        """Encode ``values``, shape (length,), into ``out`` or a new array, shape (elements,).

        ``rounding_key``, 32 random bytes, decides what is rounded up; it is used once. Raises as
        `FixedPoint.encode`, which says neither which value nor where.
        """
        if values.ndim != 1 or len(values) < self.first:
            raise WardroundError(
                "WR-SECAGG-004",
                "The array given as a contribution is shorter than its lanes.",
                "This is a fault in the program that calls; report it.",
            )
        if out is None:
            out = np.empty(self.elements(len(values)), np.uint64)
        packed = self.elements(self.first)
        self.exact.encode(values[self.first :], out=out[packed:])
        vector = values[: self.first].astype(np.float64)
        if not float(np.linalg.norm(vector)) <= self.exact.bound:  # also catches what is not finite
            raise WardroundError(
                "WR-SECAGG-005",
                "A contribution holds a value that is not finite or exceeds the task's bound.",
                "Look for a computation that diverged, or a feature outside the range that "
                "the study declares for it.",
            )
        rotate(vector, self.seed)
        self._pack(vector, rounding_key, out[:packed])
        return out

    def decode(self, ring: RingArray) -> NDArray[np.float64]:
        """The real numbers, shape (length,), that a sum of encodings stands for."""
        packed = self.elements(self.first)
        if ring.ndim != 1 or ring.dtype != np.uint64 or len(ring) < packed:
            raise WardroundError(
                "WR-SECAGG-004",
                "The array given as a total has another shape or type than its encoding.",
                "This is a fault in the program that calls; report it.",
            )
        out = np.empty(self.first + len(ring) - packed, np.float64)
        out[self.first :] = self.exact.decode(ring[packed:])
        vector = out[: self.first]
        self._unpack(ring[:packed], vector)
        vector *= self.resolution
        rotate_back(vector, self.seed)
        return out

    def _pack(self, vector: NDArray[np.float64], key: bytes, out: RingArray) -> None:
        """Round at random, clamp, and put side by side: an element is the sum of q_j 2^(bits j)."""
        lanes, step = RING_BITS // self.lane_bits, self.resolution
        stream = Keystream(key)
        chance = memoryview(bytearray(4 * _CHUNK))
        for start in range(0, len(vector), _CHUNK):
            chunk = vector[start : start + _CHUNK] / step
            stream.read_into(chance[: 4 * len(chunk)], 4 * start)
            np.clip(chunk, -self.steps, self.steps, out=chunk)
            chunk += np.frombuffer(chance[: 4 * len(chunk)], "<u4") * 2.0**-32
            steps = np.zeros(-(-len(chunk) // lanes) * lanes, np.int64)
            steps[: len(chunk)] = np.floor(chunk)
            table = steps.reshape(-1, lanes)
            element = table[:, -1].copy()
            for lane in range(lanes - 2, -1, -1):
                element <<= self.lane_bits
                element += table[:, lane]
            out[start // lanes : start // lanes + len(element)] = element.view(np.uint64)

    def _unpack(self, ring: RingArray, out: NDArray[np.float64]) -> None:
        lanes, shift = RING_BITS // self.lane_bits, RING_BITS - self.lane_bits
        chunk = _CHUNK // lanes
        for start in range(0, len(ring), chunk):
            element = ring[start : start + chunk].view(np.int64).copy()
            steps = np.empty((len(element), lanes), np.int64)
            for lane in range(lanes):
                low = element << shift >> shift  # with its sign
                steps[:, lane] = low
                element = (element - low) >> self.lane_bits
            place = out[start * lanes : (start + len(element)) * lanes]
            place[:] = steps.ravel()[: len(place)]
