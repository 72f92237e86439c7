"""The statements and instructions of a round, as they travel.

A *statement* is signed (DSSE): the manifest and the checkpoint by the coordinator, everything
else by a hospital's long-lived key. An *instruction* is what the coordinator asks of one site
next; it carries no authority of its own, since sites act only on what the signed parts prove.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    ValidationError,
)

from wardround.errors import WardroundError
from wardround.federation.causes import INCIDENT_PATTERN, Cause
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg.checksum import LANES
from wardround.trust import dsse
from wardround.trust.canonical import JSON, canonical, digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey

DigestText = Annotated[Digest, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[SiteName, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,96}$")]
Run = Annotated[RunId, Field(pattern=r"^[A-Za-z0-9._-]{1,96}$")]
RoundName = Annotated[RoundId, Field(pattern=r"^[A-Za-z0-9._-]{1,96}$")]
Batch = Annotated[BatchId, Field(pattern=r"^[A-Za-z0-9._-]{1,96}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal, as Merkle proofs hold them."""


def _envelope(value: object) -> Envelope:
    if isinstance(value, Envelope):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("no envelope")
    return Envelope.from_json(value)


def _blob(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("no base64")
    return b64decode(value, validate=True)


def _nothing(value: object) -> bool:
    """Whether a key is left out, as in every statement from before there was such a key."""
    return not value


Signed = Annotated[
    Envelope,
    PlainValidator(_envelope),
    PlainSerializer(lambda envelope: envelope.to_dict()),
]
Sealed = Annotated[
    bytes,
    PlainValidator(_blob),
    PlainSerializer(lambda blob: b64encode(blob).decode()),
]
Document = dict[str, JsonValue]

MAXIMUM_HEAD_BYTES = 32 << 20
"""The largest JSON head of a message; bodies travel in numbered parts beyond `INLINE_BYTES`."""

INLINE_BYTES = 256 << 10
"""A payload up to this size travels in the message itself."""

MAXIMUM_MODEL_BYTES = 2 << 30
"""The largest model that a task may bring along: its longest vector, in doubles."""

PART_BYTES = 4 << 20
"""The size of every part of a larger payload but the last."""


class Statement(BaseModel):
    """Something said under a signature; parsed strictly, canonical when signed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def to_payload(self) -> bytes:
        """The canonical bytes (RFC 8785) that a signature covers."""
        return canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> Digest:
        """The digest of the canonical bytes."""
        return digest(self.to_payload())

    @classmethod
    def payload_type(cls) -> str:
        """The DSSE payload type, one per kind of statement."""
        return f"application/vnd.wardround.{cls.__name__.lower()}+json"

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Parse; anything unexpected is ``WR-ROUND-001``.

        So is any but the canonical spelling: of a key that comes twice this reader takes the last
        value and an auditor's perhaps the first, and both would be under the same signature.
        """
        try:
            statement = cls.model_validate_json(payload)
        except ValidationError as error:
            raise malformed(cls.__name__.lower()) from error
        if statement.to_payload() != payload:
            raise malformed(cls.__name__.lower())
        return statement

    def sign(self, key: SigningKey) -> Envelope:
        """This statement under a signature."""
        return dsse.sign(self.payload_type(), self.to_payload(), key)

    @classmethod
    def open(cls, envelope: Envelope, key: VerifyKey) -> Self:
        """The statement in an envelope signed by ``key``; raises when it is not."""
        return cls.from_payload(dsse.verify(envelope, cls.payload_type(), key))


class Enrolling(Statement):
    """A hospital's word that a certificate request is its own, whoever else saw the token."""

    study: Identifier
    site: Name
    request: DigestText
    """Of the certificate request, as it is sent."""


class Present(Statement):
    """The coordinator's word that it was there when a hospital asked, which chose ``nonce``.

    Where a proxy opens TLS, the certificate of whoever answers is the proxy's; this is not.
    """

    study: DigestText
    site: Name
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")]


class JournalHead(BaseModel):
    """A size and a root of the coordinator's journal."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    size: Count
    root: Hash


class LedgerHead(BaseModel):
    """How many entries a hospital's privacy ledger has, and the digest of the last one.

    Each entry holds the digest of the one before, so this binds all of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    size: Count
    digest: DigestText


class Manifest(Statement):
    """The signed statement of one round: what is computed, by whom, under which bounds.

    ``setup`` is the digest over every advertised key and sealed share of the batch; ``roster`` is
    exactly the set to which shares were dealt; ``journal`` is the coordinator's latest
    checkpoint, which a site countersigns by signing anything over this manifest's digest.
    ``ledgers``, in a study with noise, is the last `LedgerHead` that the coordinator has heard of
    from each hospital of the roster: whoever answers the manifest has witnessed it.
    ``version``, in a stream, is the digest of the `ModelVersion` that is the newest: every site
    counts its staleness from the same one.
    """

    study: DigestText
    study_id: Identifier
    run: Run
    step: Count
    attempt: Count
    round: RoundName
    batch: Batch
    index: Count
    task: DigestText
    kind: Identifier
    model: DigestText | None
    length: Annotated[int, Field(ge=1, le=2**31)]
    ring_bits: Annotated[int, Field(ge=32, le=64)]
    fractional_bits: Annotated[int, Field(ge=0, le=256)]
    roster: Annotated[tuple[Name, ...], Field(min_length=3, max_length=1024)]
    setup: DigestText
    corrupt: Count
    threshold: Count
    minimum_survivors: Count
    journal: JournalHead
    ledgers: dict[Name, LedgerHead] = Field(default_factory=dict, exclude_if=_nothing)
    version: DigestText | None = Field(default=None, exclude_if=_nothing)

    @property
    def payload_bytes(self) -> int:
        """How large every payload of the round is: the vector and the lanes of its checksum."""
        return (self.length + LANES) * self.ring_bits // 8


class ModelVersion(Statement):
    """The signed statement that a model is the newest of a stream: its number, counted from 0.

    A site's staleness is the difference of two such numbers. ``model`` is the digest of the
    model's bytes; ``task`` what the stream asks for, and ``run`` the stream's own.
    """

    study: DigestText
    run: Run
    task: DigestText
    number: Annotated[int, Field(ge=0, le=2**20)]
    model: DigestText


class PacketHeader(Statement):
    """What a site signs over its protected contribution.

    ``payload`` is the digest of the concatenated SHA-256 values of the payload's parts, each
    ``part_bytes`` long but the last. ``ledger``, in a study with noise, is the head of the site's
    privacy ledger after this answer was charged.
    """

    study: DigestText
    run: Run
    step: Count
    round: RoundName
    task: DigestText
    manifest: DigestText
    site: Name
    payload: DigestText
    size_bytes: Annotated[int, Field(ge=1, le=2**36)]
    part_bytes: Annotated[int, Field(ge=1, le=2**26)]
    ledger: LedgerHead | None = Field(default=None, exclude_if=_nothing)


class Refused(Statement):
    """A site answers no. The reason stays in the hospital: it could answer a question.

    ``cause`` is one of the few that depend on nobody's records, or None. ``incident`` is a random
    number that stands in the hospital's log beside the reason, to be quoted on the telephone.
    """

    study: DigestText
    run: Run
    scope: Identifier
    """The round or batch that is refused."""
    site: Name
    answer: Annotated[str, Field(pattern=r"^refused$")] = "refused"
    cause: Cause | None = Field(default=None, exclude_if=_nothing)
    incident: Annotated[str, Field(pattern=INCIDENT_PATTERN.pattern)] | None = Field(
        default=None, exclude_if=_nothing
    )


class AuditAnswer(StrEnum):
    """What a site says of a packet that stands under its name, after a total was garbage."""

    AS_SIGNED = "as-signed"
    SPOOL_DIFFERS = "spool-differs"
    """It signed this packet, and what it spooled is not any more what it signed."""
    NOT_MINE = "not-mine"
    OTHER_MANIFEST = "other-manifest"
    """It is bound to another manifest of this round than the one that it is shown."""


class Audit(Statement):
    """A site compares the packet that it is shown with its own record, and says one word.

    ``packet`` and ``manifest`` are the digests of what was shown. Nothing here depends on anybody's
    data.
    """

    study: DigestText
    run: Run
    round: RoundName
    site: Name
    packet: DigestText
    manifest: DigestText
    answer: AuditAnswer


class Witness(Statement):
    """A site countersigns the coordinator's checkpoint at the end of a run.

    ``answered`` has, by round, the digest of each packet header that the site signed in this run,
    from its own record: a round that the coordinator's journal knows nothing of is found by it.
    ``elsewhere`` is how many it signed in other runs of the study.
    """

    study: DigestText
    run: Run
    site: Name
    journal: JournalHead
    model: DigestText | None
    answered: dict[RoundName, DigestText] = Field(default_factory=dict, exclude_if=_nothing)
    elsewhere: Count = Field(default=0, exclude_if=_nothing)


class Ask(StrEnum):
    """What the coordinator asks of a site next."""

    ADVERTISE = "advertise"
    CHOOSE = "choose"
    DEAL = "deal"
    CONTRIBUTE = "contribute"
    VOTE = "vote"
    RECOVER = "recover"
    COMMIT = "commit"
    REVEAL = "reveal"
    SETTLE = "settle"
    AUDIT = "audit"
    TRAIN = "train"
    SIGN = "sign"
    SHARE = "share"
    FINISH = "finish"
    STOP = "stop"


class TreeHead(BaseModel):
    """The sites whose statements stand in a Merkle tree, in ascending order, and its root."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sites: Annotated[tuple[Name, ...], Field(max_length=1024)]
    root: Hash


class Placed(BaseModel):
    """A site's statement and its place in such a tree (RFC 6962, lowest first)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    envelope: Signed
    proof: Annotated[tuple[Hash, ...], Field(max_length=16)]


class Instruction(BaseModel):
    """One request to one site, with the material it needs to check for itself.

    ``envelopes`` and ``blobs`` (sealed shares) are keyed by site name. A model of up to
    `INLINE_BYTES` follows the head as the message's body; a larger one is fetched in parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    ask: Ask
    run: Run
    batch: Batch | None = None
    round: RoundName | None = None
    draw: Count | None = None
    """Which draw of the study's partition this is about, from 0."""
    partition: Count = 0
    """Of which partition the pool is a group, from 0; where groups are redrawn there are more."""
    pool: tuple[Name, ...] = ()
    rounds: Count = 0
    survivors: tuple[Name, ...] = ()
    manifest: Signed | None = None
    task: Document = Field(default_factory=dict)
    model: DigestText | None = None
    model_bytes: Annotated[int, Field(ge=0, le=MAXIMUM_MODEL_BYTES)] = 0
    envelopes: dict[Name, Signed] = Field(default_factory=dict)
    blobs: dict[Name, Sealed] = Field(default_factory=dict)
    tree: TreeHead | None = None
    placed: dict[Name, Placed] = Field(default_factory=dict)
    adverts: dict[Name, Placed] = Field(default_factory=dict)
    choices: dict[Name, Sealed] = Field(default_factory=dict)
    """In large cohorts: statements of some sites, with their places in trees over all; and whom
    each site of the roster chose, as a bit for each that advertised."""
    consistency: tuple[Hash, ...] = ()
    """Merkle proof (hexadecimal) from the journal head that this site saw last."""
    documents: Document = Field(default_factory=dict)
    version: Signed | None = None
    """In a stream: the `ModelVersion` to train from, or the newest when a cohort is summed."""
    sequence: Count = 0
    """In a stream: the number of the next cohort, from which a ready statement's end is counted."""
    cohort: Sealed | None = None
    """The manifest of a late cohort, which every site of it signs; ``envelopes`` are the ready
    statements that it names and ``keys`` the adverts that these name."""
    keys: dict[Name, Signed] = Field(default_factory=dict)
    reason: str | None = None

    @property
    def scope(self) -> str:
        """What an answer to it is about, as a refusal names it."""
        about = None if self.draw is None else draw_scope(self.draw)
        return self.round or self.batch or about or self.run

    @classmethod
    def parse(cls, head: Mapping[str, JSON]) -> Instruction:
        """An instruction from a message's head; a malformed one is ``WR-ROUND-001``."""
        try:
            return cls.model_validate(head)
        except (ValidationError, ValueError) as error:
            raise malformed("instruction") from error


class LedgerReport(BaseModel):
    """What a coordinator last heard of a hospital's privacy ledger: for that hospital's start.

    ``header`` is the last packet header that the hospital signed, ``manifest`` the last manifest
    that names its ledger's head, ``packets`` the headers with which others answered that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    header: Signed | None = None
    manifest: Signed | None = None
    packets: dict[Name, Signed] = Field(default_factory=dict)

    @classmethod
    def parse(cls, document: object) -> LedgerReport:
        """A report from its JSON; a malformed one is ``WR-ROUND-001``."""
        try:
            return cls.model_validate(document)
        except (ValidationError, ValueError) as error:
            raise malformed("report") from error


def draw_scope(number: int) -> str:
    """The name under which the statements of a draw of the study's partition are kept."""
    return f"draw.{number}"


def group_run(run: RunId, number: int, partition: int = 0) -> RunId:
    """The name under which a group (counted from one) of a partition (from 0) has its rounds."""
    return RunId(f"{run}.p{partition}.g{number}" if partition else f"{run}.g{number}")


_GROUP_RUN = re.compile(r"(?:\.p([0-9]+))?\.g([0-9]+)$")


def group_of(run: str) -> tuple[int, int] | None:
    """Partition (from 0) and group (from one) of a `group_run`; None of a run over all sites."""
    found = _GROUP_RUN.search(run)
    return None if found is None else (int(found[1] or 0), int(found[2]))


def stream_run(run: RunId, step: int) -> RunId:
    """The name under which the stream of a step (counted from 0) has its cohorts."""
    return RunId(f"{run}.s{step}")


_STREAM_RUN = re.compile(r"\.s[0-9]+$")


def is_stream(run: str) -> bool:
    """Whether this is a `stream_run`, whose rounds are late cohorts."""
    return _STREAM_RUN.search(run) is not None


def frame(head: Mapping[str, JSON], body: bytes | memoryview = b"") -> bytes:
    """A message: four bytes of length, the JSON head, the raw body."""
    text = orjson.dumps(head)
    return b"".join((len(text).to_bytes(4, "big"), text, body))


def unframe(message: bytes) -> tuple[dict[str, JSON], memoryview]:
    """The head and the body of a message; malformed ones are ``WR-ROUND-001``."""
    length = int.from_bytes(message[:4], "big")
    if len(message) < 4 or length > MAXIMUM_HEAD_BYTES or len(message) < 4 + length:
        raise malformed("message")
    try:
        head = orjson.loads(message[4 : 4 + length])
    except orjson.JSONDecodeError as error:
        raise malformed("message") from error
    if not isinstance(head, dict):
        raise malformed("message")
    return head, memoryview(message)[4 + length :]


def malformed(what: str) -> WardroundError:
    """The error of a message that does not parse."""
    return WardroundError(
        "WR-ROUND-001",
        f"A {what} is malformed.",
        "Both ends must run compatible versions of Wardround; a proxy must not alter bodies.",
    )
