"""Whom a coordinator has heard of, written down for whoever looks from beside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from ward import SITES, until
from wardround.coordinator.connecting import Connecting, Wanted
from wardround.coordinator.presence import NAME, Presence, keep_written
from wardround.coordinator.rows import Hindered
from wardround.federation.causes import Cause, Hindrance, Incident
from wardround.ids import RunId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NONSENSE = orjson.dumps({"at": NOW, "heard": {}, "hindered": {"harbour": ["disk.1", NOW]}})
NO_WAIT = orjson.dumps({"at": NOW, "heard": {}, "hindered": {}, "connecting": [3]})


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    full = Hindered(Hindrance(Cause.DISK, Incident("7KQ2-M9XA")), NOW)
    until = NOW + timedelta(seconds=60)
    there, away = frozenset(SITES[:2]), SITES[2:]
    waits = tuple(
        Connecting(run, Wanted.ENOUGH, NOW, until, 3, there, away)
        for run in (None, RunId("20260101T000000-00000000"))
    )
    written = Presence.of({SITES[0]: 3.5, SITES[1]: 0.0}, NOW, {SITES[1]: full}, waits)
    written.save(tmp_path)
    assert Presence.load(tmp_path) == written
    assert written.as_of(NOW + timedelta(seconds=2)) == written
    assert written.as_of(until).connecting == (), "whoever wrote it is gone"
    assert written.heard[SITES[0]] == NOW - timedelta(seconds=3.5)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"junk",
        b"[]",
        b"{}",
        b'{"at": 1, "heard": {}}',
        b'{"at": "x", "heard": 3}',
        NONSENSE,
        NO_WAIT,
    ],
)
def test_what_makes_no_sense_is_nothing_known(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / NAME).write_bytes(junk)
    assert Presence.load(tmp_path) == Presence()


def test_a_folder_that_takes_no_file_stops_nobody(tmp_path: Path) -> None:
    Presence.of({}, NOW).save(tmp_path / "gone")
    assert Presence.load(tmp_path / "gone") == Presence()


async def test_it_is_kept_written(tmp_path: Path) -> None:
    task = asyncio.create_task(keep_written(tmp_path, lambda: Presence.of({SITES[0]: 0.0}, NOW)))
    await until((tmp_path / NAME).exists)
    task.cancel()
    found = Presence.load(tmp_path)
    assert found.at is not None and list(found.heard) == [SITES[0]]
