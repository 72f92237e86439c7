"""Drawing a study's partition by commit-then-reveal, through a coordinator that may lie.

Every site of the study commits to 32 random bytes. Once it has seen the signed commitments of all,
it reveals its bytes, under one signature with the digest of all commitments that it saw. From the
reveals of all follows the partition (`partition.draw_partitions`), and each site signs that it has
accepted it. In a study that redraws its groups all later partitions follow from the same reveals,
so that nobody has a choice among them either.

A site takes part in draws one after the other, in none after it has accepted a partition, and
accepts none of a draw once it has committed itself in a later one. So all honest sites hold the
same partition, whatever the coordinator shows to whom: for two of different draws one of them
would have had to commit itself in the later draw after it had accepted the earlier outcome.

What a corrupt site or the coordinator can do about the outcome: nothing by its choice of bytes,
which it fixes before it sees anybody else's. But whoever sees the last reveal first, and that is
always the coordinator, can suppress it, and so throw away an outcome that it doesn't like. A draw
has one outcome, so with at most `MAXIMUM_DRAWS` = a draws it has the choice among a independent,
uniform partitions, however many sites are corrupt (fewer than all): whatever a partition has with
probability p, the accepted one has with probability at most 1 - (1 - p)^a <= a p. That gains
nothing against secrecy, as each group alone bears all f corrupt sites; it does let f liars sit
together up to a times as often, for whoever compares the totals of groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg import wire
from wardround.secagg.messages import Message
from wardround.secagg.partition import label
from wardround.secagg.setup import open_signed
from wardround.trust.canonical import digest, digest_json
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey

MAXIMUM_DRAWS = 3
"""How often a study's partition may be drawn: the first time, and after two that somebody ended."""

RANDOM_BYTES = 32


@dataclass(frozen=True)
class Commitment(Message):
    """That a site has chosen its random bytes for draw number ``draw`` (from 0)."""

    payload_type: ClassVar[str] = "application/vnd.wardround.commitment+json"

    study: Digest
    draw: int
    site: SiteName
    commitment: bytes

    def __post_init__(self) -> None:
        _check(0 <= self.draw < MAXIMUM_DRAWS and len(self.commitment) == RANDOM_BYTES)


@dataclass(frozen=True)
class Reveal(Message):
    """A site's random bytes, and the digest of all commitments against which it reveals them."""

    payload_type: ClassVar[str] = "application/vnd.wardround.reveal+json"

    study: Digest
    draw: int
    site: SiteName
    commitments: Digest
    random: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(0 <= self.draw < MAXIMUM_DRAWS and len(self.random) == RANDOM_BYTES)


@dataclass(frozen=True)
class Acceptance(Message):
    """That a site has written this partition down as the study's, once and for good."""

    payload_type: ClassVar[str] = "application/vnd.wardround.acceptance+json"

    study: Digest
    draw: int
    site: SiteName
    commitments: Digest
    reveals: Digest
    partition: Digest

    def __post_init__(self) -> None:
        _check(0 <= self.draw < MAXIMUM_DRAWS)


_DrawMessage = TypeVar("_DrawMessage", Commitment, Reveal, Acceptance)


def commit(study: Digest, draw: int, site: SiteName, random: bytes) -> Commitment:
    """The commitment of ``site`` to its random bytes; 256 random bits need no blinding."""
    hashed = hashlib.sha256(label(study, draw, "commitment", site, random)).digest()
    return Commitment(study, draw, site, hashed)


def open_commitments(
    envelopes: Mapping[SiteName, Envelope],
    study: Digest,
    draw: int,
    keys: Mapping[SiteName, VerifyKey],
) -> dict[SiteName, Commitment]:
    """The commitments of every site of the study (``keys``) in one draw, by site.

    Raises WR-SECAGG-030 when one is missing, or is of another site, study or draw; a WR-TRUST
    code for a bad signature.
    """
    return _open_all(Commitment, envelopes, study, draw, keys, "WR-SECAGG-030")


def open_reveals(
    envelopes: Mapping[SiteName, Envelope],
    commitments: Mapping[SiteName, Commitment],
    seen: Digest,
    study: Digest,
    draw: int,
    keys: Mapping[SiteName, VerifyKey],
) -> dict[SiteName, bytes]:
    """The random bytes of every site of the study, by site.

    Raises WR-SECAGG-031 when a reveal is missing, is of another site, study or draw, doesn't
    fit its commitment, or was made against other commitments than those with the digest ``seen``:
    then somebody has committed twice, or the coordinator shows sites different things.
    """
    opened = _open_all(Reveal, envelopes, study, draw, keys, "WR-SECAGG-031")
    for site, reveal in opened.items():
        if reveal.commitments != seen:
            raise _refused(
                "WR-SECAGG-031", f"{site} has revealed against other commitments than these.", site
            )
        if commit(study, draw, site, reveal.random) != commitments[site]:
            raise _refused(
                "WR-SECAGG-031", f"What {site} reveals is not what it committed to.", site
            )
    return {site: reveal.random for site, reveal in opened.items()}


def payloads_digest(envelopes: Mapping[SiteName, Envelope]) -> Digest:
    """One digest for all commitments, or all reveals, of a draw."""
    return digest_json({site: digest(one.payload) for site, one in envelopes.items()})


def _open_all(
    kind: type[_DrawMessage],
    envelopes: Mapping[SiteName, Envelope],
    study: Digest,
    draw: int,
    keys: Mapping[SiteName, VerifyKey],
    code: str,
) -> dict[SiteName, _DrawMessage]:
    missing = sorted(keys.keys() - envelopes.keys())
    if missing:
        raise _refused(code, f"The draw lacks a {kind.__name__.lower()} of {', '.join(missing)}.")
    opened = {}
    for site in sorted(envelopes):
        one = open_signed(kind, envelopes[site], site, keys, code)
        if (one.study, one.draw) != (study, draw):
            raise _refused(code, f"What {site} signed is of another study or draw.", site)
        opened[site] = one
    return opened


def _refused(code: str, problem: str, site: SiteName | None = None) -> WardroundError:
    return WardroundError(
        code,
        problem,
        "The draw is over. If it happens again, compare what the hospitals signed: somebody, "
        "perhaps the coordinator, shows them different things.",
        path=site,
    )


def _check(condition: bool) -> None:
    if not condition:
        raise wire.malformed()
