"""How long a round waits for whom: pure arithmetic over the times that sites took before.

A site's own deadline is its 90th percentile times 1.5, between a floor and a ceiling of the study.
A round closes by the own deadlines of as many sites as are wanted: it does not wait for one that is
ten times slower once the quorum is there, and never goes on without one that is within its usual
time while the quorum needs it. Only the ceiling can fail a round. There is no clock here; all times
are in seconds, those of a round counted from its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from wardround.ids import SiteName

SHARE = 0.9
MARGIN = 1.5

FEWEST = 3
"""So many answers of a kind must a site have given before its deadline adapts."""

KEPT = 50
"""So many of its last answers count: a line or a machine that changed is believed after a while."""


@dataclass(frozen=True)
class Limits:
    """Between which a site's own deadline lies."""

    floor_s: float
    ceiling_s: float


@dataclass(frozen=True)
class Runner:
    """One site of a round: when it is late, and when it is likely to answer.

    ``expected_s`` is infinite where no answer is likely any more.
    """

    due_s: float
    expected_s: float


def quantile(times: Sequence[float], share: float) -> float:
    """The least of ``times`` that ``share`` of them do not exceed (nearest rank)."""
    return sorted(times)[max(math.ceil(share * len(times)), 1) - 1]


def deadline_s(times: Sequence[float], limits: Limits) -> float:
    """How long a site may take that took ``times`` before; the ceiling while they are too few."""
    if len(times) < FEWEST:
        return limits.ceiling_s
    usual = MARGIN * quantile(times[-KEPT:], SHARE)
    return min(max(usual, limits.floor_s), limits.ceiling_s)


def usual_s(times: Sequence[float]) -> float | None:
    """How long a site takes as a rule, the median; None while too few answers are known."""
    return None if len(times) < FEWEST else quantile(times[-KEPT:], 0.5)


def closing_s(
    runners: Mapping[SiteName, Runner],
    answered: Collection[SiteName],
    *,
    now_s: float,
    wanted: int,
    minimum: int,
    ceiling_s: float,
    awaited: Collection[SiteName] = (),
) -> float:
    """When a round stops collecting, as far as can be told ``now_s`` seconds after it began.

    ``runners`` are the sites that were asked and did not refuse, ``answered`` those whose packets
    are here. ``wanted`` is the quorum, ``minimum`` the number below which a round fails;
    ``awaited`` sites are waited for up to their own deadlines whatever the quorum says. A time
    that has passed means: now. To be asked again at every answer, and at the time that it says.
    """
    missing = {site: one for site, one in runners.items() if site not in answered}
    if not missing:
        return 0.0
    if len(answered) < minimum:
        return ceiling_s
    running = {site: one for site, one in missing.items() if one.due_s > now_s}
    last = max((one.due_s for one in running.values()), default=0.0)
    if len(answered) < wanted:
        return min(last, ceiling_s)
    dues = sorted(one.due_s for one in runners.values())
    quorum = dues[min(wanted, len(dues)) - 1]
    turn = max((one.due_s for site, one in running.items() if site in awaited), default=0.0)
    closing = min(max(quorum, turn), last, ceiling_s)
    if not any(one.expected_s <= closing for one in running.values()):
        return 0.0
    return closing
