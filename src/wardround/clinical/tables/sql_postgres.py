"""PostgreSQL, read-only, streamed as Arrow through COPY in binary."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from wardround.clinical.provenance import FileRead
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.duck import quoted
from wardround.clinical.tables.kinds import kind_of
from wardround.clinical.tables.sql_adbc import Adbc, connect
from wardround.clinical.tables.sql_backend import CatalogueEntry, Source
from wardround.clinical.tables.sql_reading import from_arrow
from wardround.clinical.tables.sql_text import TableSource
from wardround.clinical.tables.sql_url import DatabaseUrl
from wardround.clinical.tables.table import ColumnInfo, ColumnKind
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray
    from sqlalchemy.engine import URL

# Scans that join a running one would begin anywhere; the digest needs the table's own order.
_SESSION = (
    "-c default_transaction_read_only=on -c synchronize_seqscans=off -c datestyle=ISO"
    " -c intervalstyle=iso_8601 -c extra_float_digits=1"
)

_DECLARED = {
    "c": "smallint",
    "s": "smallint",
    "i": "integer",
    "l": "bigint",
    "f": "real",
    "g": "double precision",
    "u": "text",
    "b": "boolean",
    "tdD": "date",
}

_COLUMNS = """
SELECT n.nspname AS schema, c.relname AS table, c.relkind::text IN ('v', 'm') AS is_view,
  obj_description(c.oid, 'pg_class') AS table_comment,
  CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows,
  a.attname::text AS column,
  format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE a.atttypid END,
              CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END) AS declared,
  col_description(c.oid, a.attnum) AS comment
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {which}
ORDER BY n.nspname, c.relname, a.attnum
"""
_OTHERS = (
    "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
    " AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')"
)


class PostgresBackend:
    """One PostgreSQL database."""

    files: tuple[FileRead, ...] = ()
    """None: the database itself is the source."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url

    @property
    def shown(self) -> str:
        """The address without secrets."""
        return self._url.shown

    @contextmanager
    def session(self) -> Iterator[PostgresSession]:
        """Connect; every transaction of the session is read-only.

        Raises WR-DATA-054 where it is not after all: a connection pooler may drop what is asked
        for when a session starts.
        """
        uri = _libpq_uri(self._url.expand())
        with connect("adbc_driver_postgresql", uri, self.shown) as adbc:
            answers = adbc.rows("SELECT current_setting('transaction_read_only') AS answer")
            if [row["answer"] for row in answers] != ["on"]:
                raise WardroundError(
                    "WR-DATA-054",
                    "The database's sessions are not read-only, although that was asked for.",
                    "Connect to the database itself and not through a connection pooler.",
                    path=self.shown,
                )
            yield PostgresSession(adbc, self.shown)


class PostgresSession:
    """A :class:`~wardround.clinical.tables.sql_backend.Session` with PostgreSQL."""

    def __init__(self, adbc: Adbc, shown: str) -> None:
        self._adbc = adbc
        self._shown = shown

    def describe(self, source: Source) -> tuple[ColumnInfo, ...]:
        """Return the columns: of a table from the catalogue, of a query from its empty result."""
        if isinstance(source, TableSource):
            # Compared by oid, so that the search path holds as it does in the query itself.
            which = f"c.oid = {_text(source.sql)}::regclass"
            return tuple(column for entry in self._entries(which) for column in entry.columns)
        with self._adbc.stream(f"SELECT * FROM {source.sql} LIMIT 0") as stream:  # noqa: S608
            return tuple(map(_described, stream.get_schema().children))

    def statement(self, source: Source, kinds: Mapping[str, ColumnKind]) -> str:
        """Return a SELECT whose columns have one of four types.

        Text that is said to be a DATE comes as text, and is read as ISO 8601; a whole number that
        is wanted as text comes without decimals.
        """
        schema = {column.name: column for column in self.describe(source)}
        columns = ", ".join(
            f"{_cast(quoted(name), schema[name], kind)} AS {quoted(name)}"
            for name, kind in kinds.items()
        )
        return f"SELECT {columns} FROM {source.sql}"  # noqa: S608

    def draw(
        self,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        batch_rows: int,
        markers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Cells]]]:
        """Yield rows and cells, a batch at a time, from one snapshot."""
        with self._adbc.stream(self.statement(source, kinds)) as stream:
            yield from from_arrow(stream, kinds, batch_rows, markers, self._shown)

    def arrow(
        self, source: Source, kinds: Mapping[str, ColumnKind], batch_rows: int
    ) -> Iterator[CArray]:
        """Yield Arrow record batches of about 16 MB; ``batch_rows`` is the driver's business."""
        columns = ", ".join(map(quoted, kinds))
        with self._adbc.stream(f"SELECT {columns} FROM {source.sql}") as stream:  # noqa: S608
            yield from stream

    def catalogue(self) -> Iterator[CatalogueEntry]:
        """Yield tables and views with the planner's estimate of their rows."""
        yield from self._entries(_OTHERS)

    def _entries(self, which: str) -> Iterator[CatalogueEntry]:
        tables: dict[tuple[str, str], list[dict[str, object]]] = {}
        for row in self._adbc.rows(_COLUMNS.format(which=which)):
            tables.setdefault((str(row["schema"]), str(row["table"])), []).append(row)
        for (schema, table), rows in tables.items():
            estimate = rows[0]["rows"]
            yield CatalogueEntry(
                table,
                schema,
                bool(rows[0]["is_view"]),
                _optional(rows[0]["table_comment"]),
                None if rows[0]["is_view"] or not isinstance(estimate, int) else estimate,
                tuple(
                    ColumnInfo(
                        str(row["column"]),
                        kind_of(str(row["declared"])),
                        str(row["declared"]),
                        _optional(row["comment"]),
                    )
                    for row in rows
                ),
            )


_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "[::1]")


def _libpq_uri(url: URL) -> str:
    """Return the address as libpq reads it: every part percent-encoded, spaces too."""
    asked = {
        key: value if isinstance(value, str) else ",".join(value)
        for key, value in url.query.items()
    }
    # Ours come last and so win over what the address asks for.
    options = f"{asked.pop('options', '')} {_SESSION}".strip()
    # libpq's own default would go on in the clear with whoever answers.
    here = (url.host or "").startswith("/") or (url.host or "localhost") in _THIS_MACHINE
    secure = {} if here else {"sslmode": "verify-full"}
    query = {"connect_timeout": "10", **secure, **asked, "options": options}
    user = quote(url.username or "", safe="")
    if url.password is not None:
        user += ":" + quote(str(url.password), safe="")
    where = quote(url.host or "", safe="[]:") + (f":{url.port}" if url.port else "")
    rest = "&".join(
        f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items()
    )
    login = f"{user}@" if user else ""
    return f"postgresql://{login}{where}/{quote(url.database or '', safe='')}?{rest}"


def _described(field: object) -> ColumnInfo:
    form: str = field.format  # type: ignore[attr-defined]
    metadata = field.metadata or {}  # type: ignore[attr-defined]
    named = {bytes(key): bytes(value) for key, value in metadata.items()}
    declared = named.get(b"ADBC:postgresql:typname", b"").decode() or _DECLARED.get(form, "")
    if not declared:
        declared = "timestamp" if form.startswith("ts") else "text"
    return ColumnInfo(field.name, kind_of(declared), declared)  # type: ignore[attr-defined]


def _cast(column: str, found: ColumnInfo, wanted: ColumnKind) -> str:
    match wanted:
        case ColumnKind.NUMBER:
            return f"{column}::float8"
        case ColumnKind.DATE if found.kind is not ColumnKind.TEXT:
            # Infinity has no day; as a day that no calendar has, it is set aside as such.
            return (
                f"CASE WHEN NOT isfinite({column}) THEN DATE '10000-01-01' ELSE {column}::date END"
            )
        case ColumnKind.BOOLEAN:
            return f"{column}::boolean"
        case ColumnKind.TEXT if found.declared.startswith("numeric"):
            return f"trim_scale({column})::text"
        case ColumnKind.TEXT | ColumnKind.DATE:
            return f"{column}::text"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _optional(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
