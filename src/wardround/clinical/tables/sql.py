"""A database's table, or a steward's query, as a table: read-only, streamed, and hashed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wardround.clinical.lines import empty
from wardround.clinical.tables.account import Accounted
from wardround.clinical.tables.reading import Reading, kinds_of
from wardround.clinical.tables.sql_backend import Backend, CatalogueEntry, Session, Source
from wardround.clinical.tables.sql_postgres import PostgresBackend
from wardround.clinical.tables.sql_sqlite import SqliteBackend
from wardround.clinical.tables.sql_text import TableSource, single_select
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.tables.table import (
    BATCH_ROWS,
    MISSING,
    Batch,
    ColumnInfo,
    ColumnKind,
)

if TYPE_CHECKING:
    from nanoarrow import Array
    from nanoarrow.c_array import CArray


def sql_table(
    url: str,
    *,
    table: str | None = None,
    schema: str | None = None,
    query: str | None = None,
    name: str | None = None,
    kinds: Mapping[str, ColumnKind] | None = None,
    missing: Collection[str] = MISSING,
    reader_account: bool = False,
    empty_allowed: bool = False,
) -> SqlTable:
    """Return a table (``table``, ``schema``) or the result of one SELECT (``query``).

    ``url`` is an SQLAlchemy URL whose secrets are written ``${WARDROUND_...}`` and taken from the
    environment when a connection is opened. ``kinds`` overrides what the schema says of a column,
    which SQLite's expressions need. Nothing is connected to yet.

    Raises:
        WardroundError: ``WR-DATA-054`` for a database for which read-only can't be enforced and
            ``reader_account`` is not said, ``-055`` where ``query`` is not a single SELECT,
            ``-057`` for an unusable address or a password in it.
    """
    if (table is None) == (query is None):
        raise ValueError("either a table or a query")
    backend = open_backend(url, reader_account=reader_account)
    called = name or table or "query"
    source: Source = TableSource(table, schema) if table else single_select(query or "", called)
    return SqlTable(called, backend, source, kinds or {}, missing, empty_allowed)


def open_backend(url: str, *, reader_account: bool = False) -> Backend:
    """Return the database at ``url``; raises as :func:`sql_table`."""
    address = DatabaseUrl(url)
    match address.dialect:
        case "sqlite":
            return SqliteBackend(address)
        case "postgresql":
            return PostgresBackend(address)
        case _:
            from wardround.clinical.tables.sql_cursor import CursorBackend

            return CursorBackend(address, reader_account=reader_account)


def catalogue(url: str, *, reader_account: bool = False) -> tuple[CatalogueEntry, ...]:
    """Return all tables and views of a database that its user may read.

    Raises:
        WardroundError: as :func:`sql_table` and :class:`SqlTable`.
    """
    with open_backend(url, reader_account=reader_account).session() as session:
        return tuple(session.catalogue())


class SqlTable(Accounted):
    """A :class:`~wardround.clinical.tables.table.Table` in a database.

    Raises (while read):
        WardroundError: ``WR-DATA-050`` where a driver is not installed, ``-053`` where the
            database can't be reached, ``-054`` where the query writes, ``-056`` where it can't be
            answered, ``-057`` where a variable is not set; ``-010`` where an SQLite file isn't
            there, ``-011`` where there is no row, ``-012`` where text is not UTF-8, ``-014`` for
            a column that vanished.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        missing: Collection[str],
        empty_allowed: bool,
    ) -> None:
        super().__init__(name)
        self._backend = backend
        self._source = source
        self._kinds = kinds
        self._missing = missing
        self._empty_allowed = empty_allowed

    def describe(self) -> tuple[ColumnInfo, ...]:
        """Return the schema as the database keeps it."""
        with self._backend.session() as session:
            return self._describe(session)

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the named columns from one snapshot of the database."""
        self._read, self._rejected = None, ()
        with self._backend.session() as session:
            kinds = kinds_of(self._describe(session), columns, text, self._name)
            reading = Reading(self._name, kinds)
            for rows, cells in session.draw(self._source, kinds, batch_rows, self._missing):
                yield reading.batch(cells, rows)
            query = session.statement(self._source, kinds)
        if reading.rows == 0 and not self._empty_allowed:
            raise empty(self._name)
        self._rejected = tuple(reading.rejected)
        self._read = reading.finish(query, self._backend.files)

    @contextmanager
    def arrow_batches(
        self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[Iterator[CArray]]:
        """Stream Arrow record batches, each of which has ``__arrow_c_array__``.

        Types are the database's own; nothing is stripped, marked or hashed.
        """
        with self._backend.session() as session:
            schema = self._describe(session)
            wanted = [column.name for column in schema] if columns is None else columns
            kinds = kinds_of(schema, wanted, (), self._name)
            yield session.arrow(self._source, kinds, batch_rows)

    def arrow_stream(self, columns: Sequence[str] | None = None) -> Array:
        """Return all of it in memory, as an object with ``__arrow_c_stream__``.

        Any library that speaks the Arrow C stream interface takes it, as often as it likes; types
        are the database's.
        """
        from nanoarrow import Array
        from nanoarrow.c_array_stream import CArrayStream

        with self.arrow_batches(columns) as batches:
            arrays = list(batches)
        if not arrays:
            raise empty(self._name)
        stream = CArrayStream.from_c_arrays(arrays, arrays[0].schema, validate=False)
        return Array(stream)

    def where(self, place: int) -> str:
        """Return a place of a batch as ``table:row``, in the order read."""
        return f"{self._name}:{place}"

    def _describe(self, session: Session) -> tuple[ColumnInfo, ...]:
        return tuple(
            ColumnInfo(c.name, self._kinds.get(c.name, c.kind), c.declared, c.description)
            for c in session.describe(self._source)
        )
