"""Looking at a service's database from another process, while it runs and after it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from wardround.errors import WardroundError
from wardround.store.database import Migration

_WAIT_S = 10.0


@contextmanager
def reading(path: Path, migrations: Sequence[Migration]) -> Iterator[Connection]:
    """One consistent view of the SQLite file at ``path``; nothing can be written through it.

    In WAL mode a reader and the writer don't hold each other up. Raises WR-STORE-005 where the
    schema is older than this program's (nothing is migrated here), WR-STORE-002 where it is
    newer, and WR-STORE-001 where there is nothing that can be read.
    """
    url = f"sqlite:///file:{quote(str(path.resolve()))}?mode=ro&uri=true"
    engine = create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": _WAIT_S}
    )

    @event.listens_for(engine, "connect")
    def by_hand(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # else each statement would see another state

    try:
        with engine.begin() as connection:
            _require_version(connection, len(migrations), path)
            yield connection
    except DatabaseError as error:
        raise WardroundError(
            "WR-STORE-001",
            "The state database can't be read.",
            "Check the folder and who may read it; if it is damaged, restore it from a backup.",
            path=str(path),
        ) from error
    finally:
        engine.dispose()


def _require_version(connection: Connection, known: int, path: Path) -> None:
    version = connection.exec_driver_sql("SELECT version FROM schema_version").scalar() or 0
    if version < known:
        raise WardroundError(
            "WR-STORE-005",
            f"The state database has schema version {version}, older than the {known} that this "
            "program reads.",
            "Start the service once with this version of Wardround: it brings it up to date.",
            path=str(path),
        )
    if version > known:
        raise WardroundError(
            "WR-STORE-002",
            f"The state database has schema version {version}, newer than the {known} that this "
            "program knows.",
            "Run the version of Wardround that wrote it, or a later one.",
            path=str(path),
        )
