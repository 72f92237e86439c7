"""Waking everyone who waits for something to change."""

from __future__ import annotations

import asyncio


class Changed:
    """A broadcast: `notify` ends every `wait_for` that is under way."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Something has changed."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait_for(self, timeout_s: float) -> None:
        """Return at the next change, or after this long."""
        event = self._event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
