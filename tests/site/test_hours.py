"""Outside its hours a hospital waits, keeps its promises to the others, and comes back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from bedside import Bedside
from scripted import Script, Told, contribute
from ward import SITES, code_of
from wardround.federation.messages import Ask, Instruction
from wardround.federation.packet import Packet, Status, StatusKind
from wardround.site.agent import Agent
from wardround.site.hours import LONGEST_NAP_S, OpeningHours
from wardround.study.hours import Hours

NIGHT = Hours.model_validate_json(
    json.dumps({"opens": "20:00", "closes": "06:00", "time_zone": "UTC"})
)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
EVENING = datetime(2026, 11, 26, 20, tzinfo=UTC)


class Clock:
    """Stands still but for those who sleep by it."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.naps: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def bedside(tmp_path):
    one = Bedside(tmp_path)
    one.set_up()
    return one


def agent(bedside, script, told, clock):
    return Agent(
        bedside.papers,
        script,
        bedside.door,
        bedside.seat,
        bedside.state,
        lambda _documents, _model: None,
        told,
        hours=OpeningHours(NIGHT, told, clock, clock.sleep),
    )


async def test_inside_the_hours_nothing_waits():
    told, clock = Told(), Clock(EVENING)
    await OpeningHours(NIGHT, told, clock, clock.sleep).wait()
    await OpeningHours(None, told, Clock(NOON), clock.sleep).wait()
    assert not clock.naps and not told.events


async def test_it_wakes_at_the_opening_and_tells_the_hospital():
    told, clock = Told(), Clock(NOON)
    await OpeningHours(NIGHT, told, clock, clock.sleep).wait()
    assert clock.now == EVENING
    assert max(clock.naps) <= LONGEST_NAP_S
    assert told.events == [("closed", {"until": "2026-11-26 20:00"}), ("open", {})]


async def test_a_clock_that_is_set_does_not_make_it_miss_the_opening():
    clock = Clock(NOON)

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        clock.now = max(clock.now, EVENING + timedelta(hours=1))  # the machine had slept

    await OpeningHours(NIGHT, Told(), clock, sleep).wait()
    assert len(clock.naps) == 1


async def test_a_task_waits_for_the_hours_and_is_then_asked_for_anew(bedside):
    """Nothing is computed or sent, and what stood before the wait is stale after it."""
    order = bedside.order()
    told, clock = Told(), Clock(NOON)
    script = Script(contribute(bedside, order), contribute(bedside, order))
    assert await code_of(agent(bedside, script, told, clock).run()) == "WR-SITE-050"
    approval, packet = script.heard
    assert isinstance(approval, Status) and isinstance(packet, Packet)
    assert clock.now == EVENING
    assert [event for event, _ in told.events] == ["connected", "closed", "open", "answered"]
    assert len(script.polls) >= 2  # it asked after the wait rather than answer the old question


async def test_while_it_waits_nothing_was_computed(bedside):
    clock, calls = Clock(NOON), []

    async def sleep(seconds: float) -> None:
        calls.append(list(bedside.worker.calls))
        await clock.sleep(seconds)

    script = Script(contribute(bedside, bedside.order()))
    one = agent(bedside, script, Told(), clock)
    one._hours = OpeningHours(NIGHT, Told(), clock, sleep)
    await code_of(one.run())
    assert calls and not any(calls)


async def test_after_a_missed_first_round_it_takes_part_in_the_next_of_the_same_set_up(bedside):
    """The shares that came with the first round were taken though it was not answered."""
    clock = Clock(NOON)
    script = Script(
        contribute(bedside, bedside.order()),
        contribute(bedside, bedside.order(index=1), envelopes={}, blobs={}),
    )
    await code_of(agent(bedside, script, Told(), clock).run())
    assert [type(one) for one in script.heard] == [Status, Packet]


async def test_outside_its_hours_it_joins_no_set_up_but_still_votes(bedside):
    clock = Clock(NOON)
    invited = Instruction(
        ask=Ask.ADVERTISE, run=bedside.order().manifest.run, batch="other", pool=SITES, rounds=1
    )
    script = Script(invited)
    await code_of(agent(bedside, script, Told(), clock).run())
    assert [one.kind for one in script.heard] == [StatusKind.APPROVAL]
    assert clock.now == EVENING
