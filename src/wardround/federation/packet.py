"""What may leave a hospital: a packet, a refusal, or a status. There is no fourth thing.

Only ``site/door.py`` builds a `Packet`; only ``site/link.py`` sends any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from wardround.federation.messages import PacketHeader, Refused
from wardround.ids import RoundId
from wardround.trust.dsse import Envelope


@dataclass(frozen=True)
class Packet:
    """A protected, signed contribution; ``payload`` is the spooled file of masked ring elements.

    ``part_digests`` are the raw SHA-256 values of its parts, where they are known.
    """

    header: PacketHeader
    envelope: Envelope
    payload: Path
    part_digests: tuple[bytes, ...] = ()

    @property
    def round(self) -> RoundId:
        """The round that this answers."""
        return RoundId(self.header.round)


@dataclass(frozen=True)
class Refusal:
    """A signed no, without a reason."""

    refused: Refused
    envelope: Envelope


class StatusKind(StrEnum):
    """The protocol statements that carry keys, shares and signatures, and no patient's data."""

    APPROVAL = "approval"
    ADVERT = "advert"
    CHOICE = "choice"
    DEAL = "deal"
    VOTE = "vote"
    SHARES = "shares"
    COMMITMENT = "commitment"
    REVEAL = "reveal"
    ACCEPTANCE = "acceptance"
    AUDIT = "audit"
    READY = "ready"
    COHORT = "cohort"
    WITNESS = "witness"


@dataclass(frozen=True)
class Status:
    """A signed protocol statement and, for a deal, the sealed shares that it names;
    for a ready statement the advert that it names."""

    kind: StatusKind
    envelope: Envelope
    attachment: bytes = b""
