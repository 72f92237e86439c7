"""An SQLite file, opened so that it can't be written, streamed as Arrow.

SQLite has types of cells, not of columns: a column declared REAL may hold text. What a column's
declared type promises is checked first; where all cells keep it, Arrow streams them, and where
one does not, the table is read cell by cell and that cell is set aside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote as percent

from wardround.clinical.lines import unreadable
from wardround.clinical.provenance import FileRead
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.duck import quoted
from wardround.clinical.tables.kinds import kind_of
from wardround.clinical.tables.sql_adbc import connect
from wardround.clinical.tables.sql_backend import CatalogueEntry, Source
from wardround.clinical.tables.sql_errors import refused, unreachable
from wardround.clinical.tables.sql_reading import from_arrow, from_rows
from wardround.clinical.tables.sql_text import TableSource
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.tables.table import ColumnInfo, ColumnKind
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray
    from sqlalchemy.engine import URL

_SAMPLE_ROWS = 10_000
_ALLOWED = {
    ColumnKind.NUMBER: "'null', 'integer', 'real'",
    ColumnKind.DATE: "'null', 'text'",
    ColumnKind.BOOLEAN: "'null', 'integer'",
}
# A first row of the right types: the driver takes a column's type from the first cells it sees,
# and would fail on a column whose first values come late.
_TYPED = {
    ColumnKind.NUMBER: "0.5",
    ColumnKind.TEXT: "''",
    ColumnKind.DATE: "''",
    ColumnKind.BOOLEAN: "0",
}


class SqliteBackend:
    """One SQLite file."""

    files: tuple[FileRead, ...] = ()
    """None: the database itself is the source."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url

    @property
    def shown(self) -> str:
        """The file's name."""
        return Path(self._url.expand().database or "sqlite").name

    @contextmanager
    def session(self) -> Iterator[SqliteSession]:
        """Open the file read-only, twice over: by the file's mode and by ``query_only``."""
        url = self._url.expand()
        path = _path(url)
        if not path.is_file():
            raise unreadable(path.name)
        uri = f"file:{percent(str(path.absolute()))}?mode=ro"
        session = SqliteSession(uri, path.name)
        try:
            yield session
        finally:
            session.close()


class SqliteSession:
    """A :class:`~wardround.clinical.tables.sql_backend.Session` with an SQLite file."""

    def __init__(self, uri: str, shown: str) -> None:
        self._uri = uri
        self._shown = shown
        with _plainly(shown):
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("PRAGMA temp_store = MEMORY")
            # Reads the header, so that what is no database is refused here.
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def describe(self, source: Source) -> tuple[ColumnInfo, ...]:
        """Return the columns with their declared types.

        What declares none, such as an expression, is a NUMBER where the first 10,000 rows hold
        numbers and nothing else, and TEXT otherwise.
        """
        declared = self._declared(source)
        undeclared = [name for name, kind in declared.items() if not kind]
        numeric = self._numeric(source, undeclared) if undeclared else frozenset()
        return tuple(
            ColumnInfo(name, ColumnKind.NUMBER if name in numeric else kind_of(kind), kind)
            for name, kind in declared.items()
        )

    def statement(self, source: Source, kinds: Mapping[str, ColumnKind]) -> str:
        """Return the plain SELECT."""
        return f"SELECT {', '.join(map(quoted, kinds))} FROM {source.sql}"  # noqa: S608

    def draw(
        self,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        batch_rows: int,
        markers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Cells]]]:
        """Yield rows and cells, a batch at a time.

        The transaction in which types are checked stays open while Arrow is read by a second
        connection, which keeps writers waiting. In WAL mode a writer may still come in between;
        a cell of another type is then an error, never a wrong value.
        """
        with _plainly(self._shown):
            self._connection.execute("BEGIN")
            try:
                if self._as_declared(source, kinds) and _has_adbc():
                    arrays = self.arrow(source, kinds, batch_rows)
                    yield from from_arrow(arrays, kinds, batch_rows, markers, self._shown)
                else:
                    cursor = self._connection.execute(self.statement(source, kinds))
                    fetch = cursor.fetchmany
                    yield from from_rows(fetch, kinds, batch_rows, markers, self._shown)
            finally:
                self._connection.execute("ROLLBACK")

    def arrow(
        self, source: Source, kinds: Mapping[str, ColumnKind], batch_rows: int
    ) -> Iterator[CArray]:
        """Yield Arrow record batches: doubles, text, and 0 or 1 for truth values; dates as text."""
        typed = ", ".join(f"{_TYPED[kind]} AS {quoted(name)}" for name, kind in kinds.items())
        schema = {column.name: column.kind for column in self.describe(source)}
        cells = ", ".join(
            _as_text(quoted(name), schema[name]) if kind is ColumnKind.TEXT else quoted(name)
            for name, kind in kinds.items()
        )
        query = f"SELECT {typed} UNION ALL SELECT {cells} FROM {source.sql}"  # noqa: S608
        with connect("adbc_driver_sqlite", self._uri, self._shown) as adbc:
            adbc.run("PRAGMA query_only = ON")
            adbc.run("PRAGMA temp_store = MEMORY")
            options = {"adbc.sqlite.query.batch_rows": str(batch_rows)}
            with adbc.stream(query, options) as stream:
                first = True
                for array in stream:
                    part = array[1 : array.length] if first else array
                    first = False
                    if part.length:
                        yield part

    def catalogue(self) -> Iterator[CatalogueEntry]:
        """Yield tables and views; a table's rows are estimated by its largest rowid."""
        with _plainly(self._shown):
            found = self._connection.execute(
                "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"
                " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
            ).fetchall()
        for name, kind in found:
            source = TableSource(name)
            rows = None if kind == "view" else self._estimate(source)
            yield CatalogueEntry(name, None, kind == "view", None, rows, self.describe(source))

    def _as_declared(self, source: Source, kinds: Mapping[str, ColumnKind]) -> bool:
        doubts = [
            f"typeof({quoted(name)}) NOT IN ({_ALLOWED[kind]})"
            for name, kind in kinds.items()
            if kind in _ALLOWED
        ] or ["0"]
        query = f"SELECT 1 FROM {source.sql} WHERE {' OR '.join(doubts)} LIMIT 1"  # noqa: S608
        return self._connection.execute(query).fetchone() is None

    def _declared(self, source: Source) -> dict[str, str]:
        if isinstance(source, TableSource):
            pragma = "SELECT name, type FROM pragma_table_info(?, ?)"
            with _plainly(self._shown):
                found = self._connection.execute(
                    pragma, (source.table, source.schema or "main")
                ).fetchall()
            if not found:
                raise refused(self._shown, None)
            return dict(found)
        # SQLite tells a result's declared types only for a view. This one is in memory; the file
        # is still opened read-only.
        with _plainly(self._shown):
            connection = sqlite3.connect(self._uri, uri=True, isolation_level=None)
            try:
                connection.execute("PRAGMA temp_store = MEMORY")
                connection.execute(f"CREATE TEMP VIEW wardround AS SELECT * FROM {source.sql}")  # noqa: S608
                return dict(
                    connection.execute("SELECT name, type FROM temp.pragma_table_info('wardround')")
                )
            finally:
                connection.close()

    def _numeric(self, source: Source, names: Collection[str]) -> frozenset[str]:
        counts = ", ".join(
            f"sum(typeof({quoted(name)}) IN ('integer', 'real')),"
            f" sum(typeof({quoted(name)}) IN ('text', 'blob'))"
            for name in names
        )
        query = (
            f"SELECT {counts} FROM"  # noqa: S608
            f" (SELECT {', '.join(map(quoted, names))} FROM {source.sql} LIMIT {_SAMPLE_ROWS})"
        )
        with _plainly(self._shown):
            found = self._connection.execute(query).fetchone()
        pairs = zip(names, found[::2], found[1::2], strict=True)
        return frozenset(name for name, numbers, others in pairs if numbers and not others)

    def _estimate(self, source: TableSource) -> int | None:
        try:
            found = self._connection.execute(f"SELECT max(rowid) FROM {source.sql}").fetchone()  # noqa: S608
        except sqlite3.Error:  # a table WITHOUT ROWID
            return None
        return int(found[0] or 0)


def _path(url: URL) -> Path:
    database = url.database
    if not database or database == ":memory:" or database.startswith("file:"):
        raise WardroundError(
            "WR-DATA-057",
            "An SQLite source is a file.",
            "Write sqlite:///FILE, or sqlite:////FOLDER/FILE for an absolute path.",
            path="sqlite",
        )
    return Path(database)


def _as_text(column: str, found: ColumnKind) -> str:
    """Return a cell as text, a whole number without the decimals that SQLite adds to a REAL."""
    text = f"CAST({column} AS TEXT)"
    if found is not ColumnKind.NUMBER:
        return text
    whole = f"CAST({column} AS INTEGER)"
    return (
        f"CASE WHEN typeof({column}) = 'real' AND {column} = {whole}"
        f" THEN CAST({whole} AS TEXT) ELSE {text} END"
    )


def _has_adbc() -> bool:
    from importlib.util import find_spec

    return find_spec("adbc_driver_sqlite") is not None


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, whose text is known to hold no value."""
    try:
        yield
    except UnicodeDecodeError:  # a damaged file's own name for a table, quoted in a message
        raise unreachable(name) from None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_READONLY:
            raise refused(name, "25006") from None
        if code is not None and code & 0xFF in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_CORRUPT,
        ):
            raise unreachable(name) from None
        raise refused(name, None) from None
