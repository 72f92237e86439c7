"""Hospitals that a coordinator waits for before it goes on, since they are not connected.

While that lasts no set-up and no round is open, so no row says it. It is known to the coordinator's
process alone, which tells others beside it with whom it has heard of (`presence`); a row that is
newer than the wait says that it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self

from wardround.ids import RunId, SiteName
from wardround.trust.canonical import JSON

SHOWN = 4
"""How many names a line has room for."""


class Wanted(StrEnum):
    """Which hospitals it takes."""

    ALL = "all"
    """Everybody, before a run starts or goes on; when the time is over, whoever is there."""
    ENOUGH = "enough"
    """As many as the study's rules ask for; without them the run is interrupted."""
    SAME = "same"
    """Those who have closed a step, which gives its total over the same ones again."""


@dataclass(frozen=True)
class Connecting:
    """A wait: from ``since`` to ``until`` at most, for ``needed`` of ``there`` and ``waits_for``.

    ``run`` is the one that waits, or its group; None before the coordinator has opened any.
    """

    run: RunId | None
    wanted: Wanted
    since: datetime
    until: datetime
    needed: int
    there: frozenset[SiteName]
    waits_for: tuple[SiteName, ...]

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What whoever watches is told of it."""
        connected = len(self.there)
        return {"for": names(self.waits_for), "connected": connected, "needed": self.needed}

    def to_json(self) -> dict[str, JSON]:
        """For the file that other processes read."""
        return {
            "run": self.run,
            "wanted": self.wanted.value,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "needed": self.needed,
            "there": sorted(self.there),
            "waits_for": list(self.waits_for),
        }

    @classmethod
    def from_json(cls, document: object) -> Connecting:
        """Raises TypeError, ValueError or KeyError where it makes no sense."""
        if not isinstance(document, dict):
            raise TypeError("no wait")
        run = document["run"]
        return cls(
            run=None if run is None else RunId(str(run)),
            wanted=Wanted(document["wanted"]),
            since=_time(document["since"]),
            until=_time(document["until"]),
            needed=int(document["needed"]),
            there=frozenset(SiteName(str(site)) for site in document["there"]),
            waits_for=tuple(SiteName(str(site)) for site in document["waits_for"]),
        )


class Connections:
    """The wait that is going on, if there is one; it ends with the block that it is used in."""

    def __init__(
        self, run: RunId | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.current: Connecting | None = None
        self.on_begin: Callable[[Connecting], None] = lambda _wait: None
        """Told when a wait begins."""
        self._run = run
        self._now = now

    def wait(
        self,
        wanted: Wanted,
        sites: Collection[SiteName],
        there: Collection[SiteName],
        needed: int,
        left_s: float,
    ) -> Connecting:
        """Of ``sites`` only these are there: it begins, or goes on with others missing."""
        here = frozenset(sites) & frozenset(there)
        missing = tuple(sorted(frozenset(sites) - here))
        if self.current is None:
            now = self._now()
            until = now + timedelta(seconds=left_s)
            self.current = Connecting(self._run, wanted, now, until, needed, here, missing)
            self.on_begin(self.current)
        elif self.current.waits_for != missing:
            self.current = replace(self.current, there=here, waits_for=missing)
        return self.current

    def __enter__(self) -> Self:
        """Hospitals may have to be waited for."""
        return self

    def __exit__(self, *_: object) -> None:
        """They no longer are, one way or the other."""
        self.current = None


def names(sites: Collection[str]) -> str:
    """Some names, and how many more there are: ``harbour, lakeside``."""
    listed = list(sites)
    shown = ", ".join(listed[:SHOWN])
    return shown if len(listed) <= SHOWN else f"{shown} and {len(listed) - SHOWN} more"


def _time(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time
