"""A large cohort's secure sum in one process, with a coordinator that tests can make lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cohorts import BATCH, KEYS, MANIFEST, RUN, STUDY
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import Adversary, Advert, RecoveryShares, RingArray, RingBits, Unmasking
from wardround.secagg.graph import Graph, GraphRule
from wardround.secagg.messages import BriefVote
from wardround.secagg.sparse import Choices, Proved, SparseMember, Tree, plant
from wardround.trust.dsse import Envelope

ROUND = RoundId("round-1")
RULE = GraphRule(Adversary(12, 2), degree=5, share_threshold=3)
"""Small enough to try everything; far too small to protect anybody."""


@dataclass
class SparseCohort:
    """The members of a cohort, and what an honest coordinator has seen of them."""

    rule: GraphRule = RULE
    rounds: int = 1
    kind: type[SparseMember] = SparseMember
    names: tuple[SiteName, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.names = tuple(KEYS)[: self.rule.adversary.sites]
        self.keys = {name: KEYS[name].public for name in self.names}
        self.members = {name: self.member(name) for name in self.names}
        self.adverts: dict[SiteName, Proved] = {}
        self.chosen: dict[SiteName, tuple[SiteName, ...]] = {}
        self.dealt: dict[SiteName, Envelope] = {}
        self.deals: dict[SiteName, Proved] = {}
        self.sealed: dict[SiteName, dict[SiteName, bytes]] = {}
        self.tree: Tree
        self.roster: Tree

    def member(self, name: SiteName) -> SparseMember:
        return self.kind(
            STUDY, RUN, BATCH, name, KEYS[name], self.keys, lambda _: self.rule, self.rounds
        )

    def advertise(self) -> SparseCohort:
        self.tree, self.adverts = plant({n: one.advert() for n, one in self.members.items()})
        return self

    def choose(self) -> SparseCohort:
        for name, member in self.members.items():
            self.chosen[name] = member.choose(self.tree, self.adverts[name]).chosen
        return self

    def deal(self, absent: Iterable[SiteName] = ()) -> SparseCohort:
        for name in sorted(self.members.keys() - set(absent)):
            mine = {one: self.adverts[one] for one in self.chosen[name]}
            self.dealt[name], self.sealed[name] = self.members[name].deal_chosen(mine)
        self.roster, self.deals = plant(self.dealt)
        return self

    def graph(self) -> Graph:
        chosen = {name: frozenset(self.chosen[name]) for name in self.dealt}
        return Graph(self.roster.sites, self.rule.share_threshold, chosen)

    def for_accept(
        self, name: SiteName
    ) -> tuple[
        dict[SiteName, Proved], dict[SiteName, Proved], dict[SiteName, bytes], Tree, Choices
    ]:
        choosers = {one for one in self.dealt if name in self.chosen[one]}
        return (
            {one: self.deals[one] for one in choosers | {name}},
            {one: self.adverts[one] for one in choosers - set(self.chosen[name])},
            {one: self.sealed[one][name] for one in choosers},
            self.roster,
            Choices.among(self.tree.sites, {one: self.chosen[one] for one in self.dealt}),
        )

    def accept(self) -> SparseCohort:
        digests = {self.members[name].accept_chosen(*self.for_accept(name)) for name in self.dealt}
        assert len(digests) == 1
        return self

    def set_up(self, absent: Iterable[SiteName] = ()) -> SparseCohort:
        return self.advertise().choose().deal(absent).accept()

    def mask(
        self, values: Mapping[SiteName, RingArray], manifest: Digest = MANIFEST
    ) -> dict[SiteName, RingArray]:
        masked = {name: vector.copy() for name, vector in values.items()}
        for name, vector in masked.items():
            self.members[name].mask(0, manifest, vector, round_id=ROUND)
        return masked

    def votes(
        self, survivors: Sequence[SiteName], voters: Iterable[SiteName], manifest: Digest = MANIFEST
    ) -> dict[SiteName, bytes]:
        signed = {}
        for name in voters:
            vote = self.members[name].vote(0, manifest, survivors)
            envelope = BriefVote.of(vote).sign(KEYS[name])
            signed[name] = envelope.signatures[0].sig
        return signed

    def recovered(
        self,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, bytes],
        helpers: Iterable[SiteName],
        manifest: Digest = MANIFEST,
    ) -> dict[SiteName, RecoveryShares]:
        shares = {}
        for name in helpers:
            message = self.members[name].recover_signed(0, manifest, survivors, votes)
            envelope = Envelope.from_json(message.sign(KEYS[name]).to_json())
            shares[name] = RecoveryShares.open(envelope, self.keys[name])
        return shares

    def unmasking(
        self,
        ring_bits: RingBits,
        survivors: Sequence[SiteName],
        recovered: Mapping[SiteName, RecoveryShares],
    ) -> Unmasking:
        opened = {
            name: Advert.open(self.adverts[name].envelope, self.keys[name]) for name in self.dealt
        }
        return Unmasking.prepare(
            opened,
            ring_bits,
            survivors,
            recovered,
            0,
            MANIFEST,
            self.rule.adversary,
            self.graph(),
        )
