"""Which signed requests were seen already: each is good once.

Memory is bounded per sender. When a sender's share is full its requests are refused rather than
its nonces forgotten: a flood by one agent hurts that agent only, and never opens a replay.
"""

from __future__ import annotations

import threading
from collections import deque

from wardround.errors import WardroundError


class ReplayCache:
    """Nonces of the last ``2 * window_s`` seconds, by sender. Safe to share between threads.

    A restart empties it; a coordinator that restarts passes its start time as ``not_before``, so
    that what was signed before it, and might have been seen, is refused.
    """

    def __init__(
        self, *, window_s: int = 300, per_sender: int = 100_000, not_before: int = 0
    ) -> None:
        self._keep_s = 2 * window_s
        self._per_sender = per_sender
        self._floor = not_before
        self._seen: dict[str, set[str]] = {}
        self._order: deque[tuple[int, int, str, str]] = deque()
        self._lock = threading.Lock()

    @property
    def remembered(self) -> int:
        """How many requests are kept. (No ``__len__``: an empty cache must not be falsy.)"""
        return len(self._order)

    def admit(self, sender: str, nonce: str, created: int, now: int) -> None:
        """Remember a request, or raise WR-TRUST-045 (replay) or WR-TRUST-046 (too many).

        ``created`` and ``now`` are Unix times in seconds; the caller has checked that they are
        within the window of each other, and the signature.
        """
        with self._lock:
            self._forget(now)
            nonces = self._seen.setdefault(sender, set())
            if nonce in nonces or created < self._floor:
                raise WardroundError(
                    "WR-TRUST-045",
                    "A request was seen before, or was signed before this coordinator started.",
                    "Sign and send it afresh; the agent does so by itself.",
                )
            if len(nonces) >= self._per_sender:
                raise WardroundError(
                    "WR-TRUST-046",
                    "An agent sent more requests within ten minutes than are kept track of.",
                    "Wait some minutes; look for two agents that run under one identity.",
                )
            nonces.add(nonce)
            self._order.append((now, created, sender, nonce))

    def _forget(self, now: int) -> None:
        """Drop what is older than two windows: outside the window however its clock was off."""
        while self._order and now - self._order[0][0] > self._keep_s:
            _, created, sender, nonce = self._order.popleft()
            # Should the clock be set back later, what was forgotten stays refused.
            self._floor = max(self._floor, created + 1)
            nonces = self._seen[sender]
            nonces.discard(nonce)
            if not nonces:
                del self._seen[sender]
