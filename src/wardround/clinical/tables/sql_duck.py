"""A DuckDB in memory that holds what was loaded from files, asked like any other database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wardround.clinical.provenance import FileRead
from wardround.clinical.tables import duck
from wardround.clinical.tables.arrow import Mistyped
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.sql_backend import CatalogueEntry, Source
from wardround.clinical.tables.sql_errors import refused
from wardround.clinical.tables.sql_text import TableSource
from wardround.clinical.tables.table import ColumnInfo, ColumnKind

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from nanoarrow.c_array import CArray


class DuckBackend:
    """One database in memory; ``shown`` names what was loaded."""

    def __init__(
        self, connection: DuckDBPyConnection, shown: str, files: tuple[FileRead, ...]
    ) -> None:
        self._connection = connection
        self._shown = shown
        self._files = files

    @property
    def shown(self) -> str:
        """The name of what was loaded."""
        return self._shown

    @property
    def files(self) -> tuple[FileRead, ...]:
        """The files that were loaded."""
        return self._files

    @contextmanager
    def session(self) -> Iterator[DuckSession]:
        """Open a connection of its own to the same memory."""
        with self._connection.cursor() as connection:
            yield DuckSession(connection, self._shown)


class DuckSession:
    """A :class:`~wardround.clinical.tables.sql_backend.Session` in memory."""

    def __init__(self, connection: DuckDBPyConnection, shown: str) -> None:
        self._connection = connection
        self._shown = shown

    def describe(self, source: Source) -> tuple[ColumnInfo, ...]:
        """Return the columns of a table or query."""
        with _plainly(self._shown):
            return duck.describe(self._connection, source.sql)

    def statement(self, source: Source, kinds: Mapping[str, ColumnKind]) -> str:
        """Return the plain SELECT."""
        return f"SELECT {', '.join(map(duck.quoted, kinds))} FROM {source.sql}"  # noqa: S608

    def draw(
        self,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        batch_rows: int,
        markers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Cells]]]:
        """Yield rows and cells, a batch at a time."""
        with _plainly(self._shown):
            yield from duck.draw(
                self._connection, source.sql, kinds, batch_rows, markers, where=self._shown
            )

    def arrow(
        self, source: Source, kinds: Mapping[str, ColumnKind], batch_rows: int
    ) -> Iterator[CArray]:
        """Yield Arrow record batches of the size that DuckDB makes them."""
        import nanoarrow

        with _plainly(self._shown):
            yield from nanoarrow.c_array_stream(self._connection.sql(self.statement(source, kinds)))

    def catalogue(self) -> Iterator[CatalogueEntry]:
        """Yield all tables with their rows counted."""
        for (name,) in self._connection.execute("SHOW TABLES").fetchall():
            source = TableSource(str(name))
            count = self._connection.execute(f"SELECT count(*) FROM {source.sql}").fetchall()  # noqa: S608
            yield CatalogueEntry(
                str(name), None, False, None, int(count[0][0]), self.describe(source)
            )


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Turn DuckDB's and the stream's errors into one that is known to hold no value."""
    import duckdb

    try:
        yield
    except (duckdb.Error, RuntimeError, Mistyped):
        raise refused(name, None) from None
