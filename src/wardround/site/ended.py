"""How far the end of a run came at this hospital, before its agent died in the middle of it.

An agent countersigns the end, hears that the coordinator has its countersignature, and writes the
hospital's own report; each is a leaf of its journal. The countersignature itself is made anew
where the second is missing. The report can be written at any time, from what lies in the folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from wardround.errors import WardroundError
from wardround.governance.artefact import load_model
from wardround.ids import RunId
from wardround.sandbox import HostLimits
from wardround.site import tables
from wardround.site.home import SiteHome
from wardround.site.say import Say, told
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.store.room import once_there_is_room
from wardround.trust.journal import Entry

COUNTERSIGNED, CONFIRMED, REPORTED = "witness", "ended", "reported"

_LATEST = (
    select(tables.journal.c.leaf)
    .where(func.instr(tables.journal.c.leaf, bindparam("needle")) > 0)
    .order_by(tables.journal.c.index.desc())
    .limit(1)
)


LAST_WORD_S = 600.0
"""How long an agent tries to reach the coordinator that was started again after its run's end."""


@dataclass(frozen=True)
class Part:
    """What an agent knows of the part that it took, for the hospital's own report."""

    bytes_out: int
    bytes_in: int
    limits: HostLimits | None = None
    """Which held for the study's computations, where the same process has made them."""
    away: WardroundError | None = None
    """Why it does not know whether its countersignature is at the coordinator."""


async def to_the_end(
    home: SiteHome,
    database: Database,
    take_part: Callable[[float | None], Awaitable[Part]],
    report: Callable[[Part], Awaitable[None]],
    say: Say,
) -> None:
    """Take part until the run has ended, and write the hospital's report of it.

    If all but that was done before the agent died, only that is done: the coordinator may be gone.
    A report that can't be made then keeps nobody out of the next run; it is tried at each start.
    ``take_part`` is given for how long to try to reach it, ``report`` has written when it returns.
    """

    async def write(part: Part) -> None:
        latest = latest_end(home, database)
        if latest is not None and not latest.reported:
            await report(part)
            _note_report(home, database, latest.run)
            say("reported", run=latest.run)

    async def written(part: Part) -> None:
        await once_there_is_room(lambda: write(part), lambda error: say("trouble", **told(error)))

    end = latest_end(home, database)
    if end is not None and end.confirmed and not end.reported:
        try:
            await written(Part(end.bytes_out, end.bytes_in))
        except WardroundError as error:
            say("trouble", **told(error))
        else:
            return
    part = await take_part(None if end is None or end.confirmed else LAST_WORD_S)
    await written(part)
    if part.away is not None:
        raise part.away


@dataclass(frozen=True)
class Ended:
    """The end of the latest run that this hospital has countersigned."""

    run: RunId
    confirmed: bool
    """Whether the coordinator has said that it has the countersignature."""
    reported: bool
    bytes_out: int
    bytes_in: int
    """What the agent had sent and received by then."""


def latest_end(home: SiteHome, database: Database) -> Ended | None:
    """The latest end of a run of the approved study; None without one, or without its model."""
    with database.begin() as connection:
        signed, confirmed, reported = (
            _latest(connection, kind) for kind in (COUNTERSIGNED, CONFIRMED, REPORTED)
        )
    if signed is None:
        return None
    run = RunId(str(signed.facts["run"]))
    try:
        kept = load_model(home.reports / "model", home.study.coordinator_key).statement
    except WardroundError:
        return None
    if (kept.study, kept.run) != (home.study.digest, run):
        return None
    counted = confirmed if confirmed is not None and confirmed.facts["run"] == run else None
    return Ended(
        run=run,
        confirmed=counted is not None,
        reported=reported is not None and reported.facts["run"] == run,
        bytes_out=0 if counted is None else int(str(counted.facts["bytes_out"])),
        bytes_in=0 if counted is None else int(str(counted.facts["bytes_in"])),
    )


def in_the_middle(home: SiteHome, database: Database) -> bool:
    """Whether the agent died after it had kept a run's model, and before that run was over here."""
    try:
        kept = load_model(home.reports / "model", home.study.coordinator_key).statement
    except WardroundError:
        return False
    with database.begin() as connection:
        confirmed = _latest(connection, CONFIRMED)
    over = confirmed is not None and confirmed.facts["run"] == kept.run
    return kept.study == home.study.digest and not over


def _note_report(home: SiteHome, database: Database, run: RunId) -> None:
    """The hospital's own report of this run is on the disk."""
    journal = JournalledDatabase(database, tables.journal, f"wardround/{home.name}/{home.study.id}")
    with journal.transaction() as transaction:
        transaction.record(REPORTED, run=run)


def _latest(connection: Connection, kind: str) -> Entry | None:
    needle = f',"kind":"{kind}"}}'.encode()  # canonical: it ends the leaf
    leaf = connection.scalar(_LATEST, {"needle": needle})
    return None if leaf is None else Entry.from_leaf(leaf)
