"""One refusal, seen from both sides: one number everywhere, the reason in the hospital alone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from ward import SITES, Hospital, Ward, open_ward
from wardround.federation.causes import Cause

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


async def test_a_run_that_is_stopped_is_ending_until_it_has_ended(tmp_path: Path) -> None:
    async with open_ward(tmp_path) as ward:
        await asyncio.wait_for(ward.driver.sum(ward.task()), 30)
        assert ward.coordinator.timeline().state == "running"
        ward.driver.exchange.stop("WR-X-1: no")
        found = ward.coordinator.timeline()
        assert found.state == "ending" and found.stages[0].since is not None
        assert found.steps == 1
