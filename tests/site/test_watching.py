"""The records are kept current while nobody looks, and what each reading gives is said."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from steward import Steward
from wardround.clinical.keeping import Subscriber
from wardround.site.home import SiteHome
from wardround.site.watching import watch


def approved(folder: Path) -> SiteHome:
    steward = Steward(folder)
    steward.approve()
    return steward.home


class Heard:
    """The events, as they are said."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[tuple[str, dict[str, object]]] = asyncio.Queue()

    def __call__(self, event: str, /, **facts: str | float) -> None:
        self.events.put_nowait((event, facts))

    async def next(self) -> tuple[str, dict[str, object]]:
        return await asyncio.wait_for(self.events.get(), 20)


async def test_each_reading_says_n_of_m(tmp_path: Path) -> None:
    heard = Heard()
    running = asyncio.create_task(watch(approved(tmp_path), heard, timedelta(hours=1), None))
    event, facts = await heard.next()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert event == "records"
    assert facts == {"used": 60, "total": 61, "read": "biopsies"}


async def test_who_is_excluded_does_not_count(tmp_path: Path) -> None:
    steward = Steward(tmp_path)
    steward.approve(("harbour-1", "harbour-2", "harbour-3"))
    heard = Heard()
    running = asyncio.create_task(watch(steward.home, heard, timedelta(hours=1), None))
    facts = (await heard.next())[1]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert facts == {"used": 57, "total": 61, "read": "biopsies", "excluded": 3}


async def test_a_list_that_is_gone_is_told(tmp_path: Path) -> None:
    home = approved(tmp_path)
    home.exclusions_path.unlink()
    heard = Heard()
    running = asyncio.create_task(watch(home, heard, timedelta(hours=1), None))
    event, facts = await heard.next()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (event, facts["code"]) == ("trouble", "WR-STUDY-080")


async def test_a_receiver_listens_on_this_machine_and_goes_with_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewing: list[asyncio.Task[None] | None] = []

    async def renew(_self: Subscriber) -> None:
        renewing.append(asyncio.current_task())
        await asyncio.Event().wait()

    monkeypatch.setattr(Subscriber, "renew", renew)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    heard = Heard()
    running = asyncio.create_task(watch(approved(tmp_path), heard, timedelta(hours=1), port))
    assert (await heard.next())[0] == "listening"
    assert (await heard.next())[0] == "records"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
    assert [one.cancelled() for one in renewing if one is not None] == [True]


async def test_a_file_that_is_gone_is_told_and_nothing_ends(tmp_path: Path) -> None:
    home = approved(tmp_path)
    _ = home.mapping
    (home.mapping_file.parent / "biopsies.csv").unlink()
    heard = Heard()
    running = asyncio.create_task(watch(home, heard, timedelta(hours=1), None))
    event, facts = await heard.next()
    assert (event, facts["code"]) == ("trouble", "WR-DATA-010")
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
