"""A secure sum's cohort in one process, and a coordinator that tests can make lie."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import (
    Adversary,
    Advert,
    Member,
    RecoveryShares,
    RingArray,
    RingBits,
    Unmasking,
    default_corrupt,
)
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey

STUDY = digest(b"study")
BATCH = BatchId("batch-1")
MANIFEST = digest(b"manifest")
RUN = RunId("run-1")
KEYS = {SiteName(f"site-{i:02}"): SigningKey.generate() for i in range(41)}


@dataclass
class Cohort:
    """``sites`` members after set-up and an honest coordinator's view of them."""

    sites: int
    corrupt: int
    rounds: int = 1
    batch: BatchId = BATCH
    kind: type[Member] = Member
    only: Sequence[SiteName] | None = None
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    names: tuple[SiteName, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.names = tuple(self.only or list(KEYS)[: self.sites])
        self.keys: dict[SiteName, VerifyKey] = {name: KEYS[name].public for name in self.names}
        self.members = {name: self.member(name) for name in self.names}
        self.adverts: dict[SiteName, Envelope] = {}
        self.deals: dict[SiteName, Envelope] = {}
        self.sealed: dict[SiteName, dict[SiteName, bytes]] = {}

    def member(self, name: SiteName) -> Member:
        return self.kind(
            STUDY,
            RUN,
            self.batch,
            self.names,
            name,
            KEYS[name],
            self.keys,
            lambda n: Adversary(n, self.corrupt),
            self.rounds,
            random_bytes=self.random_bytes,
        )

    def advertise(self, absent: Iterable[SiteName] = ()) -> Cohort:
        gone = set(absent)
        self.adverts = {n: m.advert() for n, m in self.members.items() if n not in gone}
        self.members = {n: m for n, m in self.members.items() if n not in gone}
        return self

    def deal(self, absent: Iterable[SiteName] = ()) -> Cohort:
        for name in self.members.keys() - set(absent):
            self.deals[name], self.sealed[name] = self.members[name].deal(self.adverts)
        return self

    def sealed_to(self, me: SiteName) -> dict[SiteName, bytes]:
        return {name: blobs[me] for name, blobs in self.sealed.items() if name != me}

    def set_up(self, absent: Iterable[SiteName] = ()) -> Cohort:
        self.advertise(absent).deal()
        digests = {m.accept(self.deals, self.sealed_to(n)) for n, m in self.members.items()}
        assert len(digests) == 1
        return self

    @property
    def roster(self) -> tuple[SiteName, ...]:
        return tuple(sorted(self.adverts))

    @property
    def adversary(self) -> Adversary:
        return Adversary(len(self.adverts), self.corrupt)

    def votes(
        self,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        voters: Iterable[SiteName],
    ) -> dict[SiteName, Envelope]:
        return {
            name: self.members[name].vote(index, manifest, survivors).sign(KEYS[name])
            for name in voters
        }

    def recovered(
        self,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, Envelope],
        helpers: Iterable[SiteName],
    ) -> dict[SiteName, RecoveryShares]:
        """The helpers' shares, through their signed and serialised form."""
        shares = {}
        for name in helpers:
            message = self.members[name].recover(index, manifest, survivors, votes)
            envelope = Envelope.from_json(message.sign(KEYS[name]).to_json())
            shares[name] = RecoveryShares.open(envelope, self.keys[name])
        return shares

    def unmasking(
        self,
        ring_bits: RingBits,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        recovered: Mapping[SiteName, RecoveryShares],
    ) -> Unmasking:
        opened = {n: Advert.open(e, self.keys[n]) for n, e in self.adverts.items()}
        return Unmasking.prepare(
            opened, ring_bits, survivors, recovered, index, manifest, self.adversary
        )

    def mask(
        self,
        index: int,
        manifest: Digest,
        values: Mapping[SiteName, RingArray],
    ) -> dict[SiteName, RingArray]:
        masked = {}
        for name, vector in values.items():
            masked[name] = vector.copy()
            self.members[name].mask(index, manifest, masked[name], round_id=RoundId("round-1"))
        return masked


def random_ring(length: int, ring_bits: RingBits, seed: int) -> RingArray:
    generator = np.random.default_rng(seed)
    dtype = np.uint32 if ring_bits == 32 else np.uint64
    return generator.integers(0, 2**ring_bits, length, dtype=dtype)


def random_values(
    names: Iterable[SiteName], length: int, ring_bits: RingBits, seed: int = 0
) -> dict[SiteName, RingArray]:
    return {n: random_ring(length, ring_bits, seed * 1000 + i) for i, n in enumerate(names)}


def plain_sum(vectors: Iterable[RingArray]) -> RingArray:
    first, *rest = vectors
    total = first.copy()
    for vector in rest:
        total += vector
    return total


def usual(sites: int, rounds: int = 1) -> Cohort:
    """A cohort with the default corruption bound."""
    return Cohort(sites, default_corrupt(sites), rounds)
