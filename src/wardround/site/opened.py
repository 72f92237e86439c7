"""The hospital's count of opened numbers, durable before anything leaves.

In the profile ``secure-sum``, which has no noise to account for, every element of every answered
vector counts, and the limit is the lower of the study's and the hospital's. A charge is never
refunded; sending identical bytes again is free.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select
from sqlalchemy.dialects.sqlite import insert as insert_once

from wardround.errors import WardroundError
from wardround.ids import Digest, RoundId
from wardround.site.tables import charges, exact
from wardround.study import Study

_SPENT = select(func.sum(charges.c.numbers)).where(charges.c.study == bindparam("study"))
_CHARGE = insert(charges)
_NOTE = insert_once(exact).on_conflict_do_nothing()


def spent(connection: Connection, study: Digest) -> int:
    """How many numbers have been given out for a study."""
    total = connection.scalar(_SPENT, {"study": study})
    return int(total or 0)


def check(connection: Connection, study: Digest, numbers: int, limit: int) -> None:
    """Refuse what does not fit under the limit any more."""
    already = spent(connection, study)
    if already + numbers > limit:
        raise WardroundError(
            "WR-SITE-020",
            f"The study has used {already} of {limit} opened numbers; {numbers} more don't fit.",
            "The hospital answers no more of this study; agree on a new version with a higher "
            "limit if that is right.",
        )


def charge(
    connection: Connection, study: Digest, round_: RoundId, numbers: int, now: datetime
) -> None:
    """Charge an answer; part of the transaction that precedes its sending."""
    charged = {"study": study, "round": round_, "numbers": numbers, "at": now}
    connection.execute(_CHARGE, charged)


def note_exact(connection: Connection, study: Study, now: datetime) -> None:
    """Remember, with the charge, that this study was answered without noise."""
    connection.execute(_NOTE, {"study_id": study.id, "study": study.digest, "at": now})


def refuse_after_exact(connection: Connection, study: Study) -> None:
    """Refuse a study with noise of which an earlier version was answered without any.

    What it promises a patient is about everything that the study ever opens. Raises WR-SITE-110.
    """
    earlier = connection.scalar(select(exact.c.study).where(exact.c.study_id == study.id))
    if study.privacy is not None and earlier is not None:
        raise WardroundError(
            "WR-SITE-110",
            f"An earlier version of {study.id!r} was answered here without noise ({earlier}).",
            "No later version can promise what it says about everything that the study opens. Give "
            "the study with noise an id of its own, and say in it what was opened before.",
            path="id",
        )
