"""Exact draws of symmetric integers at the speed of floating point: lazy inversion.

An element is a sign and the quantile of a uniform number U in (0, 1/2) with infinitely many bits,
of which 63 are drawn first. Its magnitude is the largest k with U < P(X >= k). Floating point
proposes it, together with a bound on its own error; where that bound doesn't settle which integer
it is, P(X >= k) is computed in integers of as many bits as needed and U gets more bits, until it
does. So floating point decides nothing that it could get wrong: there is no distance to the
distribution that is named, provided that the bounds hold (each law says what its bound rests on).

Lazy evaluation of this kind goes back to Flajolet and Saheb (1986) and Karney (2016); floating
point that is trusted instead is what Mironov (2012) attacked.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.randomness import NoiseSource

FIRST_BITS = 64
"""Bits drawn for every element: one of sign and 63 of U, so U is known up to 2^-64."""

CHUNK = 8192
"""Elements that are worked on at a time, so that buffers stay in a core's own cache."""

MAGNITUDE = np.int64((1 << 63) - 1)
_FULL_BOUND = 2.0**-40
"""Below this U the element is searched for in integers alone."""


class TailLaw(Protocol):
    """A symmetric distribution over the integers, known exactly by its upper tail."""

    def tail(self, k: int, bits: int) -> int:
        """P(X >= ``k``) times 2^``bits``, at most 1 away from the exact value; k is 1 or more."""
        ...


class Law(TailLaw, Protocol):
    """A `TailLaw` whose quantiles floating point knows well.

    A quantile y stands for the integer rint(y).
    """

    @property
    def smallest(self) -> float:
        """The uniform number from which on `error` holds."""
        ...

    @property
    def error(self) -> float:
        """What no quantile of a uniform number from ``smallest`` to 1/2 is wrong by."""
        ...

    def quantiles(self, uniform: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """Write the quantiles to ``out``, and whatever over ``uniform``; both shape (n,)."""
        ...

    def errors(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each quantile is at most wrong by, shape (n,), for ``uniform`` of at least 2^-40.

        Includes that ``uniform`` is only the middle of an interval 2^-64 wide.
        """
        ...


def draw(source: NoiseSource, law: Law, size: int, margin: float = 0.0) -> NDArray[np.int64]:
    """Draw integers from ``law``, shape (size,).

    A positive ``margin`` is added to every error bound. More elements then take the slow path and
    nothing else may change, which is how tests know that both paths agree.
    """
    result = np.empty(size, np.int64)
    room = min(size, CHUNK)
    bits, magnitudes = np.empty(room, np.uint64), np.empty(room, np.int64)
    uniforms, quantiles = np.empty(room, np.float64), np.empty(room, np.float64)
    far, doubtful = np.empty(room, np.float64), np.empty(room, np.bool_)
    for start in range(0, size, CHUNK):
        n = min(CHUNK, size - start)
        raw, whole, u, y = bits[:n], magnitudes[:n], uniforms[:n], quantiles[:n]
        source.fill(raw)
        np.bitwise_and(raw.view(np.int64), MAGNITUDE, out=whole)
        np.multiply(whole, 2.0**-64, out=u)
        np.add(u, 2.0**-65, out=u)
        beyond = np.flatnonzero(u < law.smallest) if u.min() < law.smallest else None
        law.quantiles(u, y)
        np.rint(y, out=u)
        np.subtract(y, u, out=far[:n])
        np.abs(far[:n], out=far[:n])
        np.greater_equal(far[:n], 0.5 - law.error - margin, out=doubtful[:n])
        if beyond is not None:
            doubtful[beyond] = True
        for index in np.flatnonzero(doubtful[:n]).tolist():
            u[index] = _settled(source, law, int(whole[index]), margin)
        np.copysign(u, raw.view(np.float64), out=u)  # the top bit is the sign
        np.copyto(result[start : start + n], u, casting="unsafe")
    return result


def _settled(source: NoiseSource, law: Law, uniform: int, margin: float) -> float:
    """Find the magnitude for a ``uniform`` times 2^-64 that the common bound didn't settle."""
    value = np.array([uniform * 2.0**-64 + 2.0**-65])
    bound = float(law.errors(value)[0]) + margin if value[0] >= _FULL_BOUND else math.inf
    quantile = np.empty(1)
    law.quantiles(value, quantile)
    y = float(quantile[0])
    nearest = float(np.rint(y))
    if abs(y - nearest) < 0.5 - bound:
        return nearest
    lazy = LazyUniform(source, law, uniform)
    if bound < 0.5:
        low = math.floor(y)
        return float(low + 1 if lazy.reaches(low + 1) else low)
    return float(lazy.magnitude(max(0, math.floor(y))))


def whole_steps(probability: tuple[int, int, int, int], bits: int) -> int:
    """Return an mpmath number times 2^``bits``, rounded to nearest and so within 1 of the exact."""
    from mpmath import libmp

    return (int(libmp.to_fixed(probability, bits + 1)) + 1) >> 1


class LazyUniform:
    """A uniform number whose bits are drawn as they are needed, compared with a law's tail."""

    def __init__(self, source: NoiseSource, law: TailLaw, first: int) -> None:
        self._source = source
        self._law = law
        self._known = first
        self._bits = FIRST_BITS

    def reaches(self, k: int) -> bool:
        """Whether the magnitude is ``k`` or more."""
        if k <= 0:
            return True
        while True:
            edge = self._law.tail(k, self._bits)
            if self._known + 1 <= edge - 1:
                return True
            if self._known >= edge + 1:
                return False
            self._known = self._known << 64 | self._source.more()
            self._bits += 64

    def magnitude(self, guess: int) -> int:
        """The magnitude, searched for in doubling steps from ``guess``."""
        low, step = guess, 1
        while not self.reaches(low):
            low, step = max(0, low - step), 2 * step
        high, step = low + 1, 1
        while self.reaches(high):
            low, high, step = high, high + step, 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.reaches(middle) else (low, middle)
        return low
