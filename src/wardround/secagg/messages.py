"""What sites say to each other about a secure sum, through a coordinator that may lie.

Four statements, each signed by the site's long-lived key, the one that stands in the study. A
message that exists is well formed: sizes, order and ranges are checked when it is built, whether
by us or from the wire. Whether it fits the round at hand is for ``setup``, ``masking`` and
``recovery`` to decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Self

from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import wire
from wardround.secagg.adversary import MAXIMUM_COHORT, MINIMUM_SITES
from wardround.secagg.shamir import SHARE_BYTES
from wardround.trust.canonical import JSON, canonical, digest_json, parse_json
from wardround.trust.dsse import Envelope, sign, verify
from wardround.trust.keys import SigningKey, VerifyKey

MAXIMUM_ROUNDS = 256
"""Rounds of one set-up. More would keep keys in memory for longer than they need to exist."""

_NAMES = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}\n)+")


@dataclass(frozen=True)
class _Form:
    """How a field of one type travels."""

    write: Callable[[Any], JSON]
    read: Callable[[wire.Reader, str], Any]


def _text(value: str) -> JSON:
    return value


_FORMS = {
    "int": _Form(lambda value: value, wire.Reader.integer),
    "RunId": _Form(_text, wire.Reader.text),
    "BatchId": _Form(_text, wire.Reader.text),
    "RoundId": _Form(_text, wire.Reader.text),
    "SiteName": _Form(_text, wire.Reader.text),
    "Digest": _Form(_text, wire.Reader.digest),
    "bytes": _Form(wire.to_base64, wire.Reader.data),
    "tuple[SiteName, ...]": _Form(list, wire.Reader.sites),
    "tuple[bytes, ...]": _Form(
        lambda value: [wire.to_base64(one) for one in value], wire.Reader.data_list
    ),
    "Mapping[SiteName, Digest]": _Form(dict, wire.Reader.digests),
    "Mapping[SiteName, bytes]": _Form(wire.to_base64_map, wire.Reader.data_map),
}
"""By the annotation of a field, as it is written in a message's class."""


class Message:
    """A statement that a site signs: a JSON object with exactly the fields of its dataclass."""

    payload_type: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    site: SiteName

    def to_wire(self) -> dict[str, JSON]:
        """The message as a JSON object; bytes in standard base64."""
        return {
            one.name: _FORMS[str(one.type)].write(getattr(self, one.name)) for one in fields(self)
        }

    @classmethod
    def from_wire(cls, value: JSON) -> Self:
        """The reverse of :meth:`to_wire`; raises WR-SECAGG-006 for anything else."""
        read = wire.Reader(value)
        taken = {one.name: _FORMS[str(one.type)].read(read, one.name) for one in fields(cls)}
        return read.done(cls(**taken))

    def sign(self, key: SigningKey) -> Envelope:
        """The message in an envelope under ``key``."""
        return sign(self.payload_type, canonical(self.to_wire()), key)

    @classmethod
    def open(cls, envelope: Envelope, key: VerifyKey) -> Self:
        """The message inside ``envelope``, if ``key`` signed it; raises a WR-TRUST code if not."""
        payload = verify(envelope, cls.payload_type, key)
        return cls.from_wire(parse_json(payload, code="WR-SECAGG-006", what="message"))


@dataclass(frozen=True)
class Advert(Message):
    """A site's public keys for a batch of ``rounds`` rounds among (at most) the sites of ``pool``.

    An empty ``pool`` stands for every site of the study: its list would outweigh the keys.
    ``sealing_key`` (X25519) receives sealed shares and is never itself shared; for each round
    there is one ``masking_keys`` entry (X25519) and the commitment to one self-mask secret.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.advert+json"

    study: Digest
    run: RunId
    batch: BatchId
    pool: tuple[SiteName, ...]
    rounds: int
    site: SiteName
    sealing_key: bytes
    masking_keys: tuple[bytes, ...]
    self_mask_commitments: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if self.pool:
            _check_sites(self.pool, at_least=MINIMUM_SITES)
        lists = (self.masking_keys, self.self_mask_commitments)
        _check(
            1 <= self.rounds <= MAXIMUM_ROUNDS
            and (self.site in self.pool or not self.pool)
            and all(len(one) == self.rounds for one in lists)
            and all(len(key) == 32 for one in lists for key in one)
            and len(self.sealing_key) == 32
        )


@dataclass(frozen=True)
class Deal(Message):
    """That a site dealt shares to every other site of the roster, and the hash of each blob.

    ``adverts`` is the digest of all adverts of the roster as the dealer saw them, so that members
    to whom the coordinator showed different keys notice; ``sealed`` gives the SHA-256 of what
    each peer was sent, so that every member can check every deal without receiving it.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.deal+json"

    study: Digest
    run: RunId
    batch: BatchId
    site: SiteName
    adverts: Digest
    sealed: Mapping[SiteName, Digest]

    def __post_init__(self) -> None:
        _check_sites((*self.sealed, self.site), at_least=MINIMUM_SITES, ordered=False)


@dataclass(frozen=True)
class Choice(Message):
    """Whom a site of a large cohort deals its shares to, as it drew them.

    ``adverts`` stands for the tree of adverts from which it chose.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.choice+json"

    study: Digest
    run: RunId
    batch: BatchId
    site: SiteName
    adverts: Digest
    chosen: tuple[SiteName, ...]

    def __post_init__(self) -> None:
        _check_sites(self.chosen, at_least=2)
        _check(self.site not in self.chosen)


@dataclass(frozen=True)
class SurvivorVote(Message):
    """The one set of survivors over which a site agrees to open a round."""

    payload_type: ClassVar[str] = "application/vnd.wardround.vote+json"

    study: Digest
    run: RunId
    batch: BatchId
    round: RoundId
    index: int
    manifest: Digest
    survivors: tuple[SiteName, ...]
    site: SiteName

    def __post_init__(self) -> None:
        _check_sites(self.survivors, at_least=2)
        _check(0 <= self.index < MAXIMUM_ROUNDS and self.site in self.survivors)


@dataclass(frozen=True)
class BriefVote(Message):
    """A vote as large cohorts give it: over the digest of what a :class:`SurvivorVote` says.

    Whoever checks hundreds of them knows the set of survivors anyway.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.brief-vote+json"

    vote: Digest
    site: SiteName

    @classmethod
    def of(cls, vote: SurvivorVote) -> BriefVote:
        """The same vote, in brief."""
        said = {name: value for name, value in vote.to_wire().items() if name != "site"}
        return cls(digest_json(said), vote.site)


@dataclass(frozen=True)
class RecoveryShares(Message):
    """A site's shares for one round: masking keys of who dropped, self-masks of who survived.

    No site is in both maps: the two shares of one peer together would unmask that peer.
    """

    payload_type: ClassVar[str] = "application/vnd.wardround.recovery+json"

    study: Digest
    run: RunId
    batch: BatchId
    round: RoundId
    index: int
    manifest: Digest
    survivors: tuple[SiteName, ...]
    site: SiteName
    masking_shares: Mapping[SiteName, bytes] = field(repr=False)
    self_mask_shares: Mapping[SiteName, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        _check_sites(self.survivors, at_least=2)
        # Also refuses a site in both maps, as a name that comes twice.
        _check_sites((*self.masking_shares, *self.self_mask_shares), at_least=1, ordered=False)
        shares = (*self.masking_shares.values(), *self.self_mask_shares.values())
        _check(
            0 <= self.index < MAXIMUM_ROUNDS
            and self.site in self.survivors
            and self.site in self.self_mask_shares
            and self.self_mask_shares.keys() <= set(self.survivors)
            and self.masking_shares.keys().isdisjoint(self.survivors)
            and all(len(share) == SHARE_BYTES for share in shares)
        )


def _check_sites(names: tuple[SiteName, ...], *, at_least: int, ordered: bool = True) -> None:
    """Distinct, well-formed names, in ascending order where a list stands for a set."""
    _check(at_least <= len(names) <= MAXIMUM_COHORT and len(set(names)) == len(names))
    _check(not ordered or list(names) == sorted(names))
    # One match for all: a large cohort's deals hold some ten thousand names at each site.
    _check(bool(_NAMES.fullmatch("".join(f"{name}\n" for name in names))))


def _check(condition: bool) -> None:
    if not condition:
        raise wire.malformed()
