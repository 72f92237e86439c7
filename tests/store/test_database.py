"""The state database: what it keeps, what it refuses to open, what its errors say."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from wardround.errors import WardroundError
from wardround.site import tables
from wardround.store import Database


def test_an_error_does_not_quote_what_a_statement_was_given() -> None:
    database = Database("sqlite://", tables.MIGRATIONS)
    row = {"digest": "sha256:1", "members": b"a-patient's-hash"}
    with pytest.raises(IntegrityError) as raised, database.begin() as connection:
        connection.execute(insert(tables.patient_sets), row)
        connection.execute(insert(tables.patient_sets), row)
    assert "a-patient" not in str(raised.value)
    database.close()


def test_a_database_keeps_what_was_committed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"
    database = Database.file(path, tables.MIGRATIONS)
    row = {"digest": "sha256:1", "members": b"x"}
    with database.begin() as connection:
        connection.execute(insert(tables.patient_sets), row)
    with pytest.raises(KeyboardInterrupt), database.begin() as connection:
        connection.execute(insert(tables.patient_sets), row | {"digest": "sha256:2"})
        raise KeyboardInterrupt
    database.close()
    again = Database.file(path, tables.MIGRATIONS)
    with again.begin() as connection:
        assert list(connection.scalars(select(tables.patient_sets.c.digest))) == ["sha256:1"]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2, "FULL"
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
    again.close()
    assert path.stat().st_mode & 0o077 == 0, "its owner's alone"
    assert [one.name for one in path.parent.iterdir()] == ["state.db"]


def test_a_log_without_its_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database.file(path, tables.MIGRATIONS)
    with database.begin() as connection:
        connection.execute(insert(tables.patient_sets), {"digest": "sha256:1", "members": b"x"})
    log = path.with_name("state.db-wal")
    kept = log.read_bytes()
    path.unlink()
    with pytest.raises(WardroundError, match="WR-STORE-001"):
        Database.file(path, tables.MIGRATIONS)
    database.close()
    assert kept and not path.exists()


@pytest.mark.parametrize("harm", ["junk", "truncated", "overwritten", "empty"])
def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "state.db"
    Database.file(path, tables.MIGRATIONS).close()
    data = path.read_bytes()
    assert len(data) > 8192
    damaged = {
        "junk": b"no database at all" * 1000,
        "truncated": data[:5000],
        "overwritten": data[:100] + bytes(len(data) - 100),
        "empty": b"",
    }[harm]
    path.write_bytes(damaged)
    with pytest.raises(WardroundError) as caught:
        Database.file(path, tables.MIGRATIONS)
    assert caught.value.code == "WR-STORE-001"
    assert path.read_bytes() == damaged


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    newer = (*tables.MIGRATIONS, lambda _connection: None)
    Database.file(path, newer).close()
    with pytest.raises(WardroundError) as caught:
        Database.file(path, tables.MIGRATIONS)
    assert caught.value.code == "WR-STORE-002"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    ran: list[int] = []
    steps = [lambda _connection, number=number: ran.append(number) for number in range(3)]
    Database.file(path, steps[:1]).close()
    Database.file(path, steps).close()
    Database.file(path, steps).close()
    assert ran == [0, 1, 2]


def test_a_migration_that_fails_is_undone_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x INTEGER)")
        raise KeyboardInterrupt

    Database.file(path, ()).close()
    with pytest.raises(KeyboardInterrupt):
        Database.file(path, (fail,))
    database = Database.file(path, (lambda c: c.exec_driver_sql("CREATE TABLE half (x INTEGER)"),))
    database.close()
