"""A random rotation that everybody can do and undo: it makes all coordinates about equally large.

The randomised Hadamard transform (Ailon and Chazelle 2006; for federated learning Konecny et al.
2016, Suresh et al. 2017): flip signs by public pseudo-random bits, then multiply by the orthonormal
Hadamard matrix. A vector whose length m is no power of two is transformed twice, its first B and
then its last B elements, with B the largest power of two up to m: still a rotation of m
coordinates, so that nothing is padded and no more numbers are opened than there are.

Rotations are linear: the sum of rotated vectors is the rotated sum. Undoing one uses additions,
subtractions and multiplications of float64 in one fixed order, so an auditor gets the same bits.
"""

from __future__ import annotations

import math
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray

_IN_CACHE = 1 << 14
"""Elements transformed at a time, so that they stay in a core's own cache."""

_LN2_UP = 0.6931471805599454
"""The natural logarithm of two, rounded up: no library's logarithm decides what is sent."""

_CHANCE_BITS = 30


def block_size(length: int) -> int:
    """The largest power of two up to ``length``."""
    return 1 << (length.bit_length() - 1)


def flatness(length: int, vectors: int) -> float:
    """What share of its norm a coordinate of a rotated vector exceeds, hardly ever.

    For any ``vectors`` vectors that do not depend on the seed, and all their coordinates together,
    the probability is at most 2^-30. A coordinate is a sum of x_j / sqrt(B) under random signs, so
    it exceeds t |x| / sqrt(B) with probability at most 2 exp(-t^2 / 2) (Hoeffding 1963); no
    coordinate ever exceeds |x|.
    """
    bits = 1 + _CHANCE_BITS + length.bit_length() + vectors.bit_length()
    return min(1.0, math.sqrt(2.0 * bits * _LN2_UP / block_size(length)))


def rotate(values: NDArray[np.float64], seed: bytes) -> None:
    """Rotate a vector, shape (m,), in place."""
    size = block_size(len(values))
    factor = 1.0 / math.sqrt(size)
    for part, signs in _stages(values, seed):
        part *= signs
        hadamard(part)
        part *= factor


def rotate_back(values: NDArray[np.float64], seed: bytes) -> None:
    """Undo `rotate`, in place."""
    size = block_size(len(values))
    factor = 1.0 / math.sqrt(size)
    for part, signs in reversed(_stages(values, seed)):
        hadamard(part)
        part *= signs
        part *= factor


def hadamard(values: NDArray[np.float64]) -> None:
    """Multiply by the Hadamard matrix of 1 and -1, in place; the length is a power of two.

    Of a block of up to 2^14 elements, with strides of the upper half of its bits upwards, then of
    the lower half; after that with the strides beyond. Whole numbers stay exact up to 2^53.
    """
    block = min(len(values), _IN_CACHE)
    rows = 1 << ((block.bit_length() - 1) // 2)
    for start in range(0, len(values), block):
        table = values[start : start + block].reshape(rows, -1)
        _butterflies(table)
        columns = np.ascontiguousarray(table.T)
        _butterflies(columns)
        table[:] = columns.T
    if len(values) > block:
        table = values.reshape(-1, block)
        width = max(1, _IN_CACHE // len(table))
        for start in range(0, block, width):
            slab = np.ascontiguousarray(table[:, start : start + width])
            _butterflies(slab)
            table[:, start : start + width] = slab


def _butterflies(table: NDArray[np.float64]) -> None:
    """The transform of every column."""
    half = 1
    while half < len(table):
        pairs = table.reshape(len(table) // (2 * half), 2, half, -1)
        first, second = pairs[:, 0], pairs[:, 1]
        difference = first - second
        first += second
        second[:] = difference
        half *= 2


def _stages(
    values: NDArray[np.float64], seed: bytes
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The parts to transform one after the other, each with its signs."""
    size = block_size(len(values))
    parts = [values[:size]] if size == len(values) else [values[:size], values[-size:]]
    return [(part, _signs(seed + bytes([stage]), size)) for stage, part in enumerate(parts)]


def _signs(seed: bytes, length: int) -> NDArray[np.float64]:
    stream = shake_256(b"wardround rotation v1 " + seed).digest(-(-length // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=length)
    return 1.0 - 2.0 * bits.astype(np.float64)
