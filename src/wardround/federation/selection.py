"""Whom a study asks that does not ask everybody: the fastest, and each whose turn has come.

Chosen by how long a site takes as a rule and by when it was asked last, never by its loss or its
data. The same history gives the same choice, so that the journal can be checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wardround.ids import SiteName


@dataclass(frozen=True)
class Candidate:
    """A site that may be asked; ``usual_s`` is None while it is not known how fast it is."""

    site: SiteName
    usual_s: float | None
    due: bool


@dataclass(frozen=True)
class Selection:
    """Who is asked, and who of them for its turn alone; ``order`` has all, the fastest first."""

    asked: tuple[SiteName, ...]
    turns: tuple[SiteName, ...]
    order: tuple[SiteName, ...]


def due(
    sites: Iterable[SiteName], rosters: Sequence[Iterable[SiteName]], every: int
) -> frozenset[SiteName]:
    """Whose turn it is: who was in none of the last ``every - 1`` of ``rosters`` (oldest first).

    A site that is eligible all the time is thus asked in at least one of any ``every`` rounds.
    """
    recent = rosters[len(rosters) - (every - 1) :] if every > 1 else ()
    if len(recent) < every - 1:
        return frozenset()
    return frozenset(sites) - {site for roster in recent for site in roster}


def select(candidates: Iterable[Candidate], wanted: int, lots: str) -> Selection:
    """The ``wanted`` fastest, and beyond them each whose turn it is.

    A site of which too little is known comes first, so that it becomes known. Equals go by lot:
    the SHA-256 of ``lots`` (a name, the run's) and the site's name.
    """
    ranked = sorted(candidates, key=lambda one: (_speed(one), _lot(lots, one.site)))
    order = tuple(one.site for one in ranked)
    turns = tuple(sorted(one.site for one in ranked[wanted:] if one.due))
    return Selection(tuple(sorted((*order[:wanted], *turns))), turns, order)


def _speed(candidate: Candidate) -> float:
    return -math.inf if candidate.usual_s is None else candidate.usual_s


def _lot(lots: str, site: SiteName) -> bytes:
    return hashlib.sha256(f"{lots}/{site}".encode()).digest()
