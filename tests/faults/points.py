"""Every point at which a party could die: named, counted, and one of them taken.

A point is named by what the party is about to do there, to which table or file, and by the
how-many-th time it is that it does so: a number over all points would be another one as soon as
somebody polls once more. A point lies before each SQL statement, before and after each commit,
before each write of a file and in the middle of it, and before and after each ``fsync``, rename,
removal and making of a name under a party's folder. Whatever a party does with files goes through
the hooks here, whichever helper it uses; what SQLite itself does in between is SQLite's.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import sqlalchemy.event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

from faults.disk import Disk, Image, Loss


class Killed(BaseException):
    """The party that runs this is dead. No handler of ours may catch it."""


@dataclass(frozen=True)
class Place:
    """Which of a party's points: the ``time``-th, from 1, at which it does this to that."""

    kind: str
    to: str
    time: int

    def __str__(self) -> str:
        return f"{self.kind} {self.to} {self.time}".replace("  ", " ")


@dataclass(frozen=True)
class Point:
    """A point that was passed, and whether a power cut there would have taken something."""

    place: Place
    unsynced: bool


@dataclass
class Party:
    """Whoever keeps its state under ``folder``.

    It dies at ``die_at``, after which every operation of its old life fails and ``image`` is what
    its disk holds; with ``again`` it dies once more, after so many points of its next life.
    ``strike`` is called instead of dying where it is set, with the kind of operation, before the
    operation: it may raise what a broken disk would.
    """

    name: str
    folder: Path
    die_at: Place | None = None
    loss: Loss = Loss.NOTHING
    again: int = 0
    on_death: Callable[[], object] = lambda: None
    strike: Callable[[str], object] | None = None
    points: list[Point] = field(default_factory=list)
    """All that were passed, of all lives."""
    deaths: int = 0
    dead: bool = False
    between_lives: bool = False
    image: Image = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.disk = Disk(self.folder)
        self.prefix = f"{self.folder}/"
        self._times: Counter[tuple[str, str]] = Counter()
        self._left = 0

    def point(
        self, kind: str, to: object = "", before_dying: Callable[[], object] = lambda: None
    ) -> None:
        """Count a point, and die there if it is the one; ``to`` is a file, or a table's name."""
        with self.lock:
            if self.dead:
                raise Killed(self.name)
            if self.strike is not None:
                self.strike(kind)
            what = to if isinstance(to, str) else self._generally(to)
            self._times[kind, what] += 1
            place = Place(kind, what, self._times[kind, what])
            self.points.append(Point(place, not self.disk.settled))
            if self._left:
                self._left -= 1
            if place == self.die_at if self.deaths == 0 else self._left == 0 < self.again:
                before_dying()
                self.again, self._left = (0, 0) if self.deaths else (self.again, self.again)
                self.die()
                raise Killed(f"{self.name} at {place}")

    def die(self) -> None:
        """Die now: the disk is left as it is."""
        with self.lock:
            if not self.dead:
                self.image = self.disk.image(self.loss)
                self.dead = True
                self.deaths += 1
                self.on_death()

    def live_again(self) -> None:
        """Put the disk in order for the next life."""
        with self.lock:
            self.between_lives = True
            self.disk.restore(self.image)
            self.dead, self.image, self.between_lives = False, {}, False

    def _generally(self, path: object) -> str:
        """A file's name without what another run would draw otherwise."""
        return _DRAWN.sub("*", f"{path}".removeprefix(self.prefix.rstrip("/")))


_DRAWN = re.compile(
    r"\d{8}T\d{6}-[0-9a-f]{8}(?:\.p\d+)?(?:\.g\d+)?"  # a run, and which group of it
    r"|(?<=spool)-[.\w]+"  # that group's folder
    r"|(?<=\.r\.\d{6}\.\d/)[-a-z]+"  # who is in it
    r"|[0-9a-f]{12,}(?:\.[0-9a-f]{8})?|(?<=\.)[0-9a-f]{8}|tmp\w+"  # digests, and lots
)

_TABLE = re.compile(r"(?:FROM|INTO|UPDATE|TABLE(?: IF NOT EXISTS)?) +\"?(\w+)", re.IGNORECASE)


def _statement(sql: str) -> str:
    """What a statement does, and to which table."""
    table = _TABLE.search(sql)
    return sql.split(maxsplit=1)[0] + (f" {table[1]}" if table else "")


class Hooks:
    """While installed, every operation under a party's folder passes its `Party.point`."""

    def __init__(self, *parties: Party) -> None:
        self._parties = parties
        self._committing = threading.local()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Hook what reaches a disk: SQLAlchemy, and the calls of ``os`` and ``io``."""
        files = {
            os: (
                "open",
                "write",
                "pwrite",
                "fsync",
                "rename",
                "replace",
                "link",
                "mkdir",
                "posix_fallocate",
                "truncate",
            ),
            io: ("open",),
            builtins: ("open",),
        }
        old = [
            (place, name, getattr(place, name)) for place, names in files.items() for name in names
        ]
        old += [(os, name, getattr(os, name)) for name in ("unlink", "remove", "rmdir")]
        commit = DefaultDialect.do_commit
        self._os = {name: call for place, name, call in old if place is os}
        self._open = io.open
        listeners = (
            ("before_cursor_execute", self._statement),
            ("commit", self._commit),
        )
        for place, name, _ in old:
            setattr(place, name, getattr(self, f"_{place.__name__}_{name}"))
        for name, call in listeners:
            sqlalchemy.event.listen(Engine, name, call)
        DefaultDialect.do_commit = self._committed(commit)
        try:
            yield
        finally:
            for place, name, call in old:
                setattr(place, name, call)
            for name, call in listeners:
                sqlalchemy.event.remove(Engine, name, call)
            DefaultDialect.do_commit = commit

    def party_of(self, path: object, dir_fd: int | None = None) -> tuple[Party | None, Path]:
        """Whose file this is, and its whole path."""
        if isinstance(path, int):
            path = str(Path(f"/proc/self/fd/{path}").readlink())
        name = os.fsdecode(path)  # type: ignore[arg-type]
        if dir_fd is not None:
            name = str(Path(f"/proc/self/fd/{dir_fd}").readlink() / name)
        for party in self._parties:
            if f"{name}/".startswith(party.prefix) and not party.between_lives:
                return party, Path(name)
        return None, Path(name)

    # SQL

    def _statement(self, connection: Any, _cursor: object, sql: str, *_rest: object) -> None:
        party = self._owner(connection)
        if party is not None:
            party.point("statement", _statement(sql))

    def _commit(self, connection: Any) -> None:
        party = self._owner(connection)
        self._committing.party = party
        if party is not None:
            party.point("commit")

    def _committed(self, commit: Callable[..., None]) -> Callable[..., None]:
        def do_commit(dialect: DefaultDialect, connection: object) -> None:
            commit(dialect, connection)
            party, self._committing.party = getattr(self._committing, "party", None), None
            if party is not None:
                party.disk.committed()
                party.point("committed")

        return do_commit

    def _owner(self, connection: Any) -> Party | None:
        name = connection.engine.url.database
        return self.party_of(name)[0] if name else None

    # Files

    def _os_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        party, whole = self.party_of(path, dir_fd)
        if party is None or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return self._os["open"](path, flags, mode, dir_fd=dir_fd)
        fresh = not whole.exists()
        if fresh or flags & os.O_TRUNC:
            party.point("create", whole)
            party.disk.will_write(whole)
        descriptor: int = self._os["open"](path, flags, mode, dir_fd=dir_fd)
        if fresh:
            party.disk.created(whole)
        return descriptor

    def _io_open(self, file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if not set(mode) & set("wax+"):
            return self._open(file, mode, *rest, **more)
        party, whole = self.party_of(file)
        if party is None:
            return self._open(file, mode, *rest, **more)
        fresh = not whole.exists()
        if not isinstance(file, int) and (fresh or "w" in mode):
            party.point("create", whole)
            party.disk.will_write(whole)
        opened = self._open(file, mode, *rest, **more)
        if fresh:
            party.disk.created(whole)
        return _File(opened, party)

    _builtins_open = _io_open

    def _os_write(self, descriptor: int, data: Any) -> int:
        return self._written(descriptor, data, lambda part: self._os["write"](descriptor, part))

    def _os_pwrite(self, descriptor: int, data: Any, offset: int) -> int:
        return self._written(
            descriptor, data, lambda part: self._os["pwrite"](descriptor, part, offset)
        )

    def _written(self, descriptor: int, data: Any, write: Callable[[Any], int]) -> int:
        party, whole = self.party_of(descriptor)
        if party is None:
            return write(data)
        party.point("write", whole)
        party.disk.will_write(whole)
        half = memoryview(data).cast("B")[: len(data) // 2]
        party.point("half-written", whole, lambda: write(half))
        return write(data)

    def _os_fsync(self, descriptor: int) -> None:
        party, whole = self.party_of(descriptor)
        if party is None:
            return self._os["fsync"](descriptor)
        party.point("fsync", whole)
        party.disk.synced(whole)  # the disk is simulated, and so is the wait for it
        party.point("fsynced", whole)
        return None

    def _os_posix_fallocate(self, descriptor: int, offset: int, size: int) -> None:
        party, whole = self.party_of(descriptor)
        if party is not None:
            party.point("allocate", whole)
            party.disk.will_write(whole)
        self._os["posix_fallocate"](descriptor, offset, size)

    def _os_truncate(self, path: Any, length: int) -> None:
        party, whole = self.party_of(path)
        if party is not None:
            party.point("truncate", whole)
            party.disk.will_write(whole)
        self._os["truncate"](path, length)

    def _renaming(self, call: str, old: Any, new: Any, **more: Any) -> None:
        party, source = self.party_of(old)
        target = self.party_of(new)[1]
        if party is None:
            return self._os[call](old, new, **more)
        party.point(call, target)
        if source.exists():
            party.disk.will_rename(source, target)
        self._os[call](old, new, **more)
        party.point(f"{call}d", target)
        return None

    def _os_rename(self, old: Any, new: Any, **more: Any) -> None:
        self._renaming("rename", old, new, **more)

    def _os_replace(self, old: Any, new: Any, **more: Any) -> None:
        self._renaming("replace", old, new, **more)

    def _os_link(self, old: Any, new: Any, **more: Any) -> None:
        party, target = self.party_of(new)
        if party is not None:
            party.point("link", target)
        self._os["link"](old, new, **more)
        if party is not None:
            party.disk.linked(target)
            party.point("linked", target)

    def _os_mkdir(self, path: Any, *rest: Any, **more: Any) -> None:
        party, whole = self.party_of(path)
        if party is not None and not whole.exists():
            party.point("mkdir", whole)
        made = not whole.exists()
        self._os["mkdir"](path, *rest, **more)
        if party is not None and made:
            party.disk.made_folder(whole)

    def _removing(self, call: str, path: Any, dir_fd: int | None) -> None:
        party, whole = self.party_of(path, dir_fd)
        if party is not None and whole.exists():
            party.point(call, whole)
            party.disk.will_remove(whole)
        self._os[call](path, dir_fd=dir_fd)
        if party is not None:
            party.point(f"{call}ed", whole)

    def _os_unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._removing("unlink", path, dir_fd)

    _os_remove = _os_unlink

    def _os_rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._removing("rmdir", path, dir_fd)


class _File:
    """A file object whose writes are points, and go to the system at once."""

    def __init__(self, file: Any, party: Party) -> None:
        self._file = file
        self._party = party

    def write(self, data: Any) -> int:
        whole = Path(f"/proc/self/fd/{self._file.fileno()}").readlink()
        self._party.point("write", whole)
        self._party.disk.will_write(whole)
        self._party.point("half-written", whole, lambda: self._put(data[: len(data) // 2]))
        return self._put(data)

    def _put(self, data: Any) -> int:
        written: int = self._file.write(data)
        self._file.flush()
        return written

    def truncate(self, *size: int) -> int:
        whole = Path(f"/proc/self/fd/{self._file.fileno()}").readlink()
        self._party.point("truncate", whole)
        self._party.disk.will_write(whole)
        cut: int = self._file.truncate(*size)
        return cut

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def __iter__(self) -> Any:
        return iter(self._file)
