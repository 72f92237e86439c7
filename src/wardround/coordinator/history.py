"""Reading the rows of a run, in the coordinator's process or beside it."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from sqlalchemy import Column, ColumnElement, Connection, or_, select

from wardround.coordinator import records, streams
from wardround.coordinator.presence import Presence
from wardround.coordinator.rows import (
    DrawRow,
    RoundRow,
    Rows,
    RunRow,
    SaidRow,
    SetupRow,
    StreamRow,
)
from wardround.coordinator.tables import (
    answer_times,
    approvals,
    draws,
    enrolments,
    rounds,
    runs,
    setups,
)
from wardround.coordinator.tables import statements as said
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest, Refused, draw_scope
from wardround.ids import RunId, SiteName
from wardround.trust.dsse import Envelope


def run_names(connection: Connection) -> list[RunId]:
    """Every run, the latest last."""
    return list(connection.scalars(select(runs.c.run).order_by(runs.c.started_at, runs.c.run)))


class History:
    """Reads the rows of a run again and again; what is over is parsed once."""

    def __init__(self) -> None:
        self._rounds: dict[str, tuple[int, RoundRow]] = {}

    def read(self, connection: Connection, presence: Presence, run: RunId | None = None) -> Rows:
        """The rows of ``run``, or of the latest one; raises WR-COORD-042 where there is none such.

        A coordinator that waits for its first run has no run yet, and that is no error. Where it
        waits for another one, the latest is over and nobody's concern.
        """
        names = run_names(connection)
        if run is not None and run not in names:
            raise WardroundError(
                "WR-COORD-042",
                f"This coordinator has no run {run!r}.",
                f"It has these: {', '.join(names[-5:]) or 'none yet'}.",
            )
        name = run or (names[-1] if names else None)
        row = None if name is None else _run(connection, name)
        if run is None and row is not None and _awaits_another(presence, row):
            name = row = None
        made = () if name is None else self._setups(connection, name)
        taken = () if name is None else self._taken(connection, name)
        draw = connection.execute(select(draws).order_by(draws.c.number.desc()).limit(1)).first()
        drawn = None
        if draw is not None:
            drawn = DrawRow(records.DRAW.validate_json(draw.state), _time(draw.phase_at))
        enrolled = select(enrolments.c.site).where(enrolments.c.certificate.is_not(None))
        return Rows(
            run=row,
            draw=drawn,
            setups=made,
            rounds=taken,
            stream=None if name is None else self._stream(connection, name),
            said=() if name is None else _said(connection, name, made, taken, drawn),
            enrolled=frozenset(connection.scalars(enrolled)),
            approved=frozenset(connection.scalars(select(approvals.c.site))),
            heard=presence.heard,
            alive_at=presence.at,
            hindered=presence.hindered,
            connecting=presence.connecting,
            times={
                (SiteName(one.site), one.kind): tuple(orjson.loads(one.seconds))
                for one in connection.execute(select(answer_times))
            },
        )

    @staticmethod
    def _stream(connection: Connection, run: RunId) -> StreamRow | None:
        found = streams.latest(connection, run)
        if found is None:
            return None
        gathering, at = found
        query = select(rounds.c.round).where(rounds.c.run == gathering.run)
        last = connection.scalar(query.order_by(rounds.c.step.desc()).limit(1))
        return StreamRow(gathering, at, None if last is None else _round(connection, last))

    @staticmethod
    def _setups(connection: Connection, run: RunId) -> tuple[SetupRow, ...]:
        query = select(setups.c.state, setups.c.phase_at).where(_of(setups.c.run, run))
        found = connection.execute(query.order_by(setups.c.batch))
        return tuple(
            SetupRow(records.SETUP.validate_json(row.state), _time(row.phase_at)) for row in found
        )

    def _taken(self, connection: Connection, run: RunId) -> tuple[RoundRow, ...]:
        query = select(rounds.c.round, rounds.c.version).where(_of(rounds.c.run, run))
        found = []
        # A stream's cohorts are numbered anew, so beside other rounds time alone orders them.
        in_time = (rounds.c.started_at,) if streams.runs(connection, run) else ()
        for row in connection.execute(
            query.order_by(*in_time, rounds.c.step, rounds.c.attempt, rounds.c.run)
        ).all():
            known = self._rounds.get(row.round)
            if known is None or known[0] != row.version:
                known = self._rounds[row.round] = row.version, _round(connection, row.round)
            found.append(known[1])
        return tuple(found)


def _awaits_another(presence: Presence, row: RunRow) -> bool:
    """Whether hospitals are waited for to begin another run than this one, which has ended."""
    ended = row.ended_at
    return ended is not None and any(
        one.run is None and one.since >= ended for one in presence.connecting
    )


def _run(connection: Connection, name: RunId) -> RunRow:
    row = connection.execute(select(runs).where(runs.c.run == name)).one()
    started = _time(row.started_at)
    assert started is not None
    return RunRow(
        run=name,
        state=row.state,
        started_at=started,
        resumed_at=_time(row.resumed_at),
        ending_at=_time(row.ending_at),
        ended_at=_time(row.ended_at),
        reason=row.reason,
        model=row.model,
    )


def _round(connection: Connection, name: str) -> RoundRow:
    row = connection.execute(select(rounds).where(rounds.c.round == name)).one()
    manifest = Manifest.from_payload(Envelope.from_json(row.manifest).payload)
    started = _time(row.started_at)
    assert started is not None
    return RoundRow(
        records.ROUND.validate_json(row.state), manifest.kind, started, _time(row.phase_at)
    )


def _said(
    connection: Connection,
    run: RunId,
    made: tuple[SetupRow, ...],
    taken: tuple[RoundRow, ...],
    drawn: DrawRow | None,
) -> tuple[SaidRow, ...]:
    """Refusals, and what was said about the latest set-up and round of each chain."""
    rounds_now = {row.state.run: row.state.round for row in taken}
    setups_now = {row.state.run: row.state.batch for row in made}
    scopes: list[str] = [run, *rounds_now.values(), *setups_now.values()]
    if drawn is not None:
        scopes.append(draw_scope(drawn.state.number))
    query = select(said.c.scope, said.c.kind, said.c.site, said.c.at)
    now = query.where(said.c.scope.in_(scopes), said.c.kind != "refusal")
    found = [
        SaidRow(row.scope, row.kind, SiteName(row.site), _time(row.at))
        for row in connection.execute(now)
    ]
    about = or_(said.c.scope.startswith(run, autoescape=True), said.c.scope.in_(scopes))
    for row in connection.execute(select(said).where(said.c.kind == "refusal", about)):
        told = Refused.from_payload(Envelope.from_json(row.envelope).payload)
        cause, number = told.cause, told.incident
        found.append(SaidRow(row.scope, row.kind, SiteName(row.site), _time(row.at), cause, number))
    return tuple(found)


def _of(column: Column[str], run: RunId) -> ColumnElement[bool]:
    """The run's own name, and those under which its groups and streams have their rounds."""
    return or_(
        column == run,
        *(column.startswith(f"{run}.{kind}", autoescape=True) for kind in "gps"),
    )


def _time(value: datetime | None) -> datetime | None:
    """SQLite forgets that all times are UTC."""
    return None if value is None else value.replace(tzinfo=UTC)
