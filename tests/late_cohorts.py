"""Sites that say ready, and a coordinator that tests can make lie about who is in a cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cohorts import KEYS, RUN, STUDY
from wardround.ids import Digest, SiteName
from wardround.secagg import (
    Advert,
    CohortManifest,
    CohortTerms,
    LateMember,
    Offer,
    RecoveryShares,
    RingArray,
    RingBits,
    Unmasking,
    cohort_manifest,
)
from wardround.secagg.late import Bond
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey

TASK = digest(b"the weighted update")
VERSION = digest(b"model version 7")


@dataclass
class Ward:
    """A study of ``sites`` with an asynchronous sum; ``bonds`` is what each site wrote down."""

    sites: int
    terms: CohortTerms
    record: Callable[[SiteName, Bond], None] | None = None
    bonds: list[tuple[SiteName, Bond]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = tuple(list(KEYS)[: self.sites])
        self.keys: dict[SiteName, VerifyKey] = {name: KEYS[name].public for name in self.names}

    def member(self, name: SiteName, **changes: object) -> LateMember:
        def record(bond: Bond) -> None:
            if self.record is not None:
                self.record(name, bond)
            self.bonds.append((name, bond))

        arguments = {
            "study": STUDY,
            "run": RUN,
            "me": name,
            "signing_key": KEYS[name],
            "keys": self.keys,
            "terms": self.terms,
            "task": TASK,
            "model": VERSION,
            "expires": 10,
            "record": record,
        }
        return LateMember(**{**arguments, **changes})

    def ready(self, names: Iterable[SiteName] = (), **changes: object) -> LateSum:
        chosen = tuple(names) or self.names[: self.terms.size]
        return LateSum(self, {name: self.member(name, **changes) for name in chosen})


@dataclass
class LateSum:
    """One cohort, step by step; a step is made by all of its members unless told otherwise."""

    ward: Ward
    members: dict[SiteName, LateMember]
    signatures: dict[SiteName, Envelope] = field(default_factory=dict)
    deals: dict[SiteName, Envelope] = field(default_factory=dict)
    sealed: dict[SiteName, dict[SiteName, bytes]] = field(default_factory=dict)

    @property
    def offers(self) -> dict[SiteName, Offer]:
        return {name: one.offer() for name, one in self.members.items()}

    @property
    def names(self) -> tuple[SiteName, ...]:
        return tuple(sorted(self.members))

    def manifest(self, sequence: int = 0, minimum: int = 0) -> CohortManifest:
        terms = self.ward.terms
        return cohort_manifest(STUDY, RUN, sequence, TASK, self.offers, terms, minimum)

    def sign(self, sequence: int = 0) -> LateSum:
        manifest = self.manifest(sequence)
        for name, one in self.members.items():
            self.signatures[name] = one.sign(manifest, self.offers)
        return self

    def deal(self, names: Iterable[SiteName] = ()) -> LateSum:
        for name in names or self.names:
            self.deals[name], self.sealed[name] = self.members[name].deal(self.signatures)
        return self

    def sealed_to(self, me: SiteName) -> dict[SiteName, bytes]:
        return {name: blobs[me] for name, blobs in self.sealed.items() if name != me}

    def accept(self) -> LateSum:
        bound = {one.accept(self.deals, self.sealed_to(n)) for n, one in self.members.items()}
        assert len(bound) == 1
        return self

    def set_up(self, sequence: int = 0) -> LateSum:
        return self.sign(sequence).deal().accept()

    @property
    def bound(self) -> Digest:
        return next(iter(self.members.values())).bound

    @property
    def under(self) -> Digest:
        """Stands for the digest of the coordinator's manifest of the round."""
        return digest(f"manifest over {self.bound}".encode())

    def mask(self, values: Mapping[SiteName, RingArray]) -> dict[SiteName, RingArray]:
        masked = {}
        for name, vector in values.items():
            masked[name] = vector.copy()
            self.members[name].mask(masked[name], self.under, self.bound)
        return masked

    def votes(
        self, survivors: Sequence[SiteName], voters: Iterable[SiteName]
    ) -> dict[SiteName, Envelope]:
        return {name: self.members[name].vote(survivors).sign(KEYS[name]) for name in voters}

    def recovered(
        self,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, Envelope],
        helpers: Iterable[SiteName],
    ) -> dict[SiteName, RecoveryShares]:
        return {name: self.members[name].recover(survivors, votes) for name in helpers}

    def total(
        self,
        ring_bits: RingBits,
        masked: Mapping[SiteName, RingArray],
        survivors: Sequence[SiteName],
        shares: Mapping[SiteName, RecoveryShares],
    ) -> RingArray:
        adverts = {n: Advert.open(o.advert, self.ward.keys[n]) for n, o in self.offers.items()}
        unmasking = Unmasking.prepare(
            adverts, ring_bits, survivors, shares, 0, self.under, self.ward.terms.adversary
        )
        total = np.sum(
            [masked[name] for name in survivors], axis=0, dtype=masked[survivors[0]].dtype
        )
        unmasking.unmask(total)
        return total

    def opened(self, ring_bits: RingBits, values: Mapping[SiteName, RingArray]) -> RingArray:
        """The total of a round in which nobody is lost."""
        masked = self.mask(values)
        votes = self.votes(self.names, self.names)
        shares = self.recovered(self.names, votes, self.names)
        return self.total(ring_bits, masked, self.names, shares)
