"""One refusal, seen from both sides: one number everywhere, the reason in the hospital alone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from ward import SITES, Hospital, Ward, open_ward, until
from wardround.coordinator import timewords
from wardround.coordinator.own import own_document
from wardround.coordinator.timeline import Doing
from wardround.federation.causes import Cause, Hindrance
from wardround.site import spool
from wardround.store.room import NO_ROOM, no_room

WHO = SITES[1]


def lose_the_list(hospital: Hospital) -> None:
    hospital.custody.exclusions.write_bytes(b"no list")


def fill_the_disk(hospital: Hospital) -> None:
    """As good as full: nothing can be written where the spool was."""
    shutil.rmtree(hospital.custody.spool)
    hospital.custody.spool.write_bytes(b"")


async def refused(ward: Ward) -> tuple[dict[str, object], dict[str, object]]:
    """A round that one hospital refuses: what the coordinator tells of it, and what it does."""
    total = await asyncio.wait_for(ward.driver.sum(ward.task()), 30)
    assert WHO not in total.survivors
    (outside,) = [facts for event, facts in ward.said if event == "refusal"]
    (inside,) = [facts for event, facts in ward.hospitals[WHO].events if event == "refused"]
    return outside, inside


@pytest.mark.parametrize(
    ("harm", "code", "cause"),
    [(lose_the_list, "WR-STUDY-08", None), (fill_the_disk, "WR-SITE-015", Cause.DISK)],
)
async def test_both_sides_have_the_event_under_one_number(
    tmp_path: Path, harm: object, code: str, cause: Cause | None
) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        harm(ward.hospitals[WHO])
        outside, inside = await refused(ward)
        number = outside["incident"]
        assert outside == {"site": WHO, "incident": number, **({"cause": cause} if cause else {})}
        assert inside["incident"] == number and str(inside["code"]).startswith(code)
        (there,) = [one.facts for one in ward.hospitals[WHO].entries() if one.kind == "refused"]
        assert there["incident"] == number and there["code"] == inside["code"]
        (here,) = ward.entries("refusal")
        assert here.facts["incident"] == number and here.facts.get("cause") == cause
        told = ward.coordinator.timeline().lane(WHO).refusal
        assert told is not None and (told.incident, told.cause) == (number, cause)
        everything = [entry.to_leaf() for entry in ward.entries()]
        assert not any(str(inside["code"]).encode() in leaf for leaf in everything)


def full_at(monkeypatch: pytest.MonkeyPatch, hospital: Hospital) -> set[Path]:
    """The disk of one hospital takes no packet for as long as the set that is returned has it."""
    full, room = {hospital.custody.spool}, spool.room

    def looked_for(folder: Path, *more: object) -> Path:
        if folder in full:
            raise no_room(folder)
        return room(folder, *more)

    monkeypatch.setattr(spool, "room", looked_for)
    return full


async def test_a_hospital_that_waits_for_room_says_so_and_answers_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ward(tmp_path, cohort={"deadline_s": 60.0}) as ward:
        full = full_at(monkeypatch, ward.hospitals[WHO])
        told: list[tuple[str, Hindrance]] = []
        ward.coordinator.on_hindrance = lambda *one: told.append(one)
        summing = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: ward.coordinator.timeline().lane(WHO).hindered)
        found = ward.coordinator.timeline()
        lane = found.lane(WHO)
        assert lane.hindered is not None and lane.doing is Doing.WAITED_FOR
        assert timewords.doing(found, lane, found.stages[0].phase) == (
            "waits: its disk is full; owes its contribution"
        )
        number = lane.hindered.hindrance.incident
        assert own_document(found, WHO)["site"]["hindered"]["cause"] == "disk"
        assert number not in str(own_document(found, SITES[0]))
        full.clear()
        total = await asyncio.wait_for(summing, 30)
        assert WHO in total.survivors, "it has refused nothing"
        await until(lambda: ward.coordinator.timeline().lane(WHO).hindered is None)
        assert told == [(WHO, Hindrance(Cause.DISK, number))]
        inside = [facts for event, facts in ward.hospitals[WHO].events if event == "trouble"]
        assert {(one["code"], one["incident"]) for one in inside} == {(NO_ROOM, number)}
        journals = [*ward.entries(), *ward.hospitals[WHO].entries()]
        assert not any(number.encode() in entry.to_leaf() for entry in journals)


async def test_what_it_says_fills_nobodys_log_and_only_its_own_words_count(
    tmp_path: Path,
) -> None:
    async with open_ward(tmp_path) as ward:
        coordinator, told = ward.coordinator, []
        coordinator.on_hindrance = lambda *one: told.append(one)
        for text in ("disk.7KQ2-M9XA", "disk.7KQ2-M9XB", "", "disk.7KQ2-M9XA"):
            coordinator.hear_hindrance(WHO, text)
        assert len(told) == 1
        for nonsense in ("disk", "policy.7KQ2-M9XA", "disk.no", "disk.7KQ2-M9XA\n", "x" * 9000):
            coordinator.hear_hindrance(WHO, nonsense)
            assert coordinator.presence().hindered == {}
            coordinator.hear_hindrance(WHO, "disk.7KQ2-M9XA")
            assert list(coordinator.presence().hindered) == [WHO]


async def test_a_run_that_is_stopped_is_ending_until_it_has_ended(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        await asyncio.wait_for(ward.driver.sum(ward.task()), 30)
        assert ward.coordinator.timeline().state == "running"
        ward.driver.exchange.stop("WR-X-1: no")
        found = ward.coordinator.timeline()
        assert found.state == "ending" and found.stages[0].since is not None
        assert found.steps == 1
