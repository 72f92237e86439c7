"""Whether keys are kept as keys must be, and how long certificates still hold."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from wardround.checkup import Warned
from wardround.errors import WardroundError

_OTHERS = 0o077


def permissions(folder: Path, secrets: Iterable[Path]) -> str:
    """That ``folder`` and the files in it that are secret belong to this user alone.

    Raises WR-CLI-120, naming the first that doesn't.
    """
    present = [path for path in secrets if path.exists()]
    for path in (folder, *present):
        status = path.stat()
        if status.st_mode & _OTHERS:
            mode = "700" if path.is_dir() else "600"
            raise WardroundError(
                "WR-CLI-120",
                f"Other users of this machine may use what is in {path.name}.",
                f"Run 'chmod {mode} {path}'; if others had access to this machine, make new keys.",
                path=str(path),
            )
        if status.st_uid != os.geteuid():
            raise WardroundError(
                "WR-CLI-120",
                f"{path.name} belongs to another user than the one who asks.",
                "Run this as the user that the service runs as, or give the folder to that user.",
                path=str(path),
            )
    return f"{len(present)} keys, this user's alone"


def lifetime(
    what: str, ends: datetime, now: datetime, early: timedelta, remedy: str, path: Path
) -> str | Warned:
    """How long a certificate still holds; a warning from ``early`` before its end on.

    Raises WR-CLI-121 when it has ended.
    """
    left = ends - now
    if left > early:
        return f"{what} holds for {words(left)}"
    ended = left <= timedelta()
    said = WardroundError(
        "WR-CLI-121",
        f"{what[0].upper()}{what[1:]} ended {words(-left)} ago."
        if ended
        else f"{what[0].upper()}{what[1:]} ends in {words(left)}.",
        remedy,
        path=str(path),
    )
    if ended:
        raise said
    return Warned(said)


def words(span: timedelta) -> str:
    """A length of time for people: its largest unit that says something."""
    minutes = span.total_seconds() / 60
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    if minutes < 72 * 60:
        return f"{minutes / 60:.0f} hours"
    return f"{minutes / 1440:.0f} days"
