"""A study with noise in which a computation failed is at a halt until the steward has looked.

Whether it failed may be about one patient, and a coordinator could ask again each time that a
service manager starts the agent anew: so the halt is on disk, and a restart does not lift it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from wardround.errors import WardroundError
from wardround.site.tables import halts
from wardround.store.journalled import Transaction
from wardround.study import Study


def halt(transaction: Transaction, study: Study, why: str, now: datetime) -> None:
    """Keep this hospital out of the study from here on; ``why`` tells no patient's value."""
    row = {"study": study.digest, "why": why, "at": now}
    transaction.connection.execute(insert(halts).values(row).on_conflict_do_nothing())
    transaction.record("halted", study=study.digest, why=why, at=now.isoformat(timespec="seconds"))


def stopped(why: str) -> WardroundError:
    """What an agent ends with that has come to a halt."""
    return WardroundError(
        "WR-SITE-111",
        f"A computation failed in a study with noise ({why}); the agent stops, and tells the "
        "coordinator nothing.",
        "A refusal would be about the patients, without noise. Look into it here; when the cause "
        "is mended, approve the study again and start the agent.",
    )


def refuse_halted(connection: Connection, study: Study) -> None:
    """Raise WR-SITE-112 while the study is at a halt here."""
    row = connection.execute(select(halts).where(halts.c.study == study.digest)).first()
    if row is not None:
        raise WardroundError(
            "WR-SITE-112",
            f"This study is at a halt here since {row.at:%Y-%m-%d %H:%M} UTC: {row.why}.",
            "Mend the cause, then approve the study again (`wardround site approve`): the "
            "steward's signature lifts the halt, and nothing else does.",
        )


def lift(connection: Connection, study: Study) -> None:
    """The steward has signed the study again."""
    connection.execute(delete(halts).where(halts.c.study == study.digest))
