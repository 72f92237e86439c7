"""What one hospital is told of a run: its own lane, what is waited for, since when, what is next.

How the others are doing is theirs: who is slow, who refused and why would be told to all. So of
them it says *other hospitals*, without names or numbers, and of its own side everything.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from wardround.coordinator import timewords as words
from wardround.coordinator.stages import Stage
from wardround.coordinator.timeline import (
    Doing,
    Lane,
    Timeline,
    lane_document,
    moment,
    stage_document,
)
from wardround.ids import SiteName
from wardround.trust.canonical import JSON


class For(StrEnum):
    """At whose end it is that something must happen next."""

    ENROLMENT = "enrolment"
    APPROVAL = "approval"
    OWN_DISK = "own-disk"
    OWN_ANSWER = "own-answer"
    OTHERS = "others"
    COORDINATOR = "coordinator"
    NOTHING = "nothing"


def own_document(found: Timeline, site: SiteName) -> dict[str, JSON]:
    """What ``site`` may see. Times are in UTC (ISO 8601)."""
    lane = found.lane(site)
    stage = next((one for one in found.stages if one.group == lane.group), found.stages[0])
    awaited, since = _awaited(lane, stage)
    return {
        "study": found.study,
        "run": found.run,
        "state": found.state,
        "at": moment(found.at),
        "stage": stage_document(stage),
        "site": lane_document(lane),
        "waiting": {
            "for": awaited.value,
            "since": moment(since),
            "words": _waiting(found, lane, stage, awaited, since),
        },
        "next": _next(lane, stage, awaited),
    }


def _awaited(lane: Lane, stage: Stage) -> tuple[For, datetime | None]:
    """Whose turn it is, and since when."""
    if stage.phase == "over":
        return For.NOTHING, None
    if lane.doing is Doing.NOT_ENROLLED:
        return For.ENROLMENT, None
    if lane.doing is Doing.NOT_APPROVED:
        return For.APPROVAL, None
    if lane.hindered is not None:
        return For.OWN_DISK, lane.hindered.since
    if lane.doing is Doing.WAITED_FOR:
        return For.OWN_ANSWER, stage.since
    if stage.waits_for:
        return For.OTHERS, stage.since
    return For.COORDINATOR, stage.since


def _waiting(
    found: Timeline, lane: Lane, stage: Stage, awaited: For, since: datetime | None
) -> str:
    """What is waited for in a sentence, and until when at most."""
    match awaited:
        case For.NOTHING:
            return "nothing: the run is over"
        case For.ENROLMENT:
            return "this hospital to enrol with its invitation"
        case For.APPROVAL:
            return "this hospital's approval of the study"
        case For.OWN_DISK if lane.hindered is not None:
            what = f"room at this hospital: {words.HINDRANCES[lane.hindered.hindrance.cause]}"
        case For.OWN_ANSWER if stage.phase in words.CONNECTS:
            what = "this hospital's agent to connect"
        case For.OWN_ANSWER:
            what = f"this hospital's {words.asked(stage.phase)}"
        case For.OTHERS if stage.phase in words.CONNECTS:
            what = "other hospitals to connect"
        case For.OTHERS:
            what = f"{words.asked_of_many(stage.phase)} of other hospitals"
        case _:
            what = "the coordinator, which adds up and thinks"
    return f"{what}{words.since(found, since)}{words.until(found, stage)}"


def _next(lane: Lane, stage: Stage, awaited: For) -> str:
    """What comes when it is there, and what this hospital has to do with it."""
    usual = words.usual_next(stage.phase)
    match lane.doing:
        case Doing.WAITED_FOR if stage.deadline is not None:
            again = "else it goes on without this hospital where it can, which is asked again later"
            return f"{usual}; {again}" if usual else again
        case Doing.REFUSED | Doing.MISSING | Doing.LEFT_OUT if awaited is not For.NOTHING:
            return f"{usual}; this hospital takes part again in a later round".removeprefix("; ")
    return usual
