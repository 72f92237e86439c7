"""A decision and its leaf: kept together, undone together, in one order for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError

from wardround.store import Database, SqlLeafStore, leaf_table
from wardround.store.journalled import JournalledDatabase
from wardround.trust.journal import Journal
from wardround.trust.merkle import verify_consistency

metadata = MetaData()
things = Table("things", metadata, Column("number", Integer, primary_key=True))
leaves = leaf_table(metadata)
SCHEMA = (metadata.create_all,)


def opened(path: Path) -> JournalledDatabase:
    return JournalledDatabase(Database.file(path / "state.db", SCHEMA), leaves, "test")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[JournalledDatabase]:
    one = opened(tmp_path)
    yield one
    one.close()


def decide(state: JournalledDatabase, number: int) -> None:
    with state.transaction() as transaction:
        transaction.connection.execute(insert(things).values(number=number))
        transaction.record("thing", number=number)


def decided(state: JournalledDatabase) -> tuple[list[int], list[object]]:
    with state.database.begin() as connection:
        rows = list(connection.scalars(select(things.c.number).order_by(things.c.number)))
    return rows, [entry.facts["number"] for entry in state.journal.entries()]


def test_a_decision_and_its_leaf_survive_a_restart(
    tmp_path: Path, state: JournalledDatabase
) -> None:
    for number in range(5):
        decide(state, number)
    root = state.journal.checkpoint().root
    state.close()
    again = opened(tmp_path)
    assert decided(again) == ([*range(5)], [*range(5)])
    assert again.journal.checkpoint().root == root
    again.close()


@pytest.mark.parametrize("when", ["before the leaf", "after the leaf", "at the commit"])
def test_what_fails_leaves_neither(state: JournalledDatabase, when: str) -> None:
    decide(state, 0)
    before = state.journal.checkpoint()

    def fail() -> None:
        with state.transaction() as transaction:
            if when == "before the leaf":
                raise KeyboardInterrupt
            transaction.connection.execute(insert(things).values(number=1))
            transaction.record("thing", number=1)
            if when == "after the leaf":
                raise KeyboardInterrupt
            transaction.connection.execute(insert(things).values(number=0))  # there is one

    with pytest.raises((KeyboardInterrupt, IntegrityError)):
        fail()
    assert state.journal.checkpoint() == before
    assert decided(state) == ([0], [0])
    decide(state, 1)
    assert decided(state) == ([0, 1], [0, 1])


def test_two_processes_on_one_database_write_one_journal(
    tmp_path: Path, state: JournalledDatabase
) -> None:
    other = opened(tmp_path)
    old = state.journal.checkpoint()
    for number in range(6):
        decide((state, other)[number % 2], number)
    with state.transaction():
        pass
    assert state.journal.checkpoint() == other.journal.checkpoint()
    assert decided(state) == decided(other) == ([*range(6)], [*range(6)])
    new = state.journal.checkpoint()
    proof = state.journal.prove_consistency(2)
    half = Journal(SqlLeafStore(other.database, leaves), "test")
    half.truncate(2)
    verify_consistency(2, half.checkpoint().root, new.size, new.root, list(proof))
    assert old.size == 0
    other.close()


def test_a_leaf_outside_a_transaction_is_a_fault_of_the_program(state: JournalledDatabase) -> None:
    with pytest.raises(RuntimeError):
        SqlLeafStore(state.database, leaves).append(b"leaf")


def test_the_primary_key_forbids_a_second_leaf_in_one_place(state: JournalledDatabase) -> None:
    decide(state, 0)
    with pytest.raises(IntegrityError), state.database.begin() as connection:
        connection.execute(insert(leaves).values(index=0, leaf=b"another"))


def test_whoever_stops_reading_a_journal_leaves_no_transaction_open(
    state: JournalledDatabase,
) -> None:
    """Found by the enumeration of crash points: a restart at a run's end failed ever after."""
    for number in range(3):
        decide(state, number)
    entries = iter(state.journal.entries())
    assert next(entries).facts["number"] == 0
    decide(state, 3)
    assert [entry.facts["number"] for entry in entries] == [1, 2], "as long as it was"
