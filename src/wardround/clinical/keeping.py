"""Keeps a warehouse current: by schedule, and as soon as a server says that something changed.

A server's notification is a hint and nothing more. What changed is asked of the server as always,
so that a notification that is lost, forged or late costs a little time and no truth.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeAlias

from wardround.clinical.fhir import FhirServer, Subscription, due
from wardround.clinical.fields import FhirField
from wardround.clinical.mapping import FhirServerSource
from wardround.clinical.opening import criteria
from wardround.clinical.warehouse import Refreshed, Warehouse
from wardround.errors import WardroundError

REST: Final = timedelta(seconds=10)
"""How long to rest after a reading, however often a server knocks."""

RETRY: Final = timedelta(minutes=1)
"""How long to wait after the first failure; after each further one twice as long."""


REMEMBERED: Final = timedelta(days=1)
"""How long a server is asked to send notifications: if nobody ends them, they end by themselves."""

RENEWED: Final = REMEMBERED / 2
"""How long after asking it is asked anew: as long again is left, should the server be down."""


class Clock(Protocol):
    """Time, as the one who keeps a warehouse needs it."""

    def now(self) -> datetime:
        """The time of day, in UTC."""

    async def wait(self, hint: asyncio.Event, seconds: float) -> None:
        """Return once ``hint`` is set, or after ``seconds``."""


class SystemClock:
    """Time as this machine has it."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    async def wait(self, hint: asyncio.Event, seconds: float) -> None:
        """Return once ``hint`` is set, or after ``seconds``."""
        with suppress(TimeoutError):
            await asyncio.wait_for(hint.wait(), seconds)


@dataclass(frozen=True)
class Kept:
    """One attempt to bring a warehouse up to date: what it read, or why it failed."""

    at: datetime
    refreshed: Refreshed | None = None
    failure: WardroundError | None = None


class Keeper:
    """Refreshes ``warehouse`` every ``every``, and soon after each :meth:`hint`.

    ``tell`` hears of each attempt. A failed one leaves the warehouse as it was, and is made again.
    Studies go on reading meanwhile, from a snapshot.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        every: timedelta,
        *,
        clock: Clock | None = None,
        tell: Callable[[Kept], None] = lambda _kept: None,
    ) -> None:
        self._warehouse = warehouse
        self._every = every
        self._clock = clock or SystemClock()
        self._tell = tell
        self._hint = asyncio.Event()
        self._last: datetime | None = None
        self._failures = 0

    def hint(self) -> None:
        """Say that something may have changed: for the receiver of notifications, in its loop."""
        self._hint.set()

    async def run(self) -> None:
        """Keep the warehouse current until cancelled."""
        while True:
            now = self._clock.now()
            if self._hint.is_set() or due(self._last, self._pause, now):
                # Before reading: what changes while it goes on is read once more.
                self._hint.clear()
                await self._refresh(now)
                await self._clock.wait(asyncio.Event(), REST.total_seconds())
            else:
                assert self._last is not None
                left = self._last + self._pause - now
                await self._clock.wait(self._hint, left.total_seconds())

    async def _refresh(self, now: datetime) -> None:
        self._last = now
        try:
            refreshed = await asyncio.to_thread(self._warehouse.refresh)
        except WardroundError as error:
            self._failures += 1
            self._tell(Kept(now, failure=error))
        else:
            self._failures = 0
            self._tell(Kept(now, refreshed))

    @property
    def _pause(self) -> timedelta:
        """How long after the last attempt the next one is due."""
        if not self._failures:
            return self._every
        return min(self._every, RETRY * (1 << min(self._failures - 1, 20)))


Wanted: TypeAlias = Callable[[str], Sequence[Subscription]]
"""The Subscriptions that a server is asked for, given the instant at which they end."""


class Subscriber:
    """Has servers notify this machine, and asks them anew before they forget it.

    Each server is talked to by one thread at a time. ``tell`` hears of each failure to renew.
    """

    def __init__(
        self,
        servers: Sequence[tuple[FhirServer, Wanted]],
        *,
        clock: Clock | None = None,
        tell: Callable[[WardroundError], None] = lambda _error: None,
    ) -> None:
        self._servers = servers
        self._clock = clock or SystemClock()
        self._tell = tell
        self._lock = threading.Lock()
        self._asked: list[tuple[FhirServer, str]] = []
        self._over = False

    def __len__(self) -> int:
        return len(self._asked)

    def subscribe(self) -> None:
        """Ask every server for new Subscriptions, then end those that they replace.

        Raises:
            WardroundError: as :func:`~wardround.clinical.fhir.subscription.subscribe`; then those
                that were there before still are.
        """
        with self._lock:
            if self._over:
                return
            end = (self._clock.now() + REMEMBERED).strftime("%Y-%m-%dT%H:%M:%SZ")
            before = self._asked
            asked: list[tuple[FhirServer, str]] = []
            try:
                for server, wanted in self._servers:
                    for one in wanted(end):
                        asked.append((server, server.subscribe(one)))
            except BaseException:
                self._forget(asked)
                raise
            self._asked = asked
            self._forget(before)

    async def renew(self) -> None:
        """Subscribe anew in time, until cancelled; after a failure, again and again."""
        failures = 0
        while True:
            pause = min(RENEWED, RETRY * (1 << min(failures - 1, 20))) if failures else RENEWED
            await self._clock.wait(asyncio.Event(), pause.total_seconds())
            try:
                await asyncio.to_thread(self.subscribe)
            except WardroundError as error:
                failures += 1
                self._tell(error)
            else:
                failures = 0

    def end(self) -> None:
        """Have every server forget this machine, and ask none any more."""
        with self._lock:
            self._over = True
            self._forget(self._asked)
            self._asked = []

    def _forget(self, asked: Sequence[tuple[FhirServer, str]]) -> None:
        for server, name in asked:
            with suppress(WardroundError):  # it ends by itself within a day
                server.unsubscribe(name)


def subscriptions(
    warehouse: Warehouse, source: FhirServerSource, endpoint: str, secret: str, *, end: str
) -> list[Subscription]:
    """What to ask ``source`` to be told about: what its mapped fields are found by.

    ``endpoint`` is the receiver's address on this machine, ``end`` when the server shall forget
    it. Raises as :class:`~wardround.clinical.fhir.Subscription`.
    """
    fields = [
        field
        for owner, field in warehouse.fields.values()
        if owner.name == source.name and isinstance(field, FhirField)
    ]
    return [Subscription(kind, endpoint, secret, some, end) for kind, some in criteria(fields)]
