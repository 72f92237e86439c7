"""The hospital's count of opened numbers, durable before anything leaves.

In the profile ``secure-sum``, which has no noise to account for, every element of every answered
vector counts, and the limit is the lower of the study's and the hospital's. A charge is never
refunded; sending identical bytes again is free.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select

from wardround.errors import WardroundError
from wardround.ids import Digest, RoundId
from wardround.site.tables import charges

_SPENT = select(func.sum(charges.c.numbers)).where(charges.c.study == bindparam("study"))
_CHARGE = insert(charges)


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
