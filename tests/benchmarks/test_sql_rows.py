"""The figure of rows a second is there, and of the ways that it is said to be of."""

from benchmarks._sql_rows import COLUMNS, FIGURE, sql_rows_per_s

import requires


def test_every_way_reads_every_row() -> None:
    requires.package("adbc_driver_sqlite")
    rows = {row["way"]: row for row in sql_rows_per_s(rows=2000)}
    assert {FIGURE, "SQLite, SQLAlchemy rows", "CSV to columns"} <= rows.keys()
    for row in rows.values():
        assert row["rows"] == 2000
        assert row["columns"] == len(COLUMNS)
        assert row["rows_per_s"] > 0
