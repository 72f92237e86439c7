"""``wardround site status``: what a hospital sees of its own agent, and nobody else does."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands import Command
from steward import Steward
from ward import SITES, open_ward, until
from wardround.errors import WardroundError
from wardround.site import tables
from wardround.site.memory import open_memory
from wardround.site.pulse import NAME, Life, Pulse, beating
from wardround.store.journalled import JournalledDatabase

RUN = "20260101T000000-00000000"


@pytest.fixture
def steward(tmp_path: Path) -> Steward:
    one = Steward(tmp_path)
    one.ready()
    return one


@dataclass
class Heard:
    heard_at: datetime | None


def pulse(ago_s: float | None = 1.0) -> Pulse:
    one = Pulse(lambda _event, /, **_facts: None)
    now = datetime.now(UTC)
    one.listen(Heard(None if ago_s is None else now - timedelta(seconds=ago_s)))
    return one


def answer(command: Command, steward: Steward) -> dict[str, object]:
    result = command("site", "status", steward.folder, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_before_it_has_run(steward: Steward, command: Command) -> None:
    found = answer(command, steward)
    assert found["life"]["state"] == "never" and found["answers"] == 0
    assert found["expires"] > found["renews"]
    assert "has not run yet" in command("site", "status", steward.folder).out


def test_a_refusal_is_shown_with_its_reason_and_the_number_that_both_sides_have(
    steward: Steward, command: Command
) -> None:
    with closing(open_memory(steward.home)) as database:
        state = JournalledDatabase(database, tables.journal, "here")
        scope = f"{RUN}.r.000002.0"
        with state.transaction() as transaction:
            for number in range(7):
                transaction.record(
                    "refused",
                    run=RUN,
                    scope=scope,
                    code="WR-STUDY-080" if number == 6 else "WR-SITE-052",
                    at="2026-01-01T00:00:00+00:00",
                    incident=f"7KQ2-000{number}",
                )
            transaction.record("advert", batch="refused", statement='"kind":"refused"')
        found = answer(command, steward)  # beside the agent that has it open
    latest = found["refusals"][0]
    assert len(found["refusals"]) == 5
    assert (latest["code"], latest["incident"]) == ("WR-STUDY-080", "7KQ2-0006")
    assert latest["title"]
    printed = command("site", "status", steward.folder).out
    assert "step 3, attempt 1" in printed and "7KQ2-0006" in printed and latest["title"] in printed


def test_an_agent_at_work_is_connected_and_says_what_it_was_asked(
    steward: Steward, command: Command
) -> None:
    beat = pulse()
    beat("answered", what="moments", step=3, bytes=100)
    beat.save(steward.folder)
    found = answer(command, steward)["life"]
    assert found["state"] == "running" and found["connected"] is True
    printed = command("site", "status", steward.folder).out
    assert "connected: it answered" in printed and "moments, step 4: answered" in printed


def test_trouble_on_the_line_is_told_with_its_code_until_it_is_over(
    steward: Steward, command: Command
) -> None:
    beat = pulse(300.0)
    for _ in range(2):
        beat("trouble", code="WR-SITE-040", problem="Nobody answers.", remedy="Wait.")
    beat.save(steward.folder)
    printed = command("site", "status", steward.folder).out
    assert "not connected: it last answered 5 min 0" in printed
    assert "WR-SITE-040: Nobody answers." in printed
    beat.listen(Heard(datetime.now(UTC) + timedelta(seconds=2)))
    beat.save(steward.folder)
    assert answer(command, steward)["life"]["trouble"] is None


def test_an_agent_that_was_killed_is_silent(steward: Steward) -> None:
    pulse().save(steward.folder)
    later = datetime.now(UTC) + timedelta(minutes=5)
    life = Life.load(steward.folder, later)
    assert life.state == "silent" and not life.connected


async def test_how_it_ended_is_kept(tmp_path: Path) -> None:
    error = WardroundError("WR-SITE-050", "The run was stopped.", "Ask.")
    with pytest.raises(WardroundError):
        async with beating(tmp_path, lambda _event, /, **_facts: None):
            await until((tmp_path / NAME).exists)
            raise error
    life = Life.load(tmp_path, datetime.now(UTC))
    assert life.state == "ended" and life.ended is not None
    assert life.ended["code"] == "WR-SITE-050"
    async with beating(tmp_path, lambda _event, /, **_facts: None) as beat:
        beat("finished")
    assert Life.load(tmp_path, datetime.now(UTC)).ended["how"] == "finished"


@pytest.mark.parametrize("junk", [b"", b"[]", b"{}", b'{"at": 1, "started": 2, "heard": null}'])
def test_a_file_that_makes_no_sense_is_no_agent(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / NAME).write_bytes(junk)
    assert Life.load(tmp_path, datetime.now(UTC)) == Life()


async def test_an_agents_link_knows_when_the_coordinator_answered_last(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    async with open_ward(tmp_path) as ward:
        agent = ward.hospitals[SITES[0]].agent
        assert agent is not None
        await asyncio.wait_for(ward.driver.sum(ward.task()), 30)
        assert agent.link.heard_at is not None
        assert before <= agent.link.heard_at <= datetime.now(UTC)
