"""One entry of a hospital's privacy ledger, and the chain that entries form.

Each entry holds the digest of the one before it, down to a first digest that names the hospital
and its signing key. Whoever has seen one head has thereby seen everything before it: an entry
can't be altered, left out, put in or moved without changing every digest from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from wardround.errors import WardroundError
from wardround.federation.messages import (
    Count,
    DigestText,
    Identifier,
    LedgerHead,
    RoundName,
    Run,
    Statement,
)
from wardround.ids import Digest, SiteName
from wardround.privacy.events import DiscreteLaplace, Event, Gaussian, Skellam
from wardround.trust.canonical import digest_json
from wardround.trust.keys import VerifyKey

_Positive = Annotated[float, Field(gt=0)]


class EventRecord(BaseModel):
    """An event as it is written down; ``noise`` is a multiplier, or a scale of Laplace noise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    mechanism: Literal["gaussian", "skellam", "discrete-laplace"]
    noise: _Positive
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0

    @classmethod
    def of(cls, event: Event) -> EventRecord:
        """What is written down of ``event``."""
        match event:
            case Gaussian(noise, rate):
                return cls(mechanism="gaussian", noise=noise, sampling_rate=rate)
            case Skellam(noise, rate):
                return cls(mechanism="skellam", noise=noise, sampling_rate=rate)
            case DiscreteLaplace(scale):
                return cls(mechanism="discrete-laplace", noise=scale)

    @property
    def event(self) -> Event:
        """The event that was written down."""
        match self.mechanism:
            case "gaussian":
                return Gaussian(self.noise, self.sampling_rate)
            case "skellam":
                return Skellam(self.noise, self.sampling_rate)
            case "discrete-laplace":
                return DiscreteLaplace(self.noise)


class Ceiling(BaseModel):
    """The account of a patient population: what all studies together may cost its patients.

    ``order`` is the one order of Rényi divergence at which costs are added up, fixed when the
    account was opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    population: Identifier
    epsilon: _Positive
    delta: Annotated[float, Field(gt=0, lt=1)]
    order: Annotated[int, Field(ge=2, le=1 << 20)]


class LedgerEntry(Statement):
    """One answer, charged: ``count`` times ``event``, of which one costs ``rdp`` at the order."""

    sequence: Count
    previous: DigestText
    at: Annotated[str, Field(max_length=40)]
    study: DigestText
    study_id: Identifier
    version: Count
    run: Run
    round: RoundName
    purpose: Identifier
    kind: Identifier
    event: EventRecord
    count: Annotated[int, Field(ge=1, lt=2**31)]
    rdp: Annotated[float, Field(ge=0)]
    ceiling: Ceiling

    @property
    def head(self) -> LedgerHead:
        """The ledger's head with this as its last entry."""
        return LedgerHead(size=self.sequence + 1, digest=self.digest)

    @property
    def time(self) -> datetime:
        """When it was charged."""
        return datetime.fromisoformat(self.at)

    @property
    def cost(self) -> float:
        """What it costs the population, as Rényi divergence at the account's order."""
        return self.rdp * self.count


def genesis(site: SiteName, key: VerifyKey) -> LedgerHead:
    """The head of a hospital's ledger before its first entry."""
    first = {"ledger": "wardround", "site": site, "signing_key": key.text}
    return LedgerHead(size=0, digest=digest_json(first))


def read_chain(first: LedgerHead, rows: Iterable[tuple[int, str, bytes]]) -> Iterator[LedgerEntry]:
    """The entries in ``rows`` (sequence, digest, canonical JSON), which extend ``first``.

    Raises WR-SITE-091 where an entry is not what its digest says, WR-SITE-092 where one is
    missing, moved or put in, and WR-SITE-093 where the chain begins as another hospital's.
    """
    head = first
    for sequence, digest, data in rows:
        try:
            # Whoever edits the file may leave text or nothing where SQLite should have bytes.
            entry = LedgerEntry.from_payload(memoryview(data).tobytes())
            at = entry.time
        except (WardroundError, ValueError, TypeError):
            raise altered(sequence) from None
        if entry.digest != digest or at.tzinfo is None:
            raise altered(sequence)
        if (sequence, entry.sequence) != (head.size, head.size) or entry.previous != head.digest:
            if entry.sequence == sequence == head.size == 0:
                raise WardroundError(
                    "WR-SITE-093",
                    "The privacy ledger in this folder belongs to another hospital or another "
                    "signing key.",
                    "Restore this hospital's own state.db; every ledger stays where its key is.",
                )
            raise WardroundError(
                "WR-SITE-092",
                f"The privacy ledger is broken at entry {sequence + 1}: an entry before it is "
                "missing, moved or put in.",
                "The agent answers no private study any more. Restore state.db from the latest "
                "backup and tell the studies' coordinators.",
            )
        yield entry
        head = LedgerHead(size=head.size + 1, digest=Digest(digest))


def altered(sequence: int) -> WardroundError:
    """An entry that is not what its digest says."""
    return WardroundError(
        "WR-SITE-091",
        f"Entry {sequence + 1} of the privacy ledger was altered or is damaged.",
        "The agent answers no private study any more. Restore state.db from the latest backup and "
        "tell the studies' coordinators.",
    )
