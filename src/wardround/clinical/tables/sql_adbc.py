"""Arrow straight from a database's driver, through ADBC (Apache Arrow Database Connectivity)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from wardround.clinical.tables.sql_errors import package_missing, refused, unreachable

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection
    from nanoarrow.c_array_stream import CArrayStream


class Adbc:
    """One connection through ADBC; ``name`` is how errors call the database."""

    def __init__(self, connection: AdbcConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    @contextmanager
    def stream(
        self, query: str, options: Mapping[str, str] | None = None
    ) -> Iterator[CArrayStream]:
        """Run a query; the stream is read from the database as it is iterated over."""
        import nanoarrow
        from adbc_driver_manager import AdbcStatement, Error

        try:
            with closing(AdbcStatement(self._connection)) as statement:
                if options:
                    statement.set_options(**options)
                statement.set_sql_query(query)
                handle, _ = statement.execute_query()
                yield nanoarrow.c_array_stream(handle)
        except Error as error:
            raise refused(self._name, error.sqlstate) from None
        except nanoarrow._utils.NanoarrowException as error:
            # A stream has the driver's words and no SQLSTATE; only this one phrase is looked for.
            writing = "read-only transaction" in str(error)
            raise refused(self._name, "25006" if writing else None) from None

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        with self.stream(statement) as stream:
            for _ in stream:
                pass

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the few rows of a catalogue query."""
        import nanoarrow

        with self.stream(query) as stream:
            return list(nanoarrow.ArrayStream(stream).to_pylist())


@contextmanager
def connect(driver: str, uri: str, name: str) -> Iterator[Adbc]:
    """Open a connection through the driver package ``driver``.

    Raises:
        WardroundError: ``WR-DATA-050`` where the package is missing, ``-053`` where the database
            can't be reached.
    """
    try:
        path = importlib.import_module(driver)._driver_path()
        from adbc_driver_manager import AdbcConnection, AdbcDatabase, Error
    except ImportError:
        raise package_missing(name, driver) from None
    try:
        database = AdbcDatabase(driver=path, uri=uri)
    except Error:
        raise unreachable(name) from None
    with closing(database):
        try:
            connection = AdbcConnection(database)
        except Error as error:
            state = error.sqlstate
            raise unreachable(
                name, f" (it says {state})" if state and state.strip("\0") else ""
            ) from None
        with closing(connection):
            yield Adbc(connection, name)
