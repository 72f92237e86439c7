"""What the machine under a service is like: versions, clock, disk, database.

Shared by both halves. Nothing here changes anything but for a file that is written, synced and
removed again.
"""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
import shutil
import sqlite3
import ssl
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from wardround import __version__
from wardround.checkup import SkippedError, Warned
from wardround.errors import WardroundError
from wardround.store.database import Migration
from wardround.store.room import wants_room

LEAST_FREE_BYTES, FEW_FREE_BYTES = 64 << 20, 1 << 30
SLOW_SYNC_S = 0.1
_SYNCS = 8
_IN_MEMORY = ("tmpfs", "ramfs")
_STA_UNSYNC = 0x40
_TIMEX_BYTES = 256
"""More than ``struct timex`` of adjtimex(2) has on any platform; ``status`` lies at 5 longs."""


def versions() -> str:
    """What this runs on; raises WR-CLI-112 where TLS 1.3 is missing."""
    if not ssl.HAS_TLSv1_3:
        raise WardroundError(
            "WR-CLI-112",
            f"{ssl.OPENSSL_VERSION} of this Python does not speak TLS 1.3.",
            "Use a Python that is built with OpenSSL 1.1.1 or later.",
        )
    return (
        f"Wardround {__version__}, Python {platform.python_version()}, "
        f"{' '.join(ssl.OPENSSL_VERSION.split()[:2])}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.release().split('-')[0]}"
    )


def clock() -> str | Warned:
    """Whether the kernel says that something keeps its clock right (adjtimex(2))."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = libc.adjtimex(timex)
    except (OSError, AttributeError) as error:
        raise SkippedError("this system has no adjtimex") from error
    if state < 0:
        raise SkippedError("this system does not say how its clock is kept")
    long_bytes = ctypes.sizeof(ctypes.c_long)
    # modes (padded to a long), offset, freq, maxerror, esterror, status
    status = int.from_bytes(timex.raw[5 * long_bytes : 5 * long_bytes + 4], "little")
    if status & _STA_UNSYNC:
        return Warned(
            WardroundError(
                "WR-CLI-113",
                "The kernel says that nothing keeps this machine's clock right.",
                "Run chrony or another NTP client; in a container it runs on the host, which "
                "this may not see.",
            )
        )
    return "kept by NTP"


def disk(folder: Path) -> str | Warned:
    """Whether there is room; raises WR-CLI-114 where there is next to none."""
    free = shutil.disk_usage(folder).free
    words = f"{free / (1 << 30):.1f} GiB free"
    if free >= FEW_FREE_BYTES:
        return words
    few = WardroundError(
        "WR-CLI-114",
        f"The disk has only {free >> 20} MiB left.",
        "Make room: state is written before anything is sent, so a full disk stops the work.",
        path=str(folder),
    )
    if free < LEAST_FREE_BYTES:
        raise few
    return Warned(few)


def durability(folder: Path) -> str | Warned:
    """Write and sync a small file some times; raises WR-CLI-115 where that can't be done."""
    path = folder / f".doctor-{secrets.token_hex(4)}"
    took: list[float] = []
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            for _ in range(_SYNCS):
                begun = time.perf_counter()
                os.write(descriptor, bytes(4096))
                os.fsync(descriptor)
                took.append(time.perf_counter() - begun)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        raise WardroundError(
            "WR-CLI-115",
            f"Nothing can be written durably here: {error.strerror}.",
            "Let the service's user write to the folder, on a disk with room that is not mounted "
            "read-only.",
            path=str(folder),
        ) from error
    typical = statistics.median(took)
    kind = _file_system(folder)
    if kind in _IN_MEMORY:
        return Warned(
            WardroundError(
                "WR-CLI-116",
                f"The folder lies in memory ({kind}): everything is gone after a restart.",
                "Move it to a disk; what was answered must never be forgotten.",
                path=str(folder),
            )
        )
    if typical > SLOW_SYNC_S:
        return Warned(
            WardroundError(
                "WR-CLI-117",
                f"A durable write takes {typical * 1000:.0f} ms here; each step of a round waits "
                "for several.",
                "Put the folder on a local disk, best an SSD, rather than on a network drive.",
                path=str(folder),
            )
        )
    return f"fsync in {typical * 1000:.1f} ms" + (f" on {kind}" if kind else "")


def _file_system(folder: Path) -> str:
    """The kind of file system, by the longest mount point above; empty if it can't be known."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    here = folder.resolve()
    found = ("", "")
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        if here.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def database(path: Path, migrations: Sequence[Migration]) -> str | Warned:
    """Whether a state database is whole and of this version, without changing it.

    Raises WR-CLI-118 for a damaged one and WR-STORE-002 for one of a newer version. Skipped where
    it is busy, or a full disk keeps SQLite from making the files beside it: that is no damage.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as line:
            integrity = line.execute("PRAGMA integrity_check(1)").fetchone()
            row = line.execute("SELECT version FROM schema_version").fetchone()
    except sqlite3.DatabaseError as error:
        if wants_room(error):
            raise SkippedError("the disk takes no more, and opening it needs a little") from error
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise SkippedError("the database is busy; try again") from error
        raise _damaged(path) from error
    if integrity != ("ok",) or row is None:
        raise _damaged(path)
    (version,) = row
    known = len(migrations)
    if version > known:
        raise WardroundError(
            "WR-STORE-002",
            f"The state database has schema version {version}, newer than the {known} that this "
            "program knows.",
            "Run the version of Wardround that wrote it, or a later one.",
            path=str(path),
        )
    if version < known:
        return Warned(
            WardroundError(
                "WR-CLI-119",
                f"The state database has schema version {version}; this program brings it to "
                f"{known} when the service is next started.",
                "Back the folder up before that, if you have to be able to go back.",
                path=str(path),
            )
        )
    return f"whole, schema version {version}"


def _damaged(path: Path) -> WardroundError:
    return WardroundError(
        "WR-CLI-118",
        "The state database is damaged, or can't be read by this user.",
        "Look as the service's user. If it stays so, stop the service and restore state.db from a "
        "backup; don't delete it, since it holds what was already answered.",
        path=str(path),
    )
