"""``wardround run show``: beside a coordinator at work, after a crash, after the end."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

import requires
from commands import Command
from steward import Steward
from ward import SITES, Ward, open_ward, until
from wardround.cli.timeline_picture import picture
from wardround.coordinator import records, timewords
from wardround.coordinator.presence import Presence
from wardround.federation.causes import Cause
from wardround.site.memory import open_memory

SLOW = SITES[2]


@asynccontextmanager
async def waiting_ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """A ward in its second round, for which the packet of one hospital does not come."""
    async with open_ward(tmp_path, cohort={"deadline_s": 600.0}) as ward:
        home = tmp_path / "coordinator"
        (home / "coordinator.toml").write_text('url = "https://localhost:8443"\n')
        (home / "study.json").write_bytes(ward.study.canonical())
        await ward.driver.sum(ward.task())
        ward.hospitals[SLOW].line.die_before("packet")
        second = asyncio.create_task(ward.driver.sum(ward.task("moments")))
        exchange = ward.driver.exchange
        await until(
            lambda: exchange.round.state.step == 1 and len(exchange.round.state.packets) == 3
        )
        write_presence(ward, home)
        yield ward
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


def write_presence(ward: Ward, home: Path) -> None:
    Presence.of(ward.coordinator.heard_ages_s(), datetime.now(UTC)).save(home)


def shown(command: Command, home: Path, *more: str) -> dict[str, object]:
    result = command("run", "show", home, "--json", *more)
    assert result.code == 0, result.err
    return json.loads(result.out)


async def test_it_says_who_is_waited_for_and_nothing_of_it_needs_the_process_that_serves(
    command: Command, tmp_path: Path
) -> None:
    home = tmp_path / "coordinator"
    async with waiting_ward(tmp_path) as ward:
        beside = shown(command, home)
        ward.coordinator.close()  # as after its end: what is seen is what is on the disk
        after = shown(command, home)
        ward.open_coordinator()
    for found in (beside, after):
        (stage,) = found["stages"]
        assert (stage["phase"], stage["step"], stage["waits_for"]) == ("round.collect", 1, [SLOW])
        assert stage["since"] and stage["deadline"] > stage["since"]
        doing = {one["site"]: one["doing"] for one in found["sites"]}
        assert doing == {**dict.fromkeys(SITES, "answered"), SLOW: "waited-for"}
        assert all(one["since"] for one in found["sites"])
        (words,) = found["words"]
        assert words["waiting"].startswith(f"contribution of {SLOW}, since ")
        assert words["next"].endswith(f"at its own deadline without {SLOW}")
    assert {**beside, "at": "", "words": ""} == {**after, "at": "", "words": ""}


async def test_a_restarted_coordinator_tells_the_same_story(
    command: Command, tmp_path: Path
) -> None:
    home = tmp_path / "coordinator"
    async with waiting_ward(tmp_path) as ward:
        before = shown(command, home)
        await ward.crash()
        await ward.restart()
        write_presence(ward, home)
        after = shown(command, home)
    (old,), (new,) = before["stages"], after["stages"]
    assert new["since"] == old["since"] and new["deadline"] > old["deadline"]
    assert {**new, "deadline": ""} == {**old, "deadline": ""}


async def test_the_picture_fits_a_narrow_terminal_and_plain_lines_a_pipe(
    command: Command, tmp_path: Path
) -> None:
    home = tmp_path / "coordinator"
    async with waiting_ward(tmp_path) as ward:
        printed = command("run", "show", home)
        found = ward.coordinator.timeline()
    assert printed.code == 0
    assert f"contribution of {SLOW}" in printed.out and "3 of 4" in printed.out
    assert all(site in printed.out for site in SITES)
    for width in (80, 120):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(picture(found, width), markup=False)
        text = console.file.getvalue()
        assert "owes its contribution" in text and "answered" in text
        assert max(len(line) for line in text.splitlines()) <= width


async def test_following_prints_a_line_for_each_change_and_ends_with_the_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "coordinator"
    async with waiting_ward(tmp_path) as ward:
        naps: list[float] = []

        def nap(seconds: float) -> None:
            """Instead of a second's sleep: once nothing happens, then the run is ended."""
            naps.append(seconds)
            if len(naps) == 2:
                with ward.coordinator.state.transaction() as transaction:
                    run = ward.driver.exchange.run
                    records.end_run(transaction.connection, run, "failed", reason="WR-X-1: no")

        monkeypatch.setattr("time.sleep", nap)
        followed = command("run", "show", home, "--follow")
        first, last = followed.out.splitlines()
        assert len(naps) == 2
        documents = [
            json.loads(line)
            for line in command("run", "show", home, "--follow", "--json").out.splitlines()
        ]
    assert f"waiting for contribution of {SLOW}" in first and "next: they sign" in first
    assert "the run is over (WR-X-1: no)" in last
    assert [one["state"] for one in documents] == ["failed"]


async def test_an_unknown_run_is_refused_and_the_known_ones_are_named(
    command: Command, tmp_path: Path
) -> None:
    async with waiting_ward(tmp_path) as ward:
        home, run = tmp_path / "coordinator", ward.driver.exchange.run
        refused = command("run", "show", home, "--run", "19990101")
        assert refused.code == 1
        assert "WR-COORD-042" in refused.err and run in refused.err
        assert shown(command, home, "--run", run)["run"] == run


async def test_before_the_first_run_it_says_who_is_to_connect(
    command: Command, tmp_path: Path
) -> None:
    async with open_ward(tmp_path, start=False) as ward:
        home = tmp_path / "coordinator"
        (home / "coordinator.toml").write_text('url = "https://localhost:8443"\n')
        (home / "study.json").write_bytes(ward.study.canonical())
        printed = command("run", "show", home)
    assert "no run under way" in printed.out
    assert printed.out.count("its approval is not here") == len(SITES)
    assert "No coordinator is serving this folder" in printed.out


async def test_the_command_that_serves_names_the_folder_as_it_was_typed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ward(tmp_path, start=False) as ward:
        home = tmp_path / "coordinator"
        (home / "coordinator.toml").write_text('url = "https://localhost:8443"\n')
        (home / "study.json").write_bytes(ward.study.canonical())
        for place, typed in ((tmp_path, "coordinator"), (home, ".")):
            monkeypatch.chdir(place)
            printed = command("run", "show", typed)
            assert f"`wardround coordinator serve {typed}`" in printed.out


async def test_a_hospital_asks_for_its_own_lane(tmp_path: Path) -> None:
    async with waiting_ward(tmp_path) as ward:
        agent = ward.hospitals[SITES[0]].agent
        assert agent is not None
        answer = await agent.link._request("GET", "/v1/runs/latest/timeline", b"")
        own = json.loads(answer.content)
        assert own["site"]["site"] == SITES[0] and own["site"]["doing"] == "answered"
        assert own["stage"]["phase"] == "round.collect"
        assert not any(site.encode() in answer.content for site in SITES[1:])
        unknown = agent.link._request("GET", "/v1/runs/19990101/timeline", b"")
        with pytest.raises(Exception, match="WR-COORD-042"):
            await unknown
        assert ward.coordinator.timeline().lane(SLOW).connected is not None


PAGE = requires.ROOT / "docs" / "how-to" / "watch-a-run.md"


async def test_the_commands_of_the_page_run(command: Command, tmp_path: Path) -> None:
    steward = Steward(tmp_path / "hospital")
    steward.ready()
    open_memory(steward.home).close()
    async with waiting_ward(tmp_path) as ward:
        with ward.coordinator.state.transaction() as transaction:
            records.end_run(transaction.connection, ward.driver.exchange.run, "failed", reason="no")
        folders = {"coordinator": tmp_path / "coordinator", "agent": steward.folder}
        lines = re.findall(r"^\$ wardround (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
        assert len(lines) == 6
        for line in lines:
            verb, noun, *rest = line.split()
            words = [folders.get(word, word) for word in rest]
            result = await asyncio.to_thread(command, verb, noun, *words)
            assert result.code == 0 and result.out, line


def test_the_page_explains_every_cause_and_nothing_else() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("| cause | what it means |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.M) == [one.value for one in Cause]
    assert set(timewords.CAUSES) == set(Cause)
