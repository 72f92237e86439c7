"""Set-ups, rounds and totals as rows, changed by compare-and-set.

Several coordinators may share the database: a state is only ever replaced by its successor, so
whoever acts on an old one loses and reads again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import orjson
from pydantic import TypeAdapter
from sqlalchemy import Connection, DateTime, bindparam, func, insert, or_, select, update

from wardround.coordinator.tables import (
    checkpoints,
    draws,
    rounds,
    runs,
    setups,
    statements,
    totals,
)
from wardround.errors import WardroundError
from wardround.federation.draw import Draw
from wardround.federation.late import Gathering
from wardround.federation.messages import Manifest, is_stream
from wardround.federation.round import Round
from wardround.federation.setup import Setup
from wardround.ids import Digest, RoundId, RunId, SiteName
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

State = TypeVar("State", Setup, Round, Draw, Gathering)
Phased = TypeVar("Phased", Setup, Round, Draw)


@dataclass(frozen=True)
class Versioned(Generic[State]):
    """A state and the number of changes that led to it."""

    version: int
    state: State


@dataclass(frozen=True)
class Sent:
    """A signed statement of a site and what came beside it."""

    envelope: Envelope
    attachment: bytes


@dataclass(frozen=True)
class Opened:
    """A stored total: the digest of its blob, the task it answers, the round that opened it."""

    task: Digest
    round: RoundId
    total: Digest


_TIME = DateTime(timezone=True)
SETUP, ROUND, DRAW = TypeAdapter(Setup), TypeAdapter(Round), TypeAdapter(Draw)

# What runs for every statement of every site is built once: building costs more than running.
_REPLACE_SETUP = (
    update(setups)
    .where(setups.c.batch == bindparam("b_batch"), setups.c.version == bindparam("b_version"))
    .values(
        version=bindparam("version"),
        state=bindparam("state"),
        phase_at=func.coalesce(bindparam("phase_at", type_=_TIME), setups.c.phase_at),
    )
)
_REPLACE_ROUND = (
    update(rounds)
    .where(rounds.c.round == bindparam("b_round"), rounds.c.version == bindparam("b_version"))
    .values(
        version=bindparam("version"),
        state=bindparam("state"),
        phase_at=func.coalesce(bindparam("phase_at", type_=_TIME), rounds.c.phase_at),
    )
)
_INSERT_STATEMENT = insert(statements)


def insert_setup(connection: Connection, setup: Setup) -> Versioned[Setup]:
    """A new batch."""
    now = datetime.now(UTC)
    connection.execute(
        insert(setups).values(
            batch=setup.batch,
            run=setup.run,
            version=0,
            state=SETUP.dump_json(setup),
            started_at=now,
            phase_at=now,
        )
    )
    return Versioned(0, setup)


def replace_setup(connection: Connection, old: Versioned[Setup], new: Setup) -> Versioned[Setup]:
    """Put ``new`` in the place of ``old``, if ``old`` is still there."""
    done = connection.execute(
        _REPLACE_SETUP,
        {
            "b_batch": new.batch,
            "b_version": old.version,
            "version": old.version + 1,
            "state": SETUP.dump_json(new),
            "phase_at": _phase_began(old.state, new),
        },
    )
    return replaced(done.rowcount, old.version, new)


def insert_draw(connection: Connection, draw: Draw) -> Versioned[Draw]:
    """A new draw of the study's partition."""
    row = {
        "number": draw.number,
        "version": 0,
        "state": DRAW.dump_json(draw),
        "phase_at": datetime.now(UTC),
    }
    connection.execute(insert(draws).values(row))
    return Versioned(0, draw)


def replace_draw(connection: Connection, old: Versioned[Draw], new: Draw) -> Versioned[Draw]:
    """Put ``new`` in the place of ``old``, if ``old`` is still there."""
    done = connection.execute(
        update(draws)
        .where(draws.c.number == new.number, draws.c.version == old.version)
        .values(
            version=old.version + 1,
            state=DRAW.dump_json(new),
            phase_at=func.coalesce(_phase_began(old.state, new), draws.c.phase_at),
        )
    )
    return replaced(done.rowcount, old.version, new)


def latest_draw(connection: Connection) -> Versioned[Draw] | None:
    """The newest draw."""
    row = connection.execute(select(draws).order_by(draws.c.number.desc()).limit(1)).first()
    return None if row is None else Versioned(row.version, DRAW.validate_json(row.state))


def insert_round(
    connection: Connection, state: Round, manifest: Envelope, task: bytes, now: datetime
) -> Versioned[Round]:
    """A new round with the manifest that fixes it."""
    connection.execute(
        insert(rounds).values(
            round=state.round,
            run=state.run,
            step=state.step,
            attempt=state.attempt,
            version=0,
            state=ROUND.dump_json(state),
            manifest=manifest.to_json(),
            task=task,
            started_at=now,
            phase_at=now,
        )
    )
    return Versioned(0, state)


def replace_round(connection: Connection, old: Versioned[Round], new: Round) -> Versioned[Round]:
    """Put ``new`` in the place of ``old``, if ``old`` is still there."""
    done = connection.execute(
        _REPLACE_ROUND,
        {
            "b_round": new.round,
            "b_version": old.version,
            "version": old.version + 1,
            "state": ROUND.dump_json(new),
            "phase_at": _phase_began(old.state, new),
        },
    )
    return replaced(done.rowcount, old.version, new)


def round_lasted_s(connection: Connection, round_: str) -> float:
    """How long a round took so far, or in all, by the clock on the wall, in seconds.

    A coordinator that was away in between has no other clock that went on.
    """
    query = select(rounds.c.started_at, rounds.c.phase_at).where(rounds.c.round == round_)
    return lasted_s(*connection.execute(query).one())


def lasted_s(started: datetime | None, ended: datetime | None) -> float:
    """Seconds between two times of a row; 0 where one is not known, or the clock was set back."""
    if started is None or ended is None:
        return 0.0
    return max((ended - started).total_seconds(), 0.0)


def _phase_began(old: Phased, new: Phased) -> datetime | None:
    """Now, if the phase is another one than it was."""
    return None if new.phase is old.phase else datetime.now(UTC)


def replaced(rows: int, version: int, new: State) -> Versioned[State]:
    """The successor, if a row was found to replace; raises WR-COORD-001 otherwise."""
    if rows != 1:
        raise WardroundError(
            "WR-COORD-001",
            "Another coordinator has moved this round on.",
            "Nothing to do: the state is read again and the request repeated.",
        )
    return Versioned(version + 1, new)


def latest_setup(connection: Connection, run: RunId) -> Versioned[Setup] | None:
    """The newest batch of a run."""
    row = connection.execute(
        select(setups.c.version, setups.c.state)
        .where(setups.c.run == run)
        .order_by(setups.c.batch.desc())
        .limit(1)
    ).first()
    return None if row is None else Versioned(row.version, SETUP.validate_json(row.state))


def latest_round(
    connection: Connection, run: RunId
) -> tuple[Versioned[Round], Envelope, bytes] | None:
    """The newest round of a run, its manifest and its task."""
    row = connection.execute(
        select(rounds)
        .where(rounds.c.run == run)
        .order_by(rounds.c.step.desc(), rounds.c.attempt.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    state = Versioned(row.version, ROUND.validate_json(row.state))
    return state, Envelope.from_json(row.manifest), row.task


def load_round(connection: Connection, round_: RoundId) -> tuple[Round, Manifest]:
    """A round by its name, and its manifest."""
    row = connection.execute(select(rounds).where(rounds.c.round == round_)).one()
    manifest = Manifest.from_payload(Envelope.from_json(row.manifest).payload)
    return ROUND.validate_json(row.state), manifest


def attempts_at(connection: Connection, run: RunId, step: int) -> list[Round]:
    """All rounds that there were of a step, the oldest first."""
    found = connection.scalars(
        select(rounds.c.state)
        .where(rounds.c.run == run, rounds.c.step == step)
        .order_by(rounds.c.attempt)
    )
    return [ROUND.validate_json(state) for state in found]


def find_round(connection: Connection, round_: RoundId) -> Round | None:
    """A round by its name, if there was one."""
    state = connection.scalar(select(rounds.c.state).where(rounds.c.round == round_))
    return None if state is None else ROUND.validate_json(state)


def last_rosters(connection: Connection, run: RunId, count: int) -> list[tuple[SiteName, ...]]:
    """Who was asked in the last ``count`` rounds of a run, the oldest first."""
    found = connection.scalars(
        select(rounds.c.state)
        .where(rounds.c.run == run)
        .order_by(rounds.c.step.desc(), rounds.c.attempt.desc())
        .limit(count)
    )
    return [ROUND.validate_json(state).roster for state in found][::-1]


def group_runs(connection: Connection, run: RunId) -> tuple[RunId, ...]:
    """Under which names the groups of a run have had set-ups."""
    names = connection.scalars(
        select(setups.c.run).where(setups.c.run.startswith(f"{run}.", autoescape=True)).distinct()
    )
    return tuple(RunId(name) for name in names)


def save_statement(
    connection: Connection,
    scope: str,
    kind: str,
    site: SiteName,
    sent: Sent,
    at: datetime | None = None,
) -> None:
    """Keep what a site signed, and when it came (default: now).

    The primary key admits one per scope, kind and site.
    """
    connection.execute(
        _INSERT_STATEMENT,
        {
            "scope": scope,
            "kind": kind,
            "site": site,
            "envelope": orjson.dumps(sent.envelope.to_dict()),
            "attachment": sent.attachment,
            "at": at or datetime.now(UTC),
        },
    )


def load_statements(connection: Connection, scope: str) -> dict[tuple[str, SiteName], Sent]:
    """Everything said under a batch, a round or a run."""
    rows = connection.execute(select(statements).where(statements.c.scope == scope))
    return {
        (row.kind, row.site): Sent(Envelope.from_json(row.envelope), row.attachment) for row in rows
    }


def packets_of(connection: Connection, run: RunId, site: SiteName) -> dict[RoundId, Digest | None]:
    """The rounds of a run, its groups and streams, with the packet header that came of ``site``."""
    mine = (rounds.c.run == run) | rounds.c.run.startswith(f"{run}.", autoescape=True)
    came = (statements.c.scope == rounds.c.round) & (statements.c.kind == "packet")
    came &= statements.c.site == site
    query = select(rounds.c.round, statements.c.envelope).outerjoin(statements, came).where(mine)
    return {
        row.round: None
        if row.envelope is None
        else digest(Envelope.from_json(row.envelope).payload)
        for row in connection.execute(query)
    }


def save_total(connection: Connection, run: RunId, step: int, opened: Opened) -> None:
    """Keep the total of a step; there is only ever one."""
    connection.execute(
        insert(totals).values(
            run=run, step=step, task=opened.task, round=opened.round, total=opened.total
        )
    )


def load_total(connection: Connection, run: RunId, step: int) -> Opened | None:
    """The total of a step, if it has been opened."""
    row = connection.execute(
        select(totals).where(totals.c.run == run, totals.c.step == step)
    ).first()
    return None if row is None else Opened(row.task, row.round, row.total)


def steps_opened(connection: Connection, run: RunId) -> int:
    """How many steps of a run have a total, of any group, and how many cohorts of its streams."""
    mine = or_(totals.c.run == run, totals.c.run.startswith(f"{run}.", autoescape=True))
    found = connection.execute(select(totals.c.run, totals.c.step).where(mine))
    return len({(one.run if is_stream(one.run) else run, one.step) for one in found})


def save_checkpoint(connection: Connection, size: int, envelope: Envelope) -> None:
    """Keep a signed head of the journal."""
    known = connection.scalar(select(checkpoints.c.size).where(checkpoints.c.size == size))
    if known is None:
        connection.execute(insert(checkpoints).values(size=size, envelope=envelope.to_json()))


@dataclass(frozen=True)
class Run:
    """A run, and whether it is ``running``, ``finished`` or ``failed``."""

    run: RunId
    state: str
    reason: str | None
    """Why it failed."""
    ending: bool
    """Whether the sites have been told that it is over."""


def latest_run(connection: Connection) -> Run | None:
    """The run that was started last, if there was any; all before it have ended."""
    row = connection.execute(select(runs).order_by(runs.c.started_at.desc()).limit(1)).first()
    if row is None:
        return None
    return Run(row.run, row.state, row.reason, row.ending_at is not None)


def running(connection: Connection) -> RunId | None:
    """The run that has not ended, if there is one."""
    run: RunId | None = connection.scalar(select(runs.c.run).where(runs.c.state == "running"))
    return run


def start_run(connection: Connection, run: RunId, now: datetime) -> None:
    """A run begins."""
    connection.execute(insert(runs).values(run=run, started_at=now, state="running"))


def resume_run(connection: Connection, run: RunId, now: datetime) -> None:
    """A restarted coordinator goes on with a run: whatever it waits for gets its time anew."""
    connection.execute(update(runs).where(runs.c.run == run).values(resumed_at=now))


def ending_run(connection: Connection, run: RunId, now: datetime) -> None:
    """The sites are told that a run is over; after a restart, again."""
    first = func.coalesce(runs.c.ending_at, now)
    connection.execute(update(runs).where(runs.c.run == run).values(ending_at=first))


def end_run(
    connection: Connection,
    run: RunId,
    state: str,
    *,
    model: Digest | None = None,
    reason: str | None = None,
) -> None:
    """A run has ended, with a model or with a reason."""
    connection.execute(
        update(runs)
        .where(runs.c.run == run)
        .values(state=state, model=model, reason=reason, ended_at=datetime.now(UTC))
    )
