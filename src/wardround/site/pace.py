"""How fast an agent may send and receive: a hospital's line has other work to do.

A token bucket each way. It may be overdrawn, so that whoever takes more than there is waits for it
afterwards; over any time the rate is kept but for a quarter of a second's worth.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_BURST_S = 0.25
_SLICE_S = 0.1
_LEAST_SLICE, _LARGEST_SLICE = 1 << 10, 64 << 10


class TokenBucket:
    """``bytes_s`` bytes a second on average. ``now`` is a clock in seconds."""

    def __init__(
        self,
        bytes_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._bytes_s = bytes_s
        self._now = now
        self._sleep = sleep
        self._tokens = bytes_s * _BURST_S
        self._at = now()

    @property
    def slice_bytes(self) -> int:
        """How much to send at a time, so that a line is used evenly."""
        return max(_LEAST_SLICE, min(_LARGEST_SLICE, int(self._bytes_s * _SLICE_S)))

    def take(self, size: int) -> float:
        """Count ``size`` bytes; return for how many seconds none should follow."""
        now = self._now()
        full = self._bytes_s * _BURST_S
        self._tokens = min(full, self._tokens + (now - self._at) * self._bytes_s) - size
        self._at = now
        return max(0.0, -self._tokens / self._bytes_s)

    async def spend(self, size: int) -> None:
        """Count ``size`` bytes and wait until others may follow."""
        wait_s = self.take(size)
        if wait_s > 0:
            await self._sleep(wait_s)


@dataclass(frozen=True)
class Pace:
    """The limits of one agent, both ways; None where there is none."""

    up: TokenBucket | None = None
    down: TokenBucket | None = None

    @classmethod
    def of_kbit(cls, up: int | None, down: int | None) -> Pace:
        """Limits in kilobits (1,000 bits) a second."""
        return cls(*(None if one is None else TokenBucket(one * 125) for one in (up, down)))


UNLIMITED = Pace()
