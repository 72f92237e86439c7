"""A full disk at the coordinator or at a hospital: everybody waits, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from faults.enumeration import Enumeration, enumeration
from faults.outcome import examine
from faults.trial import COORDINATOR, SITES, Trial
from wardround.errors import WardroundError
from wardround.store import Blobs, Database, room
from wardround.store.room import NO_ROOM

FIRST = 12
"""By this operation everybody has started; a start on a full disk ends with the same code."""

NEEDS_ROOM = ("create", "write", "mkdir", "allocate", "commit", "fsync")


class Full:
    """A disk that takes nothing from one operation on, for as long as ``times`` operations."""

    def __init__(self, start: int, times: int) -> None:
        self.start, self.times, self.met = start, times, 0
        self.seen = 0

    def __call__(self, kind: str) -> None:
        if kind not in NEEDS_ROOM:
            return
        self.seen += 1
        if self.start <= self.seen < self.start + self.times:
            self.met += 1
            if kind == "commit":
                reason = sqlite3.OperationalError("database or disk is full")
                reason.sqlite_errorname = "SQLITE_FULL"
                raise OperationalError("COMMIT", {}, reason) from reason
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def fills_up(one: Enumeration, name: str, start: int, times: int) -> Full:
    """A run in which a party's disk is full for a while."""
    trial = Trial(one.cast, one.cast.folder.parent / f"full-{name}-{start}")
    full = trial.parties[name].strike = Full(start, times)
    await trial.run()
    outcome = examine(trial)
    assert outcome.totals == one.truth.totals
    if full.met:
        told = {str(facts.get("code", event)) for event, facts in trial.said}
        assert told & {NO_ROOM, "disk-full"}, "people are told why it waits"
    return full


@pytest.mark.parametrize("name", [COORDINATOR, SITES[0]])
def test_a_disk_that_is_full_for_a_while_costs_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "POLL_S", 0.01)
    with enumeration() as one:
        met = [asyncio.run(fills_up(one, name, start, 3)).met for start in (FIRST, 30, 45, 60)]
    assert all(met)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [COORDINATOR, SITES[0]])
def test_a_disk_that_is_full_at_any_write_costs_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "POLL_S", 0.01)
    with enumeration() as one:
        start = FIRST
        while asyncio.run(fills_up(one, name, start, 2)).met:
            start += 1
    assert start > 50


def code_of(call: object) -> str | None:
    try:
        call()
    except WardroundError as error:
        return error.code
    return None


def test_a_real_full_disk_has_its_code_and_takes_the_rest_when_there_is_room(
    tmp_path: Path,
) -> None:
    """SQLite under a limit of pages; ``/dev/full`` for files is not a folder."""
    database = Database.file(tmp_path / "state.db", ())
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.exec_driver_sql("PRAGMA max_page_count = 8")

    def insert() -> None:
        with database.begin(write=True) as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(100000))")

    assert code_of(insert) == NO_ROOM
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
        connection.exec_driver_sql("PRAGMA max_page_count = 1000")
    assert code_of(insert) is None


def test_a_blob_that_finds_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    blobs = Blobs(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    assert code_of(lambda: blobs.put(b"data", durable=True)) == NO_ROOM
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert blobs.get(blobs.put(b"data", durable=True)) == b"data"
