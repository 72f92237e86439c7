"""What this host enforces, found by confining a process for a moment and trying to break out."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from wardround.errors import WardroundError
from wardround.sandbox.conversation import begin
from wardround.sandbox.limits import HostLimits, Limit, Limits


def probe(limits: Limits | None = None, *, use_bubblewrap: bool = True) -> HostLimits:
    """Confine a short-lived child exactly as a worker and report what held, and why the rest not.

    Takes about a process start. Never raises for what the host can't do: if not even a process
    starts, everything is missing. May be called with or without a running event loop.
    """
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(asyncio.run, _probe(limits or Limits(), use_bubblewrap))
        return found.result()


async def _probe(limits: Limits, use_bubblewrap: bool) -> HostLimits:
    try:
        conversation, report = await begin(None, limits, use_bubblewrap=use_bubblewrap)
    except WardroundError as error:
        return HostLimits(frozenset(), dict.fromkeys(Limit, error.problem))
    conversation.end()
    return report
