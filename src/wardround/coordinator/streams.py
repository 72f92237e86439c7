"""A stream as rows: its gathering of ready sites, what they are ready with, and its models.

As everywhere, a state is only ever replaced by its successor (`records`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, delete, insert, select, update

from wardround.coordinator.records import Versioned, replaced
from wardround.coordinator.tables import gatherings, offers, statements, totals, versions
from wardround.federation.late import Gathering
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.cohort import Offer, Ready
from wardround.trust.canonical import parse_json
from wardround.trust.dsse import Envelope

GATHERING = TypeAdapter(Gathering)


def insert_gathering(connection: Connection, state: Gathering, task: bytes) -> None:
    """The beginning of a stream, and what it asks for."""
    row = {"run": state.run, "task": task, "version": 0, "state": GATHERING.dump_json(state)}
    connection.execute(insert(gatherings).values(row | {"changed_at": datetime.now(UTC)}))


def load_question(connection: Connection, run: RunId) -> bytes:
    """What a stream asks for, in its canonical form."""
    query = select(gatherings.c.task).where(gatherings.c.run == run)
    task: bytes = connection.execute(query).scalar_one()
    return task


def runs(connection: Connection, run: RunId) -> tuple[RunId, ...]:
    """Under which names the streams of a run have their cohorts."""
    mine = gatherings.c.run.startswith(f"{run}.s", autoescape=True)
    return tuple(connection.scalars(select(gatherings.c.run).where(mine)))


def replace_gathering(
    connection: Connection, old: Versioned[Gathering], new: Gathering
) -> Versioned[Gathering]:
    """Put ``new`` in the place of ``old``, if ``old`` is still there."""
    done = connection.execute(
        update(gatherings)
        .where(gatherings.c.run == new.run, gatherings.c.version == old.version)
        .values(
            version=old.version + 1,
            state=GATHERING.dump_json(new),
            changed_at=datetime.now(UTC),
        )
    )
    return replaced(done.rowcount, old.version, new)


def load_gathering(connection: Connection, run: RunId) -> Versioned[Gathering] | None:
    """How far a stream has come; None for one that has not begun."""
    row = connection.execute(select(gatherings).where(gatherings.c.run == run)).first()
    return None if row is None else Versioned(row.version, GATHERING.validate_json(row.state))


def save_offer(connection: Connection, run: RunId, ready: Digest, offer: Offer) -> None:
    """Keep a ready statement and its keys while it waits."""
    row = {"ready": ready, "run": run, "envelope": offer.ready.to_json()}
    connection.execute(insert(offers).values(row | {"advert": offer.advert.to_json()}))


def keep_offers(connection: Connection, run: RunId, waiting: set[Digest]) -> None:
    """Forget the ready statements of a stream that no manifest will name any more."""
    gone = offers.c.ready.not_in(waiting)
    connection.execute(delete(offers).where(offers.c.run == run, gone))


def load_offers(connection: Connection, run: RunId) -> dict[Digest, Offer]:
    """The ready statements that wait, by their digest."""
    rows = connection.execute(select(offers).where(offers.c.run == run))
    return {
        row.ready: Offer(Envelope.from_json(row.envelope), Envelope.from_json(row.advert))
        for row in rows
    }


def save_version(connection: Connection, run: RunId, number: int, envelope: Envelope) -> None:
    """Keep a version of the model; its bytes are a blob."""
    row = {"run": run, "number": number, "envelope": envelope.to_json()}
    connection.execute(insert(versions).values(row))


def load_versions(connection: Connection, run: RunId) -> tuple[Envelope, ...]:
    """All versions of a stream's model, in order."""
    query = select(versions.c.envelope).where(versions.c.run == run).order_by(versions.c.number)
    return tuple(Envelope.from_json(one) for one in connection.scalars(query))


def latest(connection: Connection, run: RunId) -> tuple[Gathering, datetime] | None:
    """The gathering of a run's newest stream, and when it changed last; None without streams."""
    mine = gatherings.c.run.startswith(f"{run}.s", autoescape=True)
    query = select(gatherings.c.state, gatherings.c.changed_at).where(mine)
    row = connection.execute(query.order_by(gatherings.c.changed_at.desc()).limit(1)).first()
    if row is None:
        return None
    return GATHERING.validate_json(row.state), row.changed_at.replace(tzinfo=UTC)


def given(connection: Connection, run: RunId, site: SiteName) -> frozenset[Digest]:
    """From which models ``site`` trained what it has masked in cohorts of a stream."""
    ready, packet = statements.alias(), statements.alias()
    both = (ready.c.scope == packet.c.scope) & (ready.c.site == packet.c.site)
    query = (
        select(ready.c.envelope)
        .join(packet, both)
        .where(ready.c.kind == "ready", packet.c.kind == "packet", packet.c.site == site)
        .where(packet.c.scope.startswith(f"{run}.c.", autoescape=True))
    )
    said = (Envelope.from_json(one).payload for one in connection.scalars(query))
    return frozenset(Ready.from_wire(parse_json(one)).model for one in said)


def opened(connection: Connection, run: RunId) -> tuple[int, ...]:
    """The numbers of the cohorts whose totals have been opened, in that order."""
    query = select(totals.c.step).where(totals.c.run == run).order_by(totals.c.step)
    return tuple(connection.scalars(query))
