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
from wardround.site.asking import Waiting
from wardround.site.memory import open_memory
from wardround.site.pulse import NAME, Life, Pulse, beating
from wardround.site.sounding import own_lane
from wardround.store.journalled import JournalledDatabase
from wardround.trust.tls import client_context

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


def test_a_coordinator_that_was_just_killed_is_not_called_connected(
    steward: Steward, command: Command
) -> None:
    """It answered a moment ago, and can't be reached: the line says one of the two."""
    beat = pulse(5.0)
    beat("trouble", code="WR-SITE-040", problem="It can't be reached.", remedy="Wait.")
    beat.save(steward.folder)
    printed = command("site", "status", steward.folder).out
    (line,) = [one for one in printed.splitlines() if "WR-SITE-040" in one]
    assert ", not connected: it last answered" in line and ", connected" not in line
    beat("trouble", code="WR-STORE-004", problem="The disk is full.", remedy="Make room.")
    beat.save(steward.folder)
    assert answer(command, steward)["life"]["connected"] is True, "trouble of another kind"


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


async def test_beside_a_running_agent_the_coordinator_says_what_is_waited_for(
    tmp_path: Path,
) -> None:
    slow, site = SITES[0], SITES[1]
    async with open_ward(tmp_path, "https", cohort={"deadline_s": 600.0}) as ward:
        ward.hospitals[slow].line.die_before("packet")
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        exchange = ward.driver.exchange
        await until(lambda: exchange.round and len(exchange.round.state.packets) == len(SITES) - 1)
        mine = ward.hospitals[site]
        refused = len(ward.entries("refused"))

        async def told() -> dict[str, object]:
            paths = (ward.tls / name for name in ("ca.pem", f"{site}.pem", f"{site}.key"))
            papers = client_context(*paths), mine.agent_key, mine.identity, None
            return await own_lane(ward.url, *papers)

        found = await told()
        assert found["waiting"]["for"] == "others" and found["waiting"]["since"]
        assert found["waiting"]["words"].startswith("contributions of other hospitals, since ")
        assert found["next"] == "they sign who answered"
        assert slow not in str(found), "not who"
        await mine.kill()
        heard = ward.coordinator.heard_ages_s()[site]
        await told()
        assert ward.coordinator.heard_ages_s()[site] >= heard, "who looks is no agent"
        assert len(ward.entries("refused")) == refused, "and no twin of one"
        work.cancel()


def test_what_the_run_waits_for_stands_beside_the_rest(
    steward: Steward, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "contributions of other hospitals, since 41 s"
    waiting = Waiting(RUN, "running", "others", None, words, "they sign who answered")
    monkeypatch.setattr("wardround.site.asking.ask_waiting", lambda _home: waiting)
    printed = command("site", "status", steward.folder, "--run")
    assert printed.code == 0 and words in printed.out and "they sign who" in printed.out
    found = json.loads(command("site", "status", steward.folder, "--run", "--json").out)
    assert found["run"]["awaited"] == "others" and found["answers"] == 0


def test_where_nobody_answers_that_is_said_and_the_rest_is_shown(
    tmp_path: Path, command: Command
) -> None:
    steward = Steward(tmp_path)
    steward.ready("https://localhost:1")
    printed = command("site", "status", steward.folder, "--run")
    assert printed.code == 0
    assert "WR-SITE-040" in printed.out and "has not run yet" in printed.out
    assert "run" not in answer(command, steward), "only where it is asked for"
