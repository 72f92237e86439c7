"""Waiting for the hours in which this hospital computes.

The coordinator is told nothing: to it a hospital outside its hours is late, and after a while
absent. The clock is asked again at least once a minute, so that neither a machine that slept nor a
clock that was set makes the agent miss its opening.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from wardround.site.say import Say
from wardround.study.hours import Hours

LONGEST_NAP_S = 60.0


class OpeningHours:
    """The hospital's ``[hours]`` with a clock; without any, it is always open."""

    def __init__(
        self,
        hours: Hours | None,
        say: Say,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hours = hours
        self._say = say
        self._now = now
        self._sleep = sleep

    def is_open(self) -> bool:
        """Whether tasks are computed at this moment."""
        return self._hours is None or self._hours.is_open(self._now())

    async def wait(self) -> None:
        """Return when it is open, at once if it is; tell the hospital of it otherwise."""
        hours = self._hours
        if hours is None or self.is_open():
            return
        opens = hours.next_opening(self._now())
        self._say("closed", until=opens.isoformat(" ", "minutes"))
        while not self.is_open():
            left = hours.next_opening(self._now()) - hours.local(self._now())
            await self._sleep(min(left.total_seconds(), LONGEST_NAP_S))
        self._say("open")
