"""What a site signed in late cohorts, as rows: one manifest per ready statement, for good.

`LateMember` keeps these promises in memory; the rows keep them against whoever restarts the agent
or runs two of them. Each function writes within a transaction that ends before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson
from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.sqlite import insert

from wardround.errors import WardroundError
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.cohort import late_batch
from wardround.secagg.late import Bond
from wardround.site.tables import cohorts, packets, tasks
from wardround.store.journalled import JournalledDatabase


def recorder(state: JournalledDatabase) -> Callable[[Bond], None]:
    """What a `LateMember` calls before its signature leaves: durable when it returns."""

    def record(bond: Bond) -> None:
        with state.transaction() as transaction:
            record_bond(transaction.connection, bond)
            transaction.record(
                "cohort",
                run=bond.run,
                sequence=bond.sequence,
                manifest=bond.manifest,
                ready=bond.ready,
                task=bond.task,
                model=bond.model,
            )

    return record


def record_bond(connection: Connection, bond: Bond) -> None:
    """Bind a ready statement to the manifest that is about to be signed.

    Raises WR-SITE-028 when it is bound to another one or when a manifest of that number or a later
    one was signed in this run, WR-SITE-200 when this run asked another question, WR-SITE-029 when
    the contribution (a task, trained from a version of the model) was masked in another cohort
    before. That one may be opened without any further help of this site, whatever the coordinator
    says became of it, and two totals with the same contribution in them differ by the other sites'
    alone.
    """
    row = connection.execute(select(cohorts).where(cohorts.c.ready == bond.ready)).first()
    if row is not None:
        if (row.run, row.sequence, row.manifest) != (bond.run, bond.sequence, bond.manifest):
            raise _never("WR-SITE-028", "This ready statement is bound to another manifest.")
        return
    run = cohorts.c.run == bond.run
    latest = connection.scalar(select(func.max(cohorts.c.sequence)).where(run))
    if latest is not None and bond.sequence <= latest:
        raise _never("WR-SITE-028", "A cohort of this number or a later one was signed before.")
    check_unused(connection, bond.run, bond.task, bond.model)
    values = {
        "ready": bond.ready,
        "run": bond.run,
        "sequence": bond.sequence,
        "manifest": bond.manifest,
        "task": bond.task,
        "model": bond.model,
        "masked": False,
    }
    connection.execute(insert(cohorts).values(values))


def record_packet(connection: Connection, ready: Digest) -> None:
    """The contribution is about to leave, masked: it is in this cohort and in no other one.

    Raises WR-SITE-029 if it is in another one.
    """
    row = _row(connection, ready)
    same = (cohorts.c.run == row.run) & (cohorts.c.task == row.task)
    same &= cohorts.c.model == row.model
    # Two ready statements over it may both have been bound before either was masked.
    elsewhere = same & cohorts.c.masked & (cohorts.c.ready != ready)
    if connection.execute(select(cohorts.c.ready).where(elsewhere)).first():
        raise _never("WR-SITE-029", "This contribution was masked in another cohort before.")
    _change(connection, ready, masked=True)


def check_apart(connection: Connection, run: RunId, task: Digest, *, late: bool) -> None:
    """A task of a run is answered in rounds or in late cohorts, and never in both.

    In a round a site answers for everyone at once, in cohorts once for each version of the model:
    a contribution in a total of either kind would be the difference of the two. Raises WR-SITE-132.
    """
    if late:
        answered = (
            select(packets.c.round)
            .join(tasks, (tasks.c.run == packets.c.run) & (tasks.c.step == packets.c.step))
            .where(packets.c.run == run, packets.c.batch != late_batch(run), tasks.c.task == task)
        )
    else:
        same = (cohorts.c.run == run) & (cohorts.c.task == task)
        answered = select(cohorts.c.ready).where(same & cohorts.c.masked)
    if connection.execute(answered.limit(1)).first() is not None:
        other = "a round over all sites" if late else "a late cohort"
        raise _never("WR-SITE-132", f"This task was answered in {other} before.")


def check_unused(connection: Connection, run: RunId, task: Digest, model: Digest) -> None:
    """Raise WR-SITE-029 if what would be trained from this model has been masked before.

    A stream is bound to the first question for which a manifest was signed: WR-SITE-200 for
    another. Round and model of a question are the coordinator's choice and are replaced by those
    of a version, so two questions may well ask for one and the same contribution.
    """
    others = select(cohorts.c.ready).where(cohorts.c.run == run, cohorts.c.task != task)
    if connection.execute(others.limit(1)).first():
        raise _never("WR-SITE-200", "This stream asked another question before.")
    same = (cohorts.c.run == run) & (cohorts.c.task == task) & (cohorts.c.model == model)
    if connection.execute(select(cohorts.c.ready).where(same & cohorts.c.masked)).first():
        raise _never("WR-SITE-029", "This contribution was masked in another cohort before.")


def record_vote(connection: Connection, ready: Digest, survivors: Sequence[SiteName]) -> None:
    """One survivor set per cohort; raises WR-SITE-026 or -027 as for any round."""
    text = orjson.dumps(list(survivors)).decode()
    row = _row(connection, ready)
    if row.survivors is not None and row.survivors != text:
        raise _never("WR-SITE-027", "Another survivor set was signed for this round.")
    _change(connection, ready, survivors=text)


def _row(connection: Connection, ready: Digest) -> Row[tuple[object, ...]]:
    row = connection.execute(select(cohorts).where(cohorts.c.ready == ready)).first()
    if row is None:
        raise _never("WR-SITE-026", "This cohort was not joined here.")
    return row


def _change(connection: Connection, ready: Digest, **values: object) -> None:
    connection.execute(update(cohorts).where(cohorts.c.ready == ready).values(values))


def _never(code: str, problem: str) -> WardroundError:
    return WardroundError(
        code, problem, "The agent refuses; the hospital's journal has the particulars."
    )
