"""DuckDB in memory: no extension is fetched, nothing is spilled to disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.clinical.tables.arrow import parts, read_batch
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.kinds import kind_of
from wardround.clinical.tables.table import ColumnInfo, ColumnKind

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_AS = {
    ColumnKind.NUMBER: "DOUBLE",
    ColumnKind.TEXT: "VARCHAR",
    ColumnKind.DATE: "DATE",
    ColumnKind.BOOLEAN: "BOOLEAN",
}


def open_duckdb() -> DuckDBPyConnection:
    """Return an empty database in memory.

    Its readers for CSV and Parquet are built in; others would be downloaded, which a hospital's
    agent never does. A day is cut out of a point in time in UTC.
    """
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "temp_directory": "",
        },
    )
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    return connection


def quoted(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(path: Path) -> str:
    """Return a file's path as SQL text in which no character is a wild card."""
    text = "".join(f"[{mark}]" if mark in "*?[" else mark for mark in str(path))
    return "'" + text.replace("'", "''") + "'"


def describe(connection: DuckDBPyConnection, source: str) -> tuple[ColumnInfo, ...]:
    """Return the columns of what stands after FROM."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
    return tuple(ColumnInfo(str(row[0]), kind_of(str(row[1])), str(row[1])) for row in rows)


def draw(
    connection: DuckDBPyConnection,
    source: str,
    kinds: Mapping[str, ColumnKind],
    batch_rows: int,
    markers: Collection[str],
    *,
    where: str,
) -> Iterator[tuple[int, dict[str, Cells]]]:
    """Yield rows and cells of ``source``, in its order, a batch at a time.

    Text that is said to be a DATE comes as text, and is read as ISO 8601; a whole number that is
    wanted as text comes without decimals.

    Raises:
        duckdb.Error, RuntimeError: whose text may hold a value; the caller never shows it.
    """
    import nanoarrow

    schema = {column.name: column.kind for column in describe(connection, source)}
    casts = ", ".join(
        f"{_cast(quoted(name), schema[name], kind)} AS {quoted(name)}"
        for name, kind in kinds.items()
    )
    relation = connection.sql(f"SELECT {casts} FROM {source}")  # noqa: S608
    stream = nanoarrow.c_array_stream(relation)
    formats = {
        name: field.format for name, field in zip(kinds, stream.get_schema().children, strict=True)
    }
    for array in stream:
        for part in parts(array, batch_rows):
            yield len(part), read_batch(array, part, formats, kinds, markers, where=where)


def _cast(column: str, found: ColumnKind, wanted: ColumnKind) -> str:
    if found is ColumnKind.TEXT and wanted is ColumnKind.DATE:
        return column
    plain = f"CAST({column} AS {_AS[wanted]})"
    if found is ColumnKind.NUMBER and wanted is ColumnKind.TEXT:
        whole = f"TRY_CAST({column} AS BIGINT)"
        return f"CASE WHEN {column} = {whole} THEN CAST({whole} AS VARCHAR) ELSE {plain} END"
    return plain
