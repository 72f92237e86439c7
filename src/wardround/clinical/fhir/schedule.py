"""When a source is to be read again."""

from __future__ import annotations

from datetime import datetime, timedelta


def due(last: datetime | None, every: timedelta, now: datetime) -> bool:
    """Whether a source last read at ``last`` is to be read again at ``now``.

    Also where it was never read, and where ``last`` lies in the future: then a clock was put
    back, and waiting for it to catch up could take years.
    """
    return last is None or not timedelta() <= now - last < every
