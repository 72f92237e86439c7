"""What of a refusal's reason may be said outside: a fixed list, and nothing that asks the records.

The attacker is the coordinator: it may ask anything, as often as it likes, and compares the
answers. So a cause is named only where the refusal was decided before the door looked at the
records, and by codes none of which depends on them. Once the door has looked, which check comes
first would itself be an answer (*your cohort is large enough, but ...*); then only what the
coordinator can't bring about is named: a full disk, where a packet would have left instead, and a
worker that the host can't start. In a study with noise no refusal names anything at all.

A full disk is no refusal: the agent waits for room and says that it does (`hindrance`). Whether
there is room for a packet, a key or a signature, whose sizes stand in the manifest or are the same
for everybody, has nothing to do with records. In a study with noise it is said only of a disk that
was found full before anything was computed, so that not even the moment depends on a computation.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from wardround.errors import WardroundError
from wardround.federation.causes import Cause, Hindrance, new_incident
from wardround.study import Study

ALWAYS: Mapping[str, Cause] = {
    "WR-SITE-015": Cause.DISK,
    "WR-SANDBOX-001": Cause.SANDBOX,
    "WR-SANDBOX-002": Cause.SANDBOX,
    "WR-SANDBOX-013": Cause.SANDBOX,
}
"""Facts about the hospital's computer."""

BEFORE_THE_RECORDS: Mapping[str, Cause] = {
    **ALWAYS,
    "WR-ROUND-001": Cause.NOT_UNDERSTOOD,
    "WR-STUDY-070": Cause.APPROVAL,
    "WR-STUDY-071": Cause.APPROVAL,
    "WR-STUDY-072": Cause.APPROVAL,
    "WR-STUDY-073": Cause.APPROVAL,
    "WR-STUDY-074": Cause.APPROVAL,
    "WR-POLICY-050": Cause.POLICY,
    "WR-POLICY-051": Cause.POLICY,
    "WR-POLICY-052": Cause.POLICY,
    "WR-SITE-010": Cause.POLICY,
    "WR-SITE-011": Cause.DISAGREES,
    "WR-SITE-014": Cause.DISAGREES,
    "WR-SITE-016": Cause.DISK,
    "WR-SITE-025": Cause.DISAGREES,
    "WR-SITE-027": Cause.DISAGREES,
    "WR-SITE-030": Cause.DISAGREES,
    "WR-SITE-031": Cause.DISAGREES,
    "WR-SITE-032": Cause.DISAGREES,
    "WR-SITE-033": Cause.KEYS_LOST,
    "WR-SITE-034": Cause.KEYS_LOST,
    "WR-SITE-131": Cause.DISAGREES,
    "WR-SITE-133": Cause.KEYS_LOST,
    "WR-SITE-200": Cause.DISAGREES,
    "WR-SITE-080": Cause.DISAGREES,
    "WR-SITE-082": Cause.DISAGREES,
    "WR-SITE-083": Cause.DISAGREES,
    "WR-SITE-084": Cause.DISAGREES,
    "WR-SECAGG-007": Cause.DISAGREES,
    "WR-SECAGG-008": Cause.DISAGREES,
    "WR-SECAGG-009": Cause.DISAGREES,
    "WR-SECAGG-014": Cause.DISAGREES,
    "WR-SECAGG-015": Cause.DISAGREES,
    "WR-SECAGG-030": Cause.DISAGREES,
    "WR-SECAGG-031": Cause.DISAGREES,
}
"""Facts about papers, keys and what the coordinator itself sent. A code that is not here is told as
*refused*, as is every code that somebody adds later."""


def cause_of(reason: WardroundError, study: Study, *, looked: bool) -> Cause | None:
    """What may be said of ``reason``; ``looked`` is whether the records had been looked at."""
    if study.privacy is not None:
        return None
    return (ALWAYS if looked else BEFORE_THE_RECORDS).get(reason.code)


def hindrance(study: Study, *, computed: bool) -> Hindrance | None:
    """What to say while this hospital waits for room on its disk, under a fresh number.

    None where nothing may be said: ``computed`` is whether records had been computed on before
    the disk was found full.
    """
    if study.privacy is not None and computed:
        return None
    return Hindrance(Cause.DISK, new_incident(secrets.choice))
