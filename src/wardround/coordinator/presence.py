"""Whom a coordinator has heard of lately, who has to wait, and for whom it waits itself, for other
processes.

A file and no row: it is out of date a moment later, nothing is ever decided by it, and it must cost
no transaction. Where it is missing or makes no sense, nothing is known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from wardround.coordinator.connecting import Connecting
from wardround.coordinator.rows import Hindered
from wardround.federation.causes import Hindrance
from wardround.ids import SiteName

EVERY_S = 2.0
"""How often it is written."""

SILENT_AFTER_S = 20.0
"""A coordinator that has not written down for this long whom it heard of does not run."""

NAME = "presence.json"


@dataclass(frozen=True)
class Presence:
    """When each site's agent was heard of last, as known at the time ``at``."""

    at: datetime | None = None
    heard: Mapping[SiteName, datetime] = field(default_factory=dict)
    hindered: Mapping[SiteName, Hindered] = field(default_factory=dict)
    connecting: tuple[Connecting, ...] = ()
    """For which hospitals it waits that are not connected."""

    @classmethod
    def of(
        cls,
        ages_s: Mapping[SiteName, float],
        now: datetime,
        hindered: Mapping[SiteName, Hindered] | None = None,
        connecting: tuple[Connecting, ...] = (),
    ) -> Presence:
        """From so many seconds ago."""
        heard = {site: now - timedelta(seconds=age) for site, age in ages_s.items()}
        return cls(now, heard, dict(hindered or {}), connecting)

    @classmethod
    def load(cls, folder: Path) -> Presence:
        """What was written down last in ``folder``; an empty one where that can't be read."""
        try:
            document = orjson.loads((folder / NAME).read_bytes())
            heard = {SiteName(str(site)): _time(at) for site, at in dict(document["heard"]).items()}
            hindered = {
                SiteName(str(site)): _hindered(text, since)
                for site, (text, since) in dict(document["hindered"]).items()
            }
            connecting = tuple(map(Connecting.from_json, document["connecting"]))
            return cls(_time(document["at"]), heard, hindered, connecting)
        except (OSError, ValueError, TypeError, KeyError):
            return cls()

    def as_of(self, now: datetime) -> Presence:
        """What still counts of it: a coordinator that is gone waits for nobody."""
        if self.at is None or now - self.at < timedelta(seconds=SILENT_AFTER_S):
            return self
        return replace(self, connecting=())

    def save(self, folder: Path) -> None:
        """Write it in one step, without waiting for the disk; a full one is no reason to stop."""
        document = {
            "at": None if self.at is None else self.at.isoformat(),
            "heard": {site: at.isoformat() for site, at in sorted(self.heard.items())},
            "hindered": {
                site: [one.hindrance.text, one.since.isoformat()]
                for site, one in sorted(self.hindered.items())
            },
            "connecting": [one.to_json() for one in self.connecting],
        }
        fresh = folder / f".{NAME}.part"
        try:
            fresh.write_bytes(orjson.dumps(document))
            fresh.replace(folder / NAME)
        except OSError:
            fresh.unlink(missing_ok=True)


async def keep_written(folder: Path, presence: Callable[[], Presence]) -> None:
    """Write it down again and again until cancelled."""
    while True:
        began = time.monotonic()
        presence().save(folder)
        await asyncio.sleep(max(EVERY_S - (time.monotonic() - began), 0.0))


def _hindered(text: object, since: object) -> Hindered:
    hindrance = Hindrance.parse(str(text))
    if hindrance is None:
        raise ValueError("no hindrance")
    return Hindered(hindrance, _time(since))


def _time(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time
