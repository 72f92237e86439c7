"""What a run, or each of its groups, is at: the set-up or round under way, and for whom it waits.

Pure, and the same rules as in `federation.round` and `federation.setup`, read instead of moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from wardround.coordinator.connecting import Connecting
from wardround.coordinator.rows import RoundRow, Rows, RunRow, SetupRow, StreamRow
from wardround.federation.draw import DrawPhase
from wardround.federation.late import CohortPhase
from wardround.federation.messages import draw_scope, group_of
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import RunId, SiteName
from wardround.study import Study

_TIMED = (
    *(SetupPhase.ADVERTISE, SetupPhase.CHOOSE, SetupPhase.DEAL),
    *(RoundPhase.COLLECT, RoundPhase.VOTE, RoundPhase.RECOVER, RoundPhase.AUDIT),
)

Sites = frozenset[SiteName]
_NONE: Sites = frozenset()


@dataclass(frozen=True)
class Stage:
    """Where one chain of rounds stands.

    ``deadline`` is the study's ceiling: the last moment at which anything is waited for. A round
    may go on earlier, without sites that are later than usual for them (`federation.pace`).

    ``phase`` is ``connect`` (no run yet, or another is to begin), ``draw.…``, ``set-up.…``,
    ``round.…``, ``cohort.…`` (in a stream), ``reconnect.…`` (hospitals are
    missing before the run or a set-up can go on), ``between`` (the coordinator works),
    ``countersign`` or ``over``. ``enough`` is how many answers of this phase
    suffice once the deadline has passed, None where all are needed or the deadline decides nothing.
    """

    phase: str
    since: datetime | None
    deadline: datetime | None = None
    group: int | None = None
    step: int | None = None
    attempt: int | None = None
    kind: str | None = None
    scope: str | None = None
    """The set-up, round, draw or run that statements about this name."""
    enough: int | None = None
    asked: int = 0
    answered: Sites = _NONE
    refused: Sites = _NONE
    missing: Sites = _NONE
    left_out: Sites = _NONE
    waits_for: tuple[SiteName, ...] = ()


def stages(rows: Rows, study: Study) -> tuple[Stage, ...]:
    """One stage, or in a study with groups one for each group that has begun."""
    if rows.run is None:
        return (_connecting(rows, study),)
    if rows.run.state != "running":
        return (Stage("over", rows.run.ended_at, scope=rows.run.run),)
    if rows.run.ending_at is not None:
        return (_ending(rows, rows.run),)
    opened = max(rows.run.started_at, rows.run.resumed_at or rows.run.started_at)
    for wait in rows.connecting:
        if wait.run is None and wait.since >= opened:
            return (_reconnecting(wait, None, frozenset(study.site_names)),)
    if study.cohort.groups is not None:
        found = _groups(rows, rows.run, study)
        return found or (_drawing(rows, rows.run, study),)
    late = None if rows.stream is None else _stream(rows, rows.run, rows.stream, study)
    return (late or _chain(rows, rows.run, rows.run.run, None, study),)


def _connecting(rows: Rows, study: Study) -> Stage:
    there = frozenset(site for site in rows.approved if rows.connected(site))
    waits = tuple(site for site in study.site_names if site not in there)
    wait = next((one for one in rows.connecting if one.run is None), None)
    return Stage(
        "connect",
        None if wait is None else wait.since,
        deadline=None if wait is None else wait.until,
        answered=there,
        waits_for=waits,
        asked=len(study.site_names),
    )


def _ending(rows: Rows, run: RunRow) -> Stage:
    signed = frozenset(
        one.site for one in rows.said if (one.scope, one.kind) == (run.run, "witness")
    )
    waits = tuple(sorted(rows.approved - signed))
    return Stage(
        "countersign",
        run.ending_at,
        scope=run.run,
        answered=signed,
        waits_for=waits,
        asked=len(rows.approved),
    )


def _drawing(rows: Rows, run: RunRow, study: Study) -> Stage:
    if rows.draw is None:
        return Stage("draw.commit", run.started_at, waits_for=study.site_names)
    draw = rows.draw.state
    deadline = rows.draw.phase_at if draw.phase is DrawPhase.REVEAL else None
    waits = () if draw.phase is DrawPhase.FAILED else draw.missing
    return Stage(
        f"draw.{draw.phase.value}",
        rows.draw.phase_at,
        deadline=_deadline(deadline, run, study),
        scope=draw_scope(draw.number),
        answered=frozenset(draw.sites) - set(draw.missing) - draw.refused,
        refused=draw.refused,
        waits_for=waits,
        asked=len(draw.sites),
    )


def _groups(rows: Rows, run: RunRow, study: Study) -> tuple[Stage, ...]:
    newest = newest_partition(rows)
    numbered: set[tuple[int, RunId]] = set()
    waiting = {one.run for one in rows.connecting if one.run is not None}
    for name in {row.state.run for row in rows.setups} | waiting:
        place = group_of(name)
        if place is not None and place[0] == newest:
            numbered.add((place[1], name))
    return tuple(_chain(rows, run, name, number, study) for number, name in sorted(numbered))


def newest_partition(rows: Rows) -> int:
    """Which partition of the study's sites, from 0, the newest groups are of."""
    names = [row.state.run for row in rows.setups]
    names += [one.run for one in rows.connecting if one.run is not None]
    places = map(group_of, names)
    return max((place[0] for place in places if place is not None), default=0)


def _chain(rows: Rows, run: RunRow, name: RunId, group: int | None, study: Study) -> Stage:
    rounds = [row for row in rows.rounds if row.state.run == name]
    setups = [row for row in rows.setups if row.state.run == name]
    everyone = (
        frozenset(study.site_names)
        if group is None
        else _NONE.union(*(row.state.pool for row in setups))
    )
    if rounds and not rounds[-1].state.over:
        return _round(rounds[-1], run, group, study, everyone)
    if setups and setups[-1].state.phase not in (SetupPhase.READY, SetupPhase.FAILED):
        return _setup(setups[-1], run, group, study, everyone)
    times = [row.phase_at for row in rounds[-1:]] + [row.phase_at for row in setups[-1:]]
    ends = [at for at in times if at is not None]
    last_at = max([run.started_at, run.resumed_at or run.started_at, *ends])
    for wait in rows.connecting:
        if wait.run == name and wait.since >= last_at:
            return _reconnecting(wait, group, everyone)
    if not rounds:
        return Stage("between", max(ends, default=run.started_at), group=group)
    last = rounds[-1]
    packets = last.state.packets
    return Stage(
        "between",
        max(ends, default=None),
        group=group,
        step=last.state.step,
        attempt=last.state.attempt,
        kind=last.kind,
        scope=last.state.round,
        answered=packets,
        refused=last.state.refused - packets,
        missing=frozenset(last.state.dropped) - last.state.refused,
        left_out=everyone - set(last.state.roster),
    )


def _reconnecting(wait: Connecting, group: int | None, everyone: Sites) -> Stage:
    return Stage(
        f"reconnect.{wait.wanted.value}",
        wait.since,
        deadline=wait.until,
        group=group,
        scope=wait.run,
        enough=wait.needed,
        asked=len(wait.there) + len(wait.waits_for),
        answered=wait.there,
        left_out=everyone - wait.there - set(wait.waits_for),
        waits_for=wait.waits_for,
    )


def _stream(rows: Rows, run: RunRow, stream: StreamRow, study: Study) -> Stage | None:
    """The cohort that is formed or summed, or who is ready; None when rounds have begun since."""
    over = (SetupPhase.READY, SetupPhase.FAILED)
    rounds = [row for row in rows.rounds if row.state.run == run.run]
    busy = any(not one.state.over for one in rounds[-1:])
    busy |= any(one.state.phase not in over for one in rows.setups[-1:])
    busy |= any(one.run == run.run and one.since >= stream.at for one in rows.connecting)
    times = [row.phase_at for row in rounds[-1:]] + [row.phase_at for row in rows.setups[-1:]]
    if busy or any(at is not None and at > stream.at for at in times):
        return None
    everyone, state = frozenset(study.site_names), stream.state
    if stream.round is not None and not stream.round.state.over:
        return _round(stream.round, run, None, study, everyone)
    for cohort in state.cohorts:
        if cohort.under_way:
            signs = cohort.phase is CohortPhase.SIGN
            return Stage(
                f"cohort.{cohort.phase.value}",
                stream.at,
                step=cohort.manifest.sequence,
                scope=cohort.manifest.round,
                asked=len(cohort.roster),
                answered=cohort.signed if signs else cohort.dealt,
                left_out=everyone - set(cohort.roster),
                waits_for=tuple(one for one in cohort.roster if cohort.waits_for(one)),
            )
    ready = frozenset(one.site for one in state.waiting)
    return Stage(
        "cohort.gather",
        stream.at,
        step=state.sequence,
        scope=state.run,
        enough=state.size,
        asked=len(everyone - state.barred),
        answered=ready,
        left_out=state.barred,
        waits_for=tuple(sorted(everyone - state.barred - ready)),
    )


def _round(row: RoundRow, run: RunRow, group: int | None, study: Study, everyone: Sites) -> Stage:
    state = row.state
    answered, enough = _answered(state)
    waits = tuple(site for site in state.roster if state.waits_for(site))
    absent = _NONE if state.phase is RoundPhase.COLLECT else frozenset(state.dropped)
    return Stage(
        f"round.{state.phase.value}",
        row.phase_at or row.started_at,
        deadline=_deadline(row.phase_at, run, study) if state.phase in _TIMED else None,
        group=group,
        step=state.step,
        attempt=state.attempt,
        kind=row.kind,
        scope=state.round,
        enough=enough,
        asked=len(answered) + len(waits),
        answered=answered,
        refused=state.refused - answered,
        missing=absent - state.refused,
        left_out=everyone - set(state.roster),
        waits_for=waits,
    )


def _answered(state: Round) -> tuple[Sites, int | None]:
    """Who has done what the phase asks, and how many suffice."""
    match state.phase:
        case RoundPhase.COLLECT:
            return state.packets, state.minimum
        case RoundPhase.VOTE:
            return state.votes, state.threshold
        case RoundPhase.RECOVER:
            return state.shares, state.needed
        case RoundPhase.AUDIT:
            return state.audited, None
    return state.packets, None


def _setup(row: SetupRow, run: RunRow, group: int | None, study: Study, everyone: Sites) -> Stage:
    state = row.state
    waits = tuple(site for site in state.pool if state.waits_for(site))
    answered, enough = _done(state)
    late = frozenset(state.pool) - state.advertised - state.lost
    return Stage(
        f"set-up.{state.phase.value}",
        row.phase_at,
        deadline=_deadline(row.phase_at, run, study),
        group=group,
        scope=state.batch,
        enough=enough,
        asked=len(answered) + len(waits),
        answered=answered,
        refused=state.lost,
        missing=_NONE if state.phase is SetupPhase.ADVERTISE else late,
        left_out=everyone - set(state.pool),
        waits_for=waits,
    )


def _done(state: Setup) -> tuple[Sites, int | None]:
    match state.phase:
        case SetupPhase.ADVERTISE:
            return state.advertised, state.minimum
        case SetupPhase.CHOOSE:
            return state.chosen, None
    return state.dealt, None


def _deadline(since: datetime | None, run: RunRow, study: Study) -> datetime | None:
    """When the coordinator waits no longer: its clock begins anew when it was restarted."""
    if since is None:
        return None
    from_ = since if run.resumed_at is None else max(since, run.resumed_at)
    return from_ + timedelta(seconds=study.cohort.deadline_s)
