"""Where a protected packet lies until its round is over, to be sent again byte for byte.

Nothing that is unprotected comes here: the door masks first.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES
from wardround.ids import Digest, RoundId
from wardround.store.room import needs_room
from wardround.trust.canonical import digest
from wardround.trust.keys import sync_folder


def room(folder: Path, round_: RoundId, size: int) -> Path:
    """Where a packet of ``size`` bytes will lie, with room for it.

    It is written over the packet of the round before: fresh pages of a file cost more than
    masking what they hold. Raises WR-SITE-015, or WR-STORE-004 when the disk is full.
    """
    path = folder / f"{round_}.packet"
    try:
        with needs_room(path):
            for older in folder.glob("*.packet"):
                older.rename(path)  # a new round means that earlier ones are over
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise _unwritten() from error
    return path


def write(path: Path, data: memoryview) -> tuple[bytes, ...]:
    """Write a packet durably and return the SHA-256 of each of its parts; raises as `room`."""
    parts = []
    try:
        descriptor = os.open(path, os.O_WRONLY)
        with needs_room(path), os.fdopen(descriptor, "wb") as file:
            for start in range(0, len(data), PART_BYTES):
                part = data[start : start + PART_BYTES]
                parts.append(sha256(part).digest())
                file.write(part)
            file.truncate()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritten() from error
    return tuple(parts)


def payload_digest(path: Path) -> Digest | None:
    """The digest over the parts of a spooled payload; None when it can't be read."""
    try:
        with path.open("rb") as file:
            parts = iter(lambda: file.read(PART_BYTES), b"")
            return digest(b"".join(sha256(part).digest() for part in parts))
    except OSError:
        return None


def _unwritten() -> WardroundError:
    return WardroundError(
        "WR-SITE-015",
        "The packet can't be written to the spool.",
        "The agent refuses; nothing is lost. Tell the study's coordinator.",
    )
