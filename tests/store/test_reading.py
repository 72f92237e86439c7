"""A database that is looked at from beside: while it is written, after it was closed, read only."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DatabaseError

from wardround.coordinator import tables
from wardround.errors import WardroundError
from wardround.store import Database
from wardround.store.reading import reading

ROW = {"site": "a", "envelope": b"x"}


def test_it_is_read_while_another_holds_the_write_lock_and_after_it_was_closed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    query = select(tables.approvals.c.site)
    with closing(Database.file(path, tables.MIGRATIONS)) as database:
        with database.begin(write=True) as writing:
            writing.execute(insert(tables.approvals), ROW)
            with reading(path, tables.MIGRATIONS) as connection:
                assert connection.scalars(query).all() == []
        with reading(path, tables.MIGRATIONS) as connection:
            assert connection.scalars(query).all() == ["a"]
            with database.begin(write=True) as writing:
                writing.execute(insert(tables.approvals), {**ROW, "site": "b"})
            assert connection.scalars(query).all() == ["a"], "one view until the end"
    assert not path.with_name("state.db-wal").exists()
    with reading(path, tables.MIGRATIONS) as connection:
        assert connection.scalars(query).all() == ["a", "b"]


def test_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database.file(path, tables.MIGRATIONS).close()
    with (
        pytest.raises(WardroundError) as caught,
        reading(path, tables.MIGRATIONS) as connection,
    ):
        connection.execute(insert(tables.approvals), ROW)
    assert isinstance(caught.value.__cause__, DatabaseError)


@pytest.mark.parametrize(
    ("there", "code"), [(-1, "WR-STORE-005"), (1, "WR-STORE-002"), (None, "WR-STORE-001")]
)
def test_what_this_program_does_not_know_is_refused(
    tmp_path: Path, there: int | None, code: str
) -> None:
    path = tmp_path / "state.db"
    if there is not None:
        steps = (*tables.MIGRATIONS, lambda _connection: None)[: len(tables.MIGRATIONS) + there]
        Database.file(path, steps).close()
    with pytest.raises(WardroundError) as caught, reading(path, tables.MIGRATIONS):
        pass
    assert caught.value.code == code
    assert there is not None or not path.exists()
