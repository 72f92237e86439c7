"""What a run is waiting for, since when, and who has answered: rows in, a `Timeline` out.

Pure. Everything follows from what the coordinator has persisted, so that a restart changes nothing
and another process, or one after the end, sees the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from wardround.coordinator.presence import SILENT_AFTER_S
from wardround.coordinator.rows import Hindered, Rows, SaidRow
from wardround.coordinator.stages import Stage, newest_partition, stages
from wardround.federation.causes import Cause
from wardround.federation.messages import group_of, is_stream
from wardround.federation.pace import usual_s
from wardround.federation.round import Round, RoundPhase
from wardround.ids import SiteName
from wardround.study import Study
from wardround.trust.canonical import JSON

_GOING = ("waiting", "running", "ending")


class Doing(StrEnum):
    """What a site is at, seen from the coordinator."""

    NOT_ENROLLED = "not-enrolled"
    NOT_APPROVED = "not-approved"
    WAITED_FOR = "waited-for"
    ANSWERED = "answered"
    REFUSED = "refused"
    MISSING = "missing"
    LEFT_OUT = "left-out"
    NOT_ASKED = "not-asked"


class Mark(StrEnum):
    """What became of one round at one site."""

    ANSWERED = "answered"
    REFUSED = "refused"
    MISSING = "missing"
    LEFT_OUT = "left-out"
    NOT_READY = "not-ready"
    """A late cohort came together without it, as it has to without most."""
    OPEN = "open"


@dataclass(frozen=True)
class RefusalMark:
    """The last time that a site refused, and what it let be said of it."""

    about: str
    at: datetime | None
    cause: Cause | None
    incident: str | None


@dataclass(frozen=True)
class Lane:
    """One site. ``since`` is when it answered or refused, or since when it is waited for."""

    site: SiteName
    doing: Doing
    since: datetime | None
    heard: datetime | None
    connected: bool | None
    """Whether its agent has been heard of lately; None where the coordinator does not run."""
    marks: tuple[Mark, ...] = ()
    refusal: RefusalMark | None = None
    group: int | None = None
    usual_s: float | None = None
    """How long its answer to what it is asked now takes as a rule, where that is known."""
    hindered: Hindered | None = None
    """What it says itself that it waits for, at its own end."""

    def count(self, mark: Mark) -> int:
        """In how many rounds that became of it."""
        return self.marks.count(mark)


@dataclass(frozen=True)
class Timeline:
    """A run, or the wait for one, at the time ``at``."""

    study: str
    version: int
    run: str | None
    state: str
    """``waiting``, ``running``, ``ending``, ``finished`` or ``failed``."""
    at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    model: str | None
    attempts: int
    """How often a round is tried."""
    steps: int
    """How many totals have been opened, of every group the first one's."""
    rounds: int
    alive: bool
    """Whether a coordinator is serving."""
    stages: tuple[Stage, ...]
    lanes: tuple[Lane, ...]

    @property
    def changes(self) -> tuple[object, ...]:
        """What has to differ for something to have happened; time alone does not."""
        doing = tuple(
            (lane.doing, lane.connected, lane.refusal, lane.hindered) for lane in self.lanes
        )
        return self.run, self.state, self.alive, self.rounds, self.stages, doing

    def lane(self, site: SiteName) -> Lane:
        """A site's lane."""
        return next(one for one in self.lanes if one.site == site)


def timeline(rows: Rows, study: Study, now: datetime) -> Timeline:
    """The timeline of the run in ``rows`` under ``study``, as it looks at ``now``."""
    run = rows.run
    alive = rows.alive_at is not None and now - rows.alive_at < _s(SILENT_AFTER_S)
    found = stages(rows, study)
    first = [one for one in rows.rounds if (group_of(one.state.run) or (0, 1))[1] == 1]
    said: dict[SiteName, list[SaidRow]] = defaultdict(list)
    for one in rows.said:
        said[one.site].append(one)
    return Timeline(
        study=study.id,
        version=study.version,
        run=None if run is None else run.run,
        state=_state(rows),
        at=now,
        started_at=None if run is None else run.started_at,
        ended_at=None if run is None else run.ended_at,
        reason=None if run is None else run.reason,
        model=None if run is None else run.model,
        attempts=study.cohort.attempts,
        steps=sum(one.state.phase is RoundPhase.DONE for one in first),
        rounds=len(rows.rounds),
        alive=alive,
        stages=found,
        lanes=tuple(_lane(site, rows, found, said[site], alive) for site in study.site_names),
    )


def _state(rows: Rows) -> str:
    if rows.run is None:
        return "waiting"
    if rows.run.state == "running" and rows.run.ending_at is not None:
        return "ending"
    return rows.run.state


def _lane(
    site: SiteName, rows: Rows, found: tuple[Stage, ...], said: list[SaidRow], alive: bool
) -> Lane:
    stage = _stage_of(site, rows, found)
    heard = rows.heard.get(site)
    connected = rows.connected(site) if alive else None
    mine = rows.rounds
    if stage.group is not None:
        places = _places(site, rows)
        mine = tuple(one for one in mine if group_of(one.state.run) in places)
    doing, since = _doing(site, rows, stage, said, connected)
    return Lane(
        site=site,
        doing=doing,
        since=since,
        heard=heard,
        connected=connected,
        marks=tuple(mark_of(site, one.state) for one in mine),
        refusal=_last_refusal(said),
        group=stage.group,
        hindered=rows.hindered.get(site) if alive and _state(rows) in _GOING else None,
        usual_s=usual_s(rows.times.get((site, stage.kind or ""), ()))
        if stage.phase == "round.collect" and doing is Doing.WAITED_FOR
        else None,
    )


def _stage_of(site: SiteName, rows: Rows, found: tuple[Stage, ...]) -> Stage:
    """That of the site's group: where it was in a set-up; else the first."""
    newest = newest_partition(rows)
    groups = {group for partition, group in _places(site, rows) if partition == newest}
    return next((one for one in found if one.group in groups), found[0])


def _places(site: SiteName, rows: Rows) -> frozenset[tuple[int, int]]:
    """In which group of which partition a site was in a set-up, or is waited for before one."""
    runs = {row.state.run for row in rows.setups if site in row.state.pool}
    for one in rows.connecting:
        if one.run is not None and (site in one.there or site in one.waits_for):
            runs.add(one.run)
    return frozenset(place for place in map(group_of, runs) if place is not None)


def _doing(
    site: SiteName, rows: Rows, stage: Stage, said_by: list[SaidRow], connected: bool | None
) -> tuple[Doing, datetime | None]:
    if site not in rows.enrolled:
        return Doing.NOT_ENROLLED, None
    if site not in rows.approved:
        return Doing.NOT_APPROVED, None
    said = _latest(said_by, stage.scope)
    if site in stage.waits_for:
        return Doing.WAITED_FOR, stage.since
    if site in stage.refused:
        return Doing.REFUSED, None if said is None else said.at
    if site in stage.answered:
        return Doing.ANSWERED, None if said is None else said.at
    if site in stage.missing:
        return Doing.MISSING, stage.since
    if site in stage.left_out:
        return Doing.LEFT_OUT, stage.since
    return Doing.NOT_ASKED, rows.heard.get(site) if connected is False else None


def mark_of(site: SiteName, state: Round) -> Mark:
    """What became of a round at ``site``."""
    if site in state.packets:
        return Mark.ANSWERED
    if site not in state.roster:
        return Mark.NOT_READY if is_stream(state.run) else Mark.LEFT_OUT
    if site in state.refused:
        return Mark.REFUSED
    return Mark.OPEN if state.phase is RoundPhase.COLLECT else Mark.MISSING


def _latest(said: Iterable[SaidRow], scope: str | None) -> SaidRow | None:
    known = [one for one in said if one.scope == scope and one.at is not None]
    return max(known, key=lambda one: one.at or datetime.min) if known else None


def _last_refusal(said: Iterable[SaidRow]) -> RefusalMark | None:
    mine = [one for one in said if one.kind == "refusal"]
    if not mine:
        return None
    last = max(mine, key=lambda one: (one.at is not None, one.at or 0, one.scope))
    return RefusalMark(last.scope, last.at, last.cause, last.incident)


def _s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def document(found: Timeline) -> dict[str, JSON]:
    """The operator's whole view, for programs. Times are in UTC (ISO 8601)."""
    return {
        "study": found.study,
        "version": found.version,
        "run": found.run,
        "state": found.state,
        "at": moment(found.at),
        "started": moment(found.started_at),
        "ended": moment(found.ended_at),
        "reason": found.reason,
        "model": found.model,
        "coordinator_runs": found.alive,
        "totals": found.steps,
        "rounds": found.rounds,
        "attempts": found.attempts,
        "stages": [
            {
                **stage_document(stage),
                "asked": stage.asked,
                "enough": stage.enough,
                "answered": sorted(stage.answered),
                "refused": sorted(stage.refused),
                "missing": sorted(stage.missing),
                "left_out": sorted(stage.left_out),
                "waits_for": list(stage.waits_for),
            }
            for stage in found.stages
        ],
        "sites": [lane_document(lane) for lane in found.lanes],
    }


def stage_document(stage: Stage) -> dict[str, JSON]:
    """Which phase it is, since when, and until when at most: nothing about any hospital."""
    return {
        "phase": stage.phase,
        "since": moment(stage.since),
        "deadline": moment(stage.deadline),
        "group": stage.group,
        "step": stage.step,
        "attempt": stage.attempt,
        "kind": stage.kind,
    }


def lane_document(lane: Lane) -> dict[str, JSON]:
    """One hospital's lane."""
    told = lane.refusal
    return {
        "site": lane.site,
        "group": lane.group,
        "doing": lane.doing.value,
        "since": moment(lane.since),
        "heard": moment(lane.heard),
        "connected": lane.connected,
        "usual_s": lane.usual_s,
        "hindered": None
        if lane.hindered is None
        else {
            "cause": lane.hindered.hindrance.cause.value,
            "incident": lane.hindered.hindrance.incident,
            "since": moment(lane.hindered.since),
        },
        "rounds": [mark.value for mark in lane.marks],
        "refusal": None
        if told is None
        else {
            "about": told.about,
            "at": moment(told.at),
            "cause": None if told.cause is None else told.cause.value,
            "incident": told.incident,
        },
    }


def moment(at: datetime | None) -> str | None:
    """A time as programs read it (ISO 8601, UTC)."""
    return None if at is None else at.isoformat(timespec="milliseconds")
