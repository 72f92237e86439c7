"""The coordinator's database: older ones are brought up to date."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, inspect, select

from ward import SITES, open_ward
from wardround.coordinator import tables
from wardround.store import Database


def test_a_database_from_before_there_were_times_gets_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(Database.file(path, tables.MIGRATIONS[:3])) as old, old.begin() as connection:
        for table, names in (("statements", ["at"]), ("runs", ["resumed_at", "ended_at"])):
            for name in names:
                connection.exec_driver_sql(f'ALTER TABLE "{table}" DROP COLUMN "{name}"')
        said = {"scope": "s", "kind": "vote", "site": "a", "envelope": b"", "attachment": b""}
        names = ", ".join(said)
        marks = ", ".join(f":{name}" for name in said)
        connection.exec_driver_sql(f"INSERT INTO statements ({names}) VALUES ({marks})", said)
    with (
        closing(Database.file(path, tables.MIGRATIONS)) as database,
        database.begin() as connection,
    ):
        assert connection.scalar(select(tables.statements.c.at)) is None
        assert connection.scalar(select(tables.statements.c.site)) == "a"
        now = datetime.now(UTC)
        connection.execute(insert(tables.statements).values(**{**said, "site": "b"}, at=now))
        columns = inspect(connection).get_columns("runs")
    assert {"resumed_at", "ending_at", "ended_at"} <= {column["name"] for column in columns}


async def test_what_comes_in_is_kept_with_its_time(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    async with open_ward(tmp_path) as ward:
        await ward.driver.sum(ward.task())
        with ward.coordinator.state.database.begin() as connection:
            said = connection.execute(select(tables.statements)).all()
            (setup,) = connection.execute(select(tables.setups)).all()
            (round_,) = connection.execute(select(tables.rounds)).all()
    after = datetime.now(UTC)
    times = [setup.started_at, setup.phase_at, round_.started_at, round_.phase_at]
    times += [one.at for one in said]
    assert all(before <= time.replace(tzinfo=UTC) <= after for time in times)
    assert setup.started_at < setup.phase_at <= round_.started_at < round_.phase_at
    packets = [one.at for one in said if one.kind == "packet"]
    assert len(packets) == len(SITES)
    assert round_.started_at <= min(packets) <= max(packets) <= round_.phase_at
