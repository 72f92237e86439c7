"""Waking whoever waits for something to change, and of many who wait only those it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable


class Changed:
    """A broadcast: `notify` ends every `wait_for` that is under way, and some of `wait_until`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._asleep: dict[Hashable, _Sleepers] = {}

    def notify(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = asyncio.Event()
        for name, asleep in [*self._asleep.items()]:
            if asleep.wanted():
                del self._asleep[name]
                asleep.wake()

    def wake_all(self) -> None:
        """Wake everyone, wanted or not."""
        asleep, self._asleep = self._asleep, {}
        for one in asleep.values():
            one.wake()
        self.notify()

    async def wait_for(self, timeout_s: float) -> None:
        """Return at the next change, or after this long."""
        event = self._event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass

    async def wait_until(
        self, name: Hashable, wanted: Callable[[], bool], timeout_s: float
    ) -> None:
        """Return at the next change after which ``wanted`` holds, or after this long.

        Those who wait under one ``name`` wait for the same; it is looked at once for all of them.
        A thousand idle sites so cost a change a thousand looks, and not a thousand tasks woken.
        """
        asleep = self._asleep.setdefault(name, _Sleepers(wanted))
        future = asyncio.get_running_loop().create_future()
        asleep.futures.add(future)
        timer = asyncio.get_running_loop().call_later(timeout_s, _end, future)
        try:
            await future
        finally:
            timer.cancel()
            asleep.futures.discard(future)
            if not asleep.futures and self._asleep.get(name) is asleep:
                del self._asleep[name]


class _Sleepers:
    """Who waits for one and the same."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self.wanted = wanted
        self.futures: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        for future in self.futures:
            _end(future)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
