"""What a timeline is made from: a coordinator's rows as plain values, without SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from wardround.coordinator.connecting import Connecting
from wardround.federation.causes import Cause, Hindrance
from wardround.federation.draw import Draw
from wardround.federation.late import Gathering
from wardround.federation.round import Round
from wardround.federation.setup import Setup
from wardround.ids import RunId, SiteName

ABSENT_AFTER_S = 45.0
"""A site that has not asked for work for this long (a long poll lasts 30 s) counts as absent."""


@dataclass(frozen=True)
class RunRow:
    """A run; ``ending_at`` is when the sites were first told of its end."""

    run: RunId
    state: str
    started_at: datetime
    resumed_at: datetime | None = None
    ending_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class SetupRow:
    """A set-up, and since when it stands in its phase."""

    state: Setup
    phase_at: datetime | None


@dataclass(frozen=True)
class RoundRow:
    """A round, what it computes, and since when it stands in its phase."""

    state: Round
    kind: str
    started_at: datetime
    phase_at: datetime | None


@dataclass(frozen=True)
class StreamRow:
    """The newest stream: who is ready, since when it stands so, and the round of its last cohort
    that came to masking."""

    state: Gathering
    at: datetime
    round: RoundRow | None


@dataclass(frozen=True)
class DrawRow:
    """The newest draw of the study's groups."""

    state: Draw
    phase_at: datetime | None


@dataclass(frozen=True)
class SaidRow:
    """A statement of a site: what kind, about what, when; of a refusal also what it let be said."""

    scope: str
    kind: str
    site: SiteName
    at: datetime | None
    cause: Cause | None = None
    incident: str | None = None


@dataclass(frozen=True)
class Hindered:
    """What a site says that it waits for at its own end, and since when it says so."""

    hindrance: Hindrance
    since: datetime


@dataclass(frozen=True)
class Rows:
    """One run, or none yet.

    ``said`` holds every refusal of the run, and all other statements about what is under way.
    ``heard`` is when each agent was heard of last, ``alive_at`` when the coordinator wrote that
    down (None: it never has), and ``hindered`` who had said by then that it has to wait.
    """

    run: RunRow | None = None
    draw: DrawRow | None = None
    setups: tuple[SetupRow, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    stream: StreamRow | None = None
    said: tuple[SaidRow, ...] = ()
    enrolled: frozenset[SiteName] = frozenset()
    approved: frozenset[SiteName] = frozenset()
    heard: Mapping[SiteName, datetime] = field(default_factory=dict)
    alive_at: datetime | None = None
    hindered: Mapping[SiteName, Hindered] = field(default_factory=dict)
    connecting: tuple[Connecting, ...] = ()
    """For which hospitals the coordinator waited then, since they were not connected."""
    times: Mapping[tuple[SiteName, str], tuple[float, ...]] = field(default_factory=dict)
    """How long each site's last answers of a kind took, in seconds. It stays with the operator."""

    def connected(self, site: SiteName) -> bool:
        """Whether a site's agent had been heard of lately, when that was written down."""
        heard = self.heard.get(site)
        if heard is None or self.alive_at is None:
            return False
        return self.alive_at - heard < timedelta(seconds=ABSENT_AFTER_S)
