"""Any database with an SQLAlchemy dialect, read through a server-side cursor, cell by cell.

Slower than Arrow, and the way for databases that have no Arrow driver here, and for SQLite tables
in which a column holds cells of several types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from wardround.clinical.provenance import FileRead
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.kinds import kind_of
from wardround.clinical.tables.sql_backend import CatalogueEntry, Source
from wardround.clinical.tables.sql_errors import package_missing, refused, unreachable
from wardround.clinical.tables.sql_reading import from_rows
from wardround.clinical.tables.sql_text import TableSource
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.tables.table import ColumnInfo, ColumnKind
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray

# What makes every transaction of a session read-only, by the dialect's own documentation.
_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


class CursorBackend:
    """One database through its SQLAlchemy dialect.

    Where the dialect can't make a session read-only, ``reader_account`` is the steward's word
    that the address names a database user who may only read; everything is rolled back as well.
    """

    files: tuple[FileRead, ...] = ()
    """None: the database itself is the source."""

    def __init__(self, url: DatabaseUrl, *, reader_account: bool) -> None:
        self._url = url
        if url.dialect not in _READ_ONLY and not reader_account:
            raise WardroundError(
                "WR-DATA-054",
                f"For {url.dialect} it can't be enforced here that nothing is written.",
                "Use a database user who may only read, and say so with `reader_account = true`.",
                path=url.shown,
            )

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return self._url.shown

    @contextmanager
    def session(self) -> Iterator[CursorSession]:
        """Connect, read-only where the dialect can; roll back at the end."""
        try:
            engine = create_engine(self._url.expand(), hide_parameters=True)
        except (ImportError, NoSuchModuleError):
            raise package_missing(self.shown, self._url.dialect) from None
        try:
            with _plainly(self.shown, connecting=True):
                connection = engine.connect()
            with connection, _plainly(self.shown):
                if (statement := _READ_ONLY.get(self._url.dialect)) is not None:
                    connection.exec_driver_sql(statement)
                    connection.rollback()
                yield CursorSession(connection, self.shown)
                connection.rollback()
        finally:
            engine.dispose()


class CursorSession:
    """A :class:`~wardround.clinical.tables.sql_backend.Session` over an SQLAlchemy connection."""

    def __init__(self, connection: Connection, shown: str) -> None:
        self._connection = connection
        self._shown = shown

    def describe(self, source: Source) -> tuple[ColumnInfo, ...]:
        """Return a table's reflected columns; a query's have no declared type and are TEXT."""
        if isinstance(source, TableSource):
            with _plainly(self._shown):
                columns = inspect(self._connection).get_columns(source.table, source.schema)
            return tuple(
                ColumnInfo(c["name"], kind_of(str(c["type"])), str(c["type"]), c.get("comment"))
                for c in columns
            )
        with _plainly(self._shown):
            result = self._connection.exec_driver_sql(
                f"SELECT * FROM {self._sql(source)} WHERE 1 = 0"  # noqa: S608
            )
            return tuple(ColumnInfo(name, ColumnKind.TEXT, "") for name in list(result.keys()))

    def statement(self, source: Source, kinds: Mapping[str, ColumnKind]) -> str:
        """Return the plain SELECT."""
        quote = self._connection.dialect.identifier_preparer.quote
        return f"SELECT {', '.join(map(quote, kinds))} FROM {self._sql(source)}"  # noqa: S608

    def draw(
        self,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        batch_rows: int,
        markers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Cells]]]:
        """Yield rows and cells, a batch at a time; one statement reads one snapshot."""
        with _plainly(self._shown):
            result = self._connection.execution_options(
                stream_results=True, max_row_buffer=batch_rows
            ).exec_driver_sql(self.statement(source, kinds))
            yield from from_rows(result.fetchmany, kinds, batch_rows, markers, self._shown)

    def arrow(
        self, source: Source, kinds: Mapping[str, ColumnKind], batch_rows: int
    ) -> Iterator[CArray]:
        """Refuse: this dialect has no Arrow driver here."""
        raise package_missing(self._shown, f"an ADBC driver for {self._connection.dialect.name}")

    def catalogue(self) -> Iterator[CatalogueEntry]:
        """Yield the default schema's tables and views; rows are not counted."""
        with _plainly(self._shown):
            inspector = inspect(self._connection)
            found = [(name, False) for name in inspector.get_table_names()]
            found += [(name, True) for name in inspector.get_view_names()]
            for name, is_view in sorted(found):
                try:
                    comment = inspector.get_table_comment(name).get("text")
                except NotImplementedError:
                    comment = None
                columns = self.describe(TableSource(name))
                yield CatalogueEntry(name, None, is_view, comment, None, columns)

    def _sql(self, source: Source) -> str:
        if isinstance(source, TableSource):
            quote = self._connection.dialect.identifier_preparer.quote
            return ".".join(quote(part) for part in (source.schema, source.table) if part)
        return source.sql.replace(" AS wardround_query", " wardround_query")  # Oracle knows no AS


@contextmanager
def _plainly(name: str, *, connecting: bool = False) -> Iterator[None]:
    """Turn SQLAlchemy's errors into ours, whose text is known to hold no value."""
    try:
        yield
    except NoSuchTableError:
        raise refused(name, None) from None
    except DBAPIError as error:
        if connecting or error.connection_invalidated:
            raise unreachable(name) from None
        raise refused(name, getattr(error.orig, "sqlstate", None)) from None
    except SQLAlchemyError:
        raise refused(name, None) from None
