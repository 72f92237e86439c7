"""One whole secure sum in one process, through signed and serialised messages, with a meter.

A client's cost is the processor time inside its own member and what it sends and receives; the
server's is everything else. Nobody here lies; the first ``dropouts`` sites vanish with their keys
after they were dealt to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.secagg import Adversary, Advert, Member, RecoveryShares, Unmasking
from wardround.secagg.graph import COMPLETE_UP_TO, Graph, GraphRule, choose
from wardround.secagg.messages import BriefVote, Message, SurvivorVote
from wardround.secagg.sparse import Choices, Proved, SparseMember, Tree, plant
from wardround.trust.canonical import canonical, digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey

_STUDY, _RUN, _BATCH = digest(b"study"), RunId("run"), BatchId("batch")
_MANIFEST, _ROUND = digest(b"manifest"), RoundId("round")
_T = TypeVar("_T")
Vector = NDArray[np.uint32]


@dataclass
class Meter:
    """Processor seconds and bytes, by site."""

    seconds: dict[SiteName, float] = field(default_factory=dict)
    bytes: dict[SiteName, int] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def work(self, site: SiteName, stage: str) -> Iterator[None]:
        """Time what ``site`` computes."""
        started = time.process_time()
        yield
        spent = time.process_time() - started
        self.seconds[site] = self.seconds.get(site, 0.0) + spent
        self.stages[stage] = self.stages.get(stage, 0.0) + spent

    def carry(self, site: SiteName, size: int) -> None:
        """Count what ``site`` sends or receives."""
        self.bytes[site] = self.bytes.get(site, 0) + size


@dataclass
class Played:
    """One sum: whether it was exact is for the caller to compare."""

    total: Vector
    expected: Vector
    survivors: tuple[SiteName, ...]
    rule: GraphRule
    neighbours: float
    meter: Meter
    server_s: float


def play(sites: int, corrupt: int, dropouts: int, length: int) -> Played:
    """A cohort of ``sites`` sums vectors of ``length`` 32-bit elements."""
    names = tuple(SiteName(f"site-{number:05d}") for number in range(sites))
    keys = {name: SigningKey.generate() for name in names}
    public = {name: key.public for name, key in keys.items()}
    rule = choose(Adversary(sites, corrupt), dropouts)
    game = _Dense if sites <= COMPLETE_UP_TO else _Sparse
    return game(names, keys, public, rule, dropouts, length).play()


class _Game:
    def __init__(
        self,
        names: tuple[SiteName, ...],
        keys: dict[SiteName, SigningKey],
        public: dict[SiteName, VerifyKey],
        rule: GraphRule,
        dropouts: int,
        length: int,
    ) -> None:
        self.names, self.keys, self.public, self.rule = names, keys, public, rule
        self.survivors = names[dropouts:]
        self.length = length
        self.meter = Meter()
        self.adverts: dict[SiteName, Envelope] = {}
        self.deals: dict[SiteName, Envelope] = {}
        self.sealed: dict[SiteName, dict[SiteName, bytes]] = {}

    def on(self, site: SiteName, stage: str, do: Callable[[], _T]) -> _T:
        with self.meter.work(site, stage):
            return do()

    def sent(self, site: SiteName, envelope: Envelope) -> Envelope:
        """Over the wire and back, counted for ``site``."""
        data = envelope.to_json()
        self.meter.carry(site, len(data))
        return Envelope.from_json(data)

    def finish(self, members: Mapping[SiteName, Member | SparseMember], graph: Graph) -> Played:
        """Mask, vote, recover and open."""
        generator = np.random.default_rng(1)
        started, spent = time.process_time(), sum(self.meter.seconds.values())
        total, expected = np.zeros((2, self.length), np.uint32)
        apart = 0.0
        for site in self.survivors:
            before = time.process_time()
            vector = generator.integers(0, 2**32, self.length, dtype=np.uint32)
            expected += vector
            apart += time.process_time() - before
            member = members[site]
            self.on(
                site,
                "mask",
                lambda member=member, vector=vector: member.mask(  # type: ignore[misc]
                    0, _MANIFEST, vector, round_id=_ROUND
                ),
            )
            self.meter.carry(site, vector.nbytes)
            total += vector
        votes = {}
        roster = len(canonical(list(self.survivors)))
        for site in self.survivors:
            self.meter.carry(site, roster)
            vote = self.on(
                site,
                "vote",
                lambda site=site: self.in_words(  # type: ignore[misc]
                    members[site].vote(0, _MANIFEST, self.survivors)
                ).sign(self.keys[site]),
            )
            votes[site] = self.sent(site, vote)
        shares = {}
        for site in self.survivors:
            envelope = self.recover(site, members[site], self.shown(votes))
            shares[site] = RecoveryShares.open(self.sent(site, envelope), self.public[site])
        opened = {site: Advert.open(one, self.public[site]) for site, one in self.adverts.items()}
        unmasking = Unmasking.prepare(
            opened, 32, self.survivors, shares, 0, _MANIFEST, self.rule.adversary, graph
        )
        unmasking.unmask(total, 0)
        elapsed = time.process_time() - started - apart
        clients = sum(self.meter.seconds.values()) - spent
        degree = float(np.mean([len(graph.neighbours(site)) for site in self.survivors]))
        return Played(
            total, expected, self.survivors, self.rule, degree, self.meter, elapsed - clients
        )

    in_words: Callable[[SurvivorVote], Message]

    def shown(self, votes: dict[SiteName, Envelope]) -> dict[SiteName, Envelope]:
        """Which votes a helper is shown: with all pairs, no more than it needs."""
        return dict(list(votes.items())[: self.rule.adversary.threshold])

    def recover(
        self, site: SiteName, member: Member | SparseMember, votes: dict[SiteName, Envelope]
    ) -> Envelope:
        raise NotImplementedError

    def play(self) -> Played:
        raise NotImplementedError


class _Dense(_Game):
    in_words = staticmethod(lambda vote: vote)

    def play(self) -> Played:
        members = {
            site: self.on(
                site,
                "advertise",
                lambda site=site: Member(  # type: ignore[misc]
                    _STUDY,
                    _RUN,
                    _BATCH,
                    self.names,
                    site,
                    self.keys[site],
                    self.public,
                    lambda _: self.rule.adversary,
                    1,
                ),
            )
            for site in self.names
        }
        for site, member in members.items():
            self.adverts[site] = self.sent(site, member.advert())
        for site, member in members.items():
            for other in self.names:
                self.meter.carry(site, len(self.adverts[other].to_json()))
            dealt = self.on(site, "deal", lambda member=member: member.deal(self.adverts))  # type: ignore[misc]
            self.deals[site], self.sealed[site] = self.sent(site, dealt[0]), dealt[1]
            self.meter.carry(site, sum(len(blob) for blob in dealt[1].values()))
        for site, member in members.items():
            blobs = {other: one[site] for other, one in self.sealed.items() if other != site}
            for other in self.names:
                self.meter.carry(site, len(self.deals[other].to_json()))
            self.meter.carry(site, sum(len(blob) for blob in blobs.values()))
            self.on(
                site,
                "accept",
                lambda member=member, blobs=blobs: member.accept(self.deals, blobs),  # type: ignore[misc]
            )
        graph = Graph(self.names, self.rule.share_threshold)
        return self.finish(members, graph)

    def recover(
        self, site: SiteName, member: Member | SparseMember, votes: dict[SiteName, Envelope]
    ) -> Envelope:
        for vote in votes.values():
            self.meter.carry(site, len(vote.to_json()))
        return self.on(
            site,
            "recover",
            lambda: member.recover(0, _MANIFEST, self.survivors, votes).sign(self.keys[site]),
        )


class _Sparse(_Game):
    in_words = staticmethod(BriefVote.of)

    def shown(self, votes: dict[SiteName, Envelope]) -> dict[SiteName, Envelope]:
        """All of them: the more there are, the fewer are checked."""
        return votes

    def play(self) -> Played:
        members = {
            site: self.on(
                site,
                "advertise",
                lambda site=site: SparseMember(  # type: ignore[misc]
                    _STUDY,
                    _RUN,
                    _BATCH,
                    site,
                    self.keys[site],
                    self.public,
                    lambda _: self.rule,
                    1,
                ),
            )
            for site in self.names
        }
        for site, member in members.items():
            self.adverts[site] = self.sent(site, member.advert())
        tree, adverts = plant(self.adverts)
        chosen: dict[SiteName, tuple[SiteName, ...]] = {}
        for site, member in members.items():
            self.receive_tree(site, tree)
            chosen[site] = self.on(
                site,
                "choose",
                lambda site=site, member=member: member.choose(tree, adverts[site]).chosen,  # type: ignore[misc]
            )
            mine = {other: adverts[other] for other in chosen[site]}
            self.receive(site, mine)
            dealt = self.on(
                site,
                "deal",
                lambda member=member, mine=mine: member.deal_chosen(mine),  # type: ignore[misc]
            )
            self.deals[site], self.sealed[site] = self.sent(site, dealt[0]), dealt[1]
            self.meter.carry(site, sum(len(blob) for blob in dealt[1].values()))
        roster, deals = plant(self.deals)
        bits = Choices.among(tree.sites, chosen).bits
        graph = Graph(
            roster.sites,
            self.rule.share_threshold,
            {site: frozenset(others) for site, others in chosen.items()},
        )
        for site, member in members.items():
            choosers = graph.dealers(site)
            to_me = {one: deals[one] for one in choosers}
            unseen = {one: adverts[one] for one in choosers - {site, *chosen[site]}}
            blobs = {one: self.sealed[one][site] for one in choosers - {site}}
            self.receive_tree(site, roster)
            self.receive(site, to_me)
            self.receive(site, unseen)
            self.meter.carry(site, sum(len(blob) for blob in blobs.values()))
            self.meter.carry(site, sum(len(row) + len(one) for one, row in bits.items()))
            self.on(
                site,
                "accept",
                lambda member=member, to_me=to_me, unseen=unseen, blobs=blobs: (  # type: ignore[misc]
                    member.accept_chosen(to_me, unseen, blobs, roster, Choices(tree.sites, bits))
                ),
            )
        return self.finish(members, graph)

    def receive_tree(self, site: SiteName, tree: Tree) -> None:
        self.meter.carry(site, len(canonical(list(tree.sites))) + len(tree.root))

    def receive(self, site: SiteName, proved: Mapping[SiteName, Proved]) -> None:
        for one in proved.values():
            size = len(one.envelope.to_json()) + sum(len(step) for step in one.proof)
            self.meter.carry(site, size)

    def recover(
        self, site: SiteName, member: Member | SparseMember, votes: dict[SiteName, Envelope]
    ) -> Envelope:
        assert isinstance(member, SparseMember)
        signatures = {one: vote.signatures[0].sig for one, vote in votes.items()}
        self.meter.carry(site, sum(len(one) + 64 for one in signatures))
        return self.on(
            site,
            "recover",
            lambda: member.recover_signed(0, _MANIFEST, self.survivors, signatures).sign(
                self.keys[site]
            ),
        )
