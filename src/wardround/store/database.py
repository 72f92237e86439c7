"""The SQL database of a coordinator or of a site."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from wardround.errors import WardroundError
from wardround.store.room import needs_room, no_room, wants_room
from wardround.trust.keys import sync_folder

Migration: TypeAlias = Callable[[Connection], None]
"""One forward step of the schema; step N brings version N-1 to version N."""

_version_table = Table("schema_version", MetaData(), Column("version", Integer, nullable=False))


class Database:
    """An engine whose schema is at the version that this code expects.

    ``url`` is an SQLAlchemy URL. An SQLite file runs in WAL mode with synchronous FULL, so that a
    commit which returned survives a power cut, and with ``secure_delete``, so that deleted rows
    are overwritten. A database written by a newer version is refused, never guessed at. What a
    failed statement was given stays out of its error: it may be a hospital's set of patients.
    """

    def __init__(self, url: str, migrations: Sequence[Migration]) -> None:
        self.engine = _engine(url)
        self._threads = threading.local()
        try:
            self._migrate(migrations)
        except DatabaseError as error:
            self.close()
            if wants_room(error):
                raise no_room(make_url(url).database) from error
            raise _damaged(make_url(url).database) from error

    @classmethod
    def file(cls, path: Path, migrations: Sequence[Migration]) -> Database:
        """Open or create the SQLite database at ``path``, readable by its owner alone.

        A new one gets its name when it is whole. So an empty file is a damaged one, and refused:
        SQLite would take it for new, and what was already answered would be forgotten. So is a
        write-ahead log without its database: somebody has deleted that.
        """
        begun = path.with_name(f"{path.name}-wal").exists()  # asked first: another may create both
        if not path.exists():
            if begun:
                raise _damaged(str(path))  # it was there, with what is not yet written into it
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            try:
                with needs_room(path):
                    fresh.touch(mode=0o600)
                cls(f"sqlite:///{fresh}", migrations).close()
                with needs_room(path), suppress(FileExistsError):  # another process was faster
                    path.hardlink_to(fresh)
            finally:
                fresh.unlink(missing_ok=True)
            with needs_room(path):  # else the power may take the name, and leave the log's
                sync_folder(path.parent)
        elif path.stat().st_size == 0:
            raise _damaged(str(path))
        return cls(f"sqlite:///{path}", migrations)

    @contextmanager
    def begin(self, *, write: bool = False) -> Iterator[Connection]:
        """One transaction: committed durably at the end of the block, or undone whole.

        Raises WR-STORE-004 when the disk is full; then it was undone.

        ``write`` takes SQLite's one write lock at once, so that what is read first is still true
        when it is acted upon, whatever other process has the file open.
        """
        connection = self._connection()
        connection.execution_options(write=write)
        try:
            with connection.begin():
                yield connection
        except DatabaseError as error:
            connection.close()  # a commit that failed may have left its transaction open
            if wants_room(error):
                raise no_room(self.engine.url.database) from error
            raise

    def _connection(self) -> Connection:
        """This thread's own connection: fetching one from the pool costs more than a query."""
        connection: Connection | None = getattr(self._threads, "connection", None)
        if connection is None or connection.closed or connection.invalidated:
            connection = self._threads.connection = self.engine.connect()
        return connection

    def close(self) -> None:
        """Let go of all connections."""
        connection: Connection | None = getattr(self._threads, "connection", None)
        if connection is not None:
            connection.close()
        self.engine.dispose()

    def _migrate(self, migrations: Sequence[Migration]) -> None:
        with self.begin() as connection:
            _version_table.metadata.create_all(connection)
            version = connection.scalar(select(_version_table.c.version))
            if version is None:
                connection.execute(insert(_version_table).values(version=0))
                version = 0
            if version > len(migrations):
                raise WardroundError(
                    "WR-STORE-002",
                    f"The state database has schema version {version}, "
                    f"newer than the {len(migrations)} that this program knows.",
                    "Run the version of Wardround that wrote it, or a later one.",
                    path=self.engine.url.database,
                )
            for migrate in migrations[version:]:
                migrate(connection)
            connection.execute(update(_version_table).values(version=len(migrations)))


def _damaged(path: str | None) -> WardroundError:
    return WardroundError(
        "WR-STORE-001",
        "The state database can't be read.",
        "It is damaged or no database: restore it from a backup; don't delete it, "
        "since it holds what was already answered.",
        path=path,
    )


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    if parsed.database in (None, "", ":memory:"):
        engine = create_engine(
            parsed,
            poolclass=StaticPool,
            connect_args={"check_same_thread": False},
            hide_parameters=True,
        )
    else:
        engine = create_engine(parsed, connect_args={"timeout": 30.0}, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    @event.listens_for(engine, "connect")
    def configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # sqlite3: begin by hand
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=ON",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
