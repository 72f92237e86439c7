"""One table, every kind of source: the same columns, which are those that were written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import requires
from columns import (
    COLUMNS,
    ROWS,
    Postgres,
    cells,
    expected,
    sqlite_url,
    write_csv,
    write_excel,
    write_parquet,
    write_sqlite,
)
from wardround.clinical.tables import (
    ColumnKind,
    Table,
    csv_table,
    excel_table,
    parquet_table,
    sql_table,
)

KINDS = {
    "id": ColumnKind.NUMBER,
    "name": ColumnKind.TEXT,
    "value": ColumnKind.NUMBER,
    "n": ColumnKind.NUMBER,
    "day": ColumnKind.DATE,
    "flag": ColumnKind.BOOLEAN,
}


def parquet(folder: Path) -> Table:
    return parquet_table("labs", folder, [write_parquet(folder)])


def sqlite(folder: Path) -> Table:
    requires.package("adbc_driver_sqlite")
    return sql_table(sqlite_url(write_sqlite(folder / "ehr.db")), table="matrix", name="labs")


def sqlite_query(folder: Path) -> Table:
    url = sqlite_url(write_sqlite(folder / "ehr.db"))
    return sql_table(url, query="SELECT * FROM matrix -- all of it", name="labs")


@pytest.fixture(params=[parquet, sqlite, sqlite_query, "postgres", "postgres_query", "cells"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    match request.param:
        case "postgres":
            database: Postgres = request.getfixturevalue("database")
            return sql_table(database.url, table="matrix", name="labs")
        case "postgres_query":
            database = request.getfixturevalue("database")
            query = "SELECT *, 5 % 2 AS other FROM matrix WHERE name IS NULL OR name NOT LIKE ';';"
            return sql_table(database.url, query=query, name="labs")
        case "cells":
            # As on a machine without the extra [sql].
            monkeypatch.setattr("wardround.clinical.tables.sql_sqlite._has_adbc", lambda: False)
            return sqlite(tmp_path)
        case make:
            build: Callable[[Path], Table] = make
            return build(tmp_path)


def test_a_typed_source_hands_over_what_was_written(table: Table) -> None:
    columns = [column for column in COLUMNS if column != "id"]
    assert cells(table, columns) == [expected(column) for column in columns]
    assert {c.name: c.kind for c in table.describe() if c.name in KINDS} == KINDS
    assert table.rejected == ()
    assert table.read.rows == len(ROWS)


def test_an_identifier_that_a_float_can_not_hold_is_exact_as_text(table: Table) -> None:
    found = cells(table, ["id", "name", "day"], text=["id", "day"])
    assert found[0] == expected("id")
    assert len(set(found[0])) == len(ROWS)
    assert found[1] == expected("name")
    assert found[2] == [None if row[4] is None else row[4].isoformat() for row in ROWS]


def test_the_digest_is_of_the_content_and_not_of_the_way_it_was_read(
    tmp_path: Path, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires.package("adbc_driver_sqlite")
    columns = ["name", "n", "day", "flag"]
    ways = [sqlite(tmp_path), sql_table(database.url, table="matrix", name="labs")]
    digests = set()
    for table in ways:
        for rows in (1, 2, 1000):
            cells(table, columns, rows)
            digests.add(table.read.digest)
    monkeypatch.setattr("wardround.clinical.tables.sql_sqlite._has_adbc", lambda: False)
    cells(ways[0], columns)
    digests.add(ways[0].read.digest)
    assert len(digests) == 1
    cells(ways[0], ["n", "name", "day", "flag"])
    assert ways[0].read.digest not in digests


def test_csv_hands_over_the_same_as_text(tmp_path: Path) -> None:
    table = csv_table("labs", tmp_path, [write_csv(tmp_path)])
    found = dict(zip(COLUMNS, cells(table, COLUMNS), strict=True))
    assert found["id"] == expected("id")
    assert found["name"] == expected("name")
    assert [x and float(x) for x in found["value"]] == expected("value")
    assert found["day"] == [row[4] and row[4].isoformat() for row in ROWS]
    assert {column.kind for column in table.describe()} == {ColumnKind.TEXT}


def test_excel_hands_over_the_same_within_what_excel_can_hold(tmp_path: Path) -> None:
    requires.package("python_calamine")
    table = excel_table("labs", write_excel(tmp_path / "labs.xlsx"))
    found = dict(zip(COLUMNS, cells(table, COLUMNS), strict=True))
    assert found["id"] == expected("id")
    assert found["name"] == [name and name[:32_767] for name in expected("name")]
    assert found["value"] == expected("value")
    assert found["n"] == expected("n")
    assert found["day"][0] == expected("day")[0]
    assert found["flag"] == expected("flag")
    assert {c.name: c.kind for c in table.describe()} == {**KINDS, "id": ColumnKind.TEXT}
    assert table.where(2) == "labs.xlsx:2"


def test_a_repr_shows_nothing_of_what_was_read(table: Table) -> None:
    for batch in table.batches(["name", "value"]):
        shown: list[Any] = [batch, *batch.columns.values(), table, table.describe()]
        assert "73519" not in repr(shown)
    assert "73519" not in repr(table.read)
