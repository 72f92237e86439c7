"""A disk that takes no more: one code for it, wherever it is met.

Whoever meets it at work waits and tries again; a start or a single command ends. What was not
committed is sent or computed again, so nothing is lost, and everything goes on when there is room.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from wardround.errors import WardroundError

Done = TypeVar("Done")

NO_ROOM = "WR-STORE-004"

POLL_S = 5.0
"""How often to look whether a full disk has room again."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE_FULL = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE"})


def no_room(path: object = None) -> WardroundError:
    """The error that says so; ``path`` is what was being written."""
    return WardroundError(
        NO_ROOM,
        "The disk takes no more: it is full, or a quota is used up.",
        "Make room on it. A service that is at work waits and goes on by itself; what ended with "
        "this, start again. Nothing is lost.",
        path=None if path is None else str(path),
    )


@contextmanager
def needs_room(path: Path) -> Iterator[None]:
    """Raise WR-STORE-004 where a file of this block finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_room(path) from error
        raise


def wants_room(error: BaseException | None) -> bool:
    """Whether this error, or what caused it, will be gone when there is room on the disk."""
    while error is not None:
        if isinstance(error, WardroundError) and error.code == NO_ROOM:
            return True
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, sqlite3.Error):
            return getattr(error, "sqlite_errorname", "") in _SQLITE_FULL
        error = error.__cause__
    return False


async def once_there_is_room(
    work: Callable[[], Awaitable[Done]], tell: Callable[[WardroundError], None]
) -> Done:
    """Do ``work``, again whenever the disk was full in the middle of it; ``tell`` of each time."""
    while True:
        try:
            return await work()
        except (WardroundError, OSError) as error:
            if not wants_room(error):
                raise
        tell(no_room())
        await asyncio.sleep(POLL_S)
