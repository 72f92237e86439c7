"""Databases as tables: read-only for real, no secret and no value in any error."""

from __future__ import annotations

import sqlite3
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import requires
from columns import (
    CANARY,
    COLUMNS,
    ROWS,
    Postgres,
    cells,
    expected,
    postgres,
    sqlite_url,
    write_sqlite,
)
from wardround.clinical import Reason
from wardround.clinical.tables import ColumnKind, catalogue, parquet_table, sql_postgres, sql_table
from wardround.clinical.tables.sql import open_backend
from wardround.clinical.tables.sql_postgres import PostgresSession
from wardround.clinical.tables.sql_sqlite import SqliteSession
from wardround.errors import WardroundError

SECRET = "s3cr3t /+@%"


def refusal(act: Any) -> WardroundError:
    """The error that ``act`` ends in, after a look at all that a log would show of it."""
    with pytest.raises(WardroundError) as caught:
        act()
    logged = "".join(traceback.format_exception(caught.value, chain=True))
    said = logged.split("Traceback")[-1].splitlines()[-1] + repr(caught.value.__cause__)
    assert caught.value.__cause__ is None
    for private in (CANARY, "73519", SECRET):
        assert private not in str(caught.value) + said
    return caught.value


@pytest.fixture
def ehr(tmp_path: Path) -> Path:
    return write_sqlite(tmp_path / "ehr.db")


# --- read-only


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM matrix", "CREATE TABLE x (a)", "UPDATE matrix SET n = 0", "DROP TABLE matrix"],
)
def test_nothing_can_be_written_through_an_sqlite_session(statement: str, ehr: Path) -> None:
    before = ehr.read_bytes()
    with open_backend(sqlite_url(ehr)).session() as session:
        assert isinstance(session, SqliteSession)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            session._connection.execute(statement)
        # Nor after the one pragma that could be switched off: the file itself is open read-only.
        session._connection.execute("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            session._connection.execute(statement)
    assert ehr.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM matrix",
        "CREATE TABLE x (a int)",
        "SELECT 1 INTO y",
        "SELECT setval('numbers', 7)",
        "WITH gone AS (DELETE FROM matrix RETURNING *) SELECT * FROM gone",
    ],
)
def test_nothing_can_be_written_through_a_postgresql_session(
    statement: str, database: Postgres
) -> None:
    database.run("CREATE SEQUENCE IF NOT EXISTS numbers")
    with open_backend(database.url).session() as session:
        assert isinstance(session, PostgresSession)
        error = refusal(lambda: session._adbc.run(statement))
    assert error.code in ("WR-DATA-054", "WR-DATA-056")
    assert database.run("SELECT count(*) FROM matrix").split()[2] == str(len(ROWS))


def test_a_select_that_writes_is_refused_by_the_database(database: Postgres) -> None:
    database.run(
        "CREATE OR REPLACE FUNCTION wipe() RETURNS int LANGUAGE sql AS"
        " 'DELETE FROM matrix; SELECT 1'"
    )
    table = sql_table(database.url, query="SELECT wipe() AS x")
    assert refusal(lambda: cells(table, ["x"])).code == "WR-DATA-054"
    # Even where the address itself asks for a session that writes.
    writing = sql_table(
        f"{database.url}&options=-c default_transaction_read_only=off",
        query="SELECT wipe() AS x",
    )
    assert refusal(lambda: cells(writing, ["x"])).code == "WR-DATA-054"
    assert database.run("SELECT count(*) FROM matrix").split()[2] == str(len(ROWS))


def test_a_session_that_a_pooler_made_writable_is_not_used(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_postgres, "_SESSION", "-c default_transaction_read_only=off")
    with pytest.raises(WardroundError, match="WR-DATA-054"), open_backend(database.url).session():
        pass


def test_a_database_that_can_not_be_told_so_needs_the_stewards_word(tmp_path: Path) -> None:
    url = "mssql+pymssql://reader@db/ehr"
    assert refusal(lambda: sql_table(url, table="labs")).code == "WR-DATA-054"
    table = sql_table(url, table="labs", reader_account=True)
    assert refusal(table.describe).code == "WR-DATA-050"


# --- what goes wrong


def test_an_sqlite_file_that_is_none(tmp_path: Path, ehr: Path) -> None:
    url = sqlite_url(ehr)
    assert refusal(sql_table(url, table="nowhere").describe).code == "WR-DATA-056"
    assert refusal(lambda: cells(sql_table(url, table="matrix"), ["no"])).code == "WR-DATA-014"
    broken = sql_table(url, query="SELECT nothing FROM matrix")
    assert refusal(broken.describe).code == "WR-DATA-056"
    none = sql_table(url, query=f"SELECT * FROM matrix WHERE name = '{CANARY}x'")
    assert refusal(lambda: cells(none, ["id"])).code == "WR-DATA-011"
    whole = ehr.read_bytes()
    (tmp_path / "text.db").write_text(f"{CANARY}\n" * 100)
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    for name in ("text.db", "cut.db"):
        table = sql_table(sqlite_url(tmp_path / name), table="matrix")
        assert refusal(lambda t=table: cells(t, COLUMNS)).code in ("WR-DATA-053", "WR-DATA-056")
    gone = sql_table(sqlite_url(tmp_path / "gone.db"), table="matrix")
    assert refusal(gone.describe).code == "WR-DATA-010"
    assert not (tmp_path / "gone.db").exists()
    assert refusal(lambda: cells(sql_table("sqlite://", table="t"), [])).code == "WR-DATA-057"


def test_text_in_sqlite_that_is_no_text(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ehr.db")
    with connection:
        connection.execute("CREATE TABLE t (a TEXT)")
        connection.execute("INSERT INTO t VALUES (CAST(x'80ff' AS TEXT))")
    connection.close()
    table = sql_table(sqlite_url(tmp_path / "ehr.db"), table="t")
    assert refusal(lambda: cells(table, ["a"])).code == "WR-DATA-012"


def test_a_postgresql_that_refuses(database: Postgres, tmp_path: Path) -> None:
    assert refusal(sql_table(database.url, table="nowhere").describe).code == "WR-DATA-056"
    vanished = sql_table(database.url, table="matrix")
    assert refusal(lambda: cells(vanished, ["no"])).code == "WR-DATA-014"
    # PostgreSQL's own message would show the value that is no number.
    wrong = sql_table(database.url, query="SELECT name::float8 AS x FROM matrix WHERE id = 7")
    assert refusal(lambda: cells(wrong, ["x"])).code == "WR-DATA-056"
    down = sql_table(f"postgresql://reader@/ehr?host={tmp_path}", table="matrix")
    assert refusal(down.describe).code == "WR-DATA-053"
    closed = sql_table("postgresql://reader@127.0.0.1:1/ehr", table="matrix")
    assert refusal(closed.describe).code == "WR-DATA-053"


def test_a_missing_driver_is_said_with_its_remedy(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    error = refusal(sql_table(database.url, table="matrix").describe)
    assert error.code == "WR-DATA-050"
    assert 'pip install "wardround[sql]"' in error.remedy


def test_a_password_is_taken_from_the_environment_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with postgres() as server:
        server.write_matrix()
        server.run(
            f"CREATE ROLE reader LOGIN PASSWORD '{SECRET}'; GRANT SELECT ON matrix TO reader"
        )
        rules = server.folder / "pg_hba.conf"
        rules.write_text(f"local all reader scram-sha-256\n{rules.read_text()}")
        server.run("SELECT pg_reload_conf()")
        table = sql_table(server.url_of("reader:${WARDROUND_EHR_PASSWORD}"), table="matrix")
        assert refusal(table.describe).code == "WR-DATA-057"
        monkeypatch.setenv("WARDROUND_EHR_PASSWORD", f"{SECRET}x")
        assert refusal(table.describe).code == "WR-DATA-053"
        monkeypatch.setenv("WARDROUND_EHR_PASSWORD", SECRET)
        assert cells(table, ["n"]) == [expected("n")]
        assert SECRET not in repr(
            (table, table.read, catalogue(server.url_of("reader:${WARDROUND_EHR_PASSWORD}")))
        )


# --- types


def test_a_cell_of_another_type_is_set_aside_and_the_rest_is_read(tmp_path: Path) -> None:
    table = sql_table(sqlite_url(write_sqlite(tmp_path / "ehr.db", mixed=True)), table="matrix")
    found = cells(table, [*COLUMNS[1:], "mixed"])
    assert found[:-1] == [expected(column) for column in COLUMNS[1:]]
    assert found[-1] == [1.5, 1.5, 1.5, None, 1.5, 1.5, 1.5]
    assert [(e.reason, e.where, e.record) for e in table.rejected] == [
        (Reason.UNREADABLE_NUMBER, "matrix:4", False)
    ]


def test_a_column_whose_first_values_come_late_keeps_its_type(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ehr.db")
    with connection:
        connection.execute("CREATE TABLE t (value REAL, note TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(None, None)] * 5000)
        connection.execute("INSERT INTO t VALUES (1, 'late'), (2.5, 7)")
    connection.close()
    table = sql_table(sqlite_url(tmp_path / "ehr.db"), table="t")
    assert [column[-2:] for column in cells(table, ["value", "note"], 1000)] == [
        [1.0, 2.5],
        ["late", "7"],
    ]
    assert table.rejected == ()


def test_an_expression_of_sqlite_is_what_its_cells_are(ehr: Path) -> None:
    table = sql_table(
        sqlite_url(ehr),
        query="SELECT n * 2 AS twice, upper(name) AS upper, max(day) AS last, day FROM matrix"
        " WHERE id < 7 GROUP BY id",
        kinds={"last": ColumnKind.DATE},
    )
    assert [(c.name, c.kind, c.declared) for c in table.describe()] == [
        ("twice", ColumnKind.NUMBER, ""),
        ("upper", ColumnKind.TEXT, ""),
        ("last", ColumnKind.DATE, ""),
        ("day", ColumnKind.DATE, "DATE"),
    ]
    found = cells(table, ["twice", "last", "day"])
    assert found[1] == found[2]
    assert "WHERE id < 7" in (table.read.query or "")


def test_a_whole_number_is_an_identifier_without_decimals(
    tmp_path: Path, database: Postgres
) -> None:
    requires.package("adbc_driver_sqlite")
    rows = "INSERT INTO ids VALUES (1001, 7, 9007199254740993), (0.5, 1.25, NULL)"
    connection = sqlite3.connect(tmp_path / "ehr.db")
    with connection:
        connection.execute("CREATE TABLE ids (a REAL, b DECIMAL(9, 2), c BIGINT)")
        connection.execute(rows)
    connection.close()
    database.run(f"CREATE TABLE ids (a float8, b numeric(9, 2), c bigint); {rows}")
    with requires.package("duckdb").connect() as memory:
        memory.execute("CREATE TABLE ids (a DOUBLE, b DECIMAL(9, 2), c BIGINT)").fetchall()
        memory.execute(rows).fetchall()
        memory.execute(f"COPY ids TO '{tmp_path / 'ids.parquet'}' (FORMAT parquet)").fetchall()
    for table in (
        sql_table(sqlite_url(tmp_path / "ehr.db"), table="ids"),
        sql_table(database.url, table="ids"),
        parquet_table("ids", tmp_path, ["ids.parquet"]),
    ):
        assert cells(table, ["a", "b", "c"], text=["a", "b", "c"]) == [
            ["1001", "0.5"],
            ["7", "1.25"],
            ["9007199254740993", None],
        ]


def test_types_of_postgresql_become_kinds(database: Postgres) -> None:
    database.run(
        "CREATE DOMAIN lab AS numeric(6, 2);"
        "CREATE TABLE types (a lab, b double precision, c timestamp, d timestamptz, e uuid,"
        " f char(5), g numeric, h date, i date);"
        "INSERT INTO types VALUES (5.25, 'NaN', '2020-05-01 23:59', NULL,"
        " '00000000-0000-0000-0000-000000000001', 'ab', 1e400, 'infinity', '0044-03-15 BC')"
    )
    table = sql_table(database.url, table="types")
    assert [c.declared for c in table.describe()][:2] == ["numeric(6,2)", "double precision"]
    names = [*"abcdefhi"]
    found = cells(table, names)
    assert found == [
        [5.25], [None], [737546], [None], ["00000000-0000-0000-0000-000000000001"], ["ab"], [None],
        [None],
    ]  # fmt: skip
    assert [entry.reason for entry in table.rejected] == [Reason.IMPOSSIBLE_DATE] * 2
    assert refusal(lambda: cells(table, ["g"])).code == "WR-DATA-056"


def test_arrow_record_batches_speak_the_capsule_protocol(ehr: Path, database: Postgres) -> None:
    requires.package("adbc_driver_sqlite")
    nanoarrow = requires.package("nanoarrow")
    for url in (sqlite_url(ehr), database.url):
        with sql_table(url, table="matrix").arrow_batches(["n", "name"], 2) as batches:
            columns = [nanoarrow.Array(batch).to_pylist() for batch in batches]
        rows = [row for part in columns for row in part]
        assert [row["name"] for row in rows] == expected("name")
        assert [row["n"] for row in rows] == expected("n")


def test_a_whole_stream_is_taken_by_another_library(ehr: Path, database: Postgres) -> None:
    requires.package("adbc_driver_sqlite")
    duckdb = requires.package("duckdb")
    for url in (sqlite_url(ehr), database.url):
        stream = sql_table(url, table="matrix").arrow_stream(["name", "n"])
        with duckdb.connect() as connection:
            found = connection.execute("SELECT name, n FROM stream").fetchall()
        assert [name for name, _ in found] == expected("name")
        assert [n for _, n in found] == expected("n")
        assert stream is not None


# --- one state of the database


def test_one_read_of_postgresql_sees_one_state(database: Postgres) -> None:
    database.run(
        "DROP TABLE IF EXISTS busy; CREATE TABLE busy AS"
        " SELECT i, repeat('x', 60) AS note FROM generate_series(1, 400000) i"
    )
    batches = sql_table(database.url, table="busy").batches(["i", "note"])
    rows = len(next(batches))
    database.run("DELETE FROM busy")
    assert rows + sum(map(len, batches)) == 400_000


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_one_read_of_sqlite_sees_one_state(journal: str, tmp_path: Path) -> None:
    requires.package("adbc_driver_sqlite")
    path = tmp_path / "ehr.db"
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {journal}")
    writer.execute("CREATE TABLE t (a INTEGER)")
    writer.execute("BEGIN")
    writer.executemany("INSERT INTO t VALUES (?)", ((i,) for i in range(20_000)))
    writer.execute("COMMIT")
    batches = sql_table(sqlite_url(path), table="t").batches(["a"], 1000)
    rows = len(next(batches))
    if journal == "WAL":
        writer.execute("DELETE FROM t")
    else:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("DELETE FROM t")
    assert rows + sum(map(len, batches)) == 20_000
    # An iteration that is given up lets go of the file.
    batches = sql_table(sqlite_url(path), table="t").batches(["a"])
    if journal == "DELETE":
        next(batches)
        batches.close()
        writer.execute("DELETE FROM t")
    writer.close()


# --- the catalogue


def test_the_catalogue_of_a_postgresql_has_comments_and_estimates(database: Postgres) -> None:
    database.run("CREATE OR REPLACE VIEW recent AS SELECT id FROM matrix")
    found = {(entry.schema, entry.name): entry for entry in catalogue(database.url)}
    matrix = found["public", "matrix"]
    assert (matrix.description, matrix.rows_estimated) == ("All that is nasty", len(ROWS))
    assert {c.name: c.description for c in matrix.columns}["value"] == "Haemoglobin, g/dL"
    assert [c.declared for c in matrix.columns][:3] == ["bigint", "text", "numeric"]
    assert found["public", "recent"].is_view
    assert not [entry for schema, entry in found if schema in ("pg_catalog", "information_schema")]


def test_the_catalogue_of_an_sqlite_file(ehr: Path) -> None:
    connection = sqlite3.connect(ehr)
    with connection:
        connection.execute("CREATE VIEW recent AS SELECT day FROM matrix")
        connection.execute("CREATE TABLE codes (code TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.close()
    found = {entry.name: entry for entry in catalogue(sqlite_url(ehr))}
    assert sorted(found) == ["codes", "matrix", "recent"]
    assert found["matrix"].rows_estimated is not None
    assert found["codes"].rows_estimated is None
    assert found["recent"].is_view
    assert [c.declared for c in found["matrix"].columns][2:5] == [
        "DECIMAL(18, 9)",
        "INTEGER",
        "DATE",
    ]


def test_other_databases_are_read_through_their_cursor(ehr: Path) -> None:
    """SQLite once more, through the way that all other dialects go."""
    from wardround.clinical.tables.sql import SqlTable
    from wardround.clinical.tables.sql_cursor import CursorBackend
    from wardround.clinical.tables.sql_text import TableSource, single_select
    from wardround.clinical.tables.sql_url import DatabaseUrl

    backend = CursorBackend(DatabaseUrl(sqlite_url(ehr)), reader_account=True)
    table = SqlTable("labs", backend, TableSource("matrix"), {}, ("",), False)
    assert cells(table, COLUMNS[1:]) == [expected(column) for column in COLUMNS[1:]]
    query = SqlTable(
        "labs", backend, single_select("SELECT n % 2 AS odd FROM matrix", "q"), {}, ("",), False
    )
    assert cells(query, ["odd"])[0][:3] == ["1", "0", None]
    with backend.session() as session:
        assert [entry.name for entry in session.catalogue()] == ["matrix"]
    gone = SqlTable("labs", backend, TableSource("gone"), {}, ("",), False)
    assert refusal(gone.describe).code == "WR-DATA-056"
    assert refusal(lambda: table.arrow_batches(["n"]).__enter__().__next__()).code == "WR-DATA-050"


def test_large_numbers_of_rows_come_in_order(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ehr.db")
    with connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", ((i,) for i in range(200_000)))
    connection.close()
    batches = [*sql_table(sqlite_url(tmp_path / "ehr.db"), table="t").batches(["a"])]
    assert np.array_equal(
        np.concatenate([batch.columns["a"].values for batch in batches]), np.arange(200_000)
    )
    assert batches[1].first_row == len(batches[0]) + 1
