"""Sites and a coordinator over a network that reorders, repeats and loses what it carries."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cohorts import RUN, STUDY, plain_sum, random_values
from late_cohorts import TASK, LateSum, Ward
from wardround.errors import WardroundError
from wardround.federation.late import CohortPhase, Gathering, Waiting
from wardround.federation.round import RoundPhase
from wardround.ids import SiteName
from wardround.secagg import CohortManifest, CohortTerms, LateMember, Offer, cohort_manifest
from wardround.secagg.cohort import open_offer
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope, verify

TERMS = CohortTerms(4, 1, 1)


class Network:
    """An honest coordinator; sites that answer everything they are sent; messages in a pile."""

    def __init__(self, chance: random.Random, losses: int) -> None:
        self.chance = chance
        self.fates = ("once",) * 30 + ("twice",) * 8 + ("lost",) * losses
        self.ward = Ward(6, TERMS)
        self.state = Gathering(RUN, self.ward.names, TERMS.size)
        self.offers: dict[tuple[SiteName, str], Offer] = {}
        self.manifests: dict[int, CohortManifest] = {}
        self.signatures: dict[int, dict[SiteName, Envelope]] = {}
        self.deals: dict[int, dict[SiteName, tuple[Envelope, dict[SiteName, bytes]]]] = {}
        self.members: dict[SiteName, LateMember] = {}
        self.made: list[LateMember] = []
        self.pile: list[Callable[[], None]] = []

    def say_ready(self, name: SiteName) -> None:
        """With new keys; the old ones are destroyed."""
        if name in self.members:
            self.members[name].abandon()
        self.members[name] = member = self.ward.member(name)
        self.made.append(member)
        self.send(lambda: self.on_ready(name, member.offer()))

    def send(self, message: Callable[[], None]) -> None:
        self.pile.append(message)

    def deliver(self) -> None:
        """One message of the pile, which may stay there or get lost instead."""
        place, fate = self.chance.randrange(len(self.pile)), self.chance.choice(self.fates)
        message = self.pile[place] if fate == "twice" else self.pile.pop(place)
        if fate != "lost":
            message()

    def on_ready(self, name: SiteName, offer: Offer) -> None:
        ready, _ = open_offer(offer, name, STUDY, RUN, self.ward.keys)
        said = digest(offer.ready.payload)
        self.offers[name, said] = offer
        self.state = self.state.on_ready(Waiting(name, said, ready.task, ready.expires))
        if due := self.state.due():
            offers = {one.site: self.offers[one.site, one.ready] for one in due}
            manifest = cohort_manifest(STUDY, RUN, self.state.sequence, TASK, offers, TERMS)
            self.state = self.state.on_proposed(manifest)
            self.manifests[manifest.sequence] = manifest
            for site in manifest.cohort:
                self.send(lambda site=site: self.ask_signature(site, manifest, offers))

    def ask_signature(
        self, name: SiteName, manifest: CohortManifest, offers: dict[SiteName, Offer]
    ) -> None:
        try:
            envelope = self.members[name].sign(manifest, offers)
        except WardroundError as error:
            assert error.code in ("WR-SECAGG-051", "WR-SECAGG-052")
            return
        self.send(lambda: self.on_signature(manifest.sequence, name, envelope))

    def on_signature(self, sequence: int, name: SiteName, envelope: Envelope) -> None:
        payload = verify(envelope, CohortManifest.payload_type, self.ward.keys[name])
        self.signatures.setdefault(sequence, {})[name] = envelope
        before = self.state.cohort(sequence)
        self.state = self.state.on_signature(sequence, name, digest(payload))
        cohort = self.state.cohort(sequence)
        if cohort is not before and cohort is not None and cohort.phase is CohortPhase.DEAL:
            for site in cohort.roster:
                self.send(lambda site=site: self.ask_deal(sequence, site))

    def ask_deal(self, sequence: int, name: SiteName) -> None:
        member = self.members[name]
        if member.manifest is None or member.manifest.sequence != sequence:
            return
        try:
            deal = member.deal(self.signatures[sequence])
        except WardroundError as error:
            assert error.code == "WR-SECAGG-010", "asked twice"
            return
        self.send(lambda: self.on_deal(sequence, name, deal))

    def on_deal(
        self, sequence: int, name: SiteName, deal: tuple[Envelope, dict[SiteName, bytes]]
    ) -> None:
        self.deals.setdefault(sequence, {})[name] = deal
        self.state = self.state.on_deal(sequence, name)

    def finish(self, sequence: int, gone: int) -> bool:
        """Play the round of a cohort in which all dealt; whether its total was opened."""
        cohort = self.state.cohort(sequence)
        assert cohort is not None
        round_ = cohort.round()
        members = {name: self.members[name] for name in cohort.roster}
        late = LateSum(self.ward, members)
        late.deals = {name: deal for name, (deal, _) in self.deals[sequence].items()}
        late.sealed = {name: sealed for name, (_, sealed) in self.deals[sequence].items()}
        late.accept()
        values = random_values(late.names, 5, 32, seed=sequence)
        masked = late.mask(values)
        for name in late.names[gone:]:
            round_ = round_.on_packet(name)
        round_ = round_.on_deadline() if gone else round_
        if gone > TERMS.dropouts:
            assert round_.phase is RoundPhase.FAILED
            return False
        assert round_.phase is RoundPhase.VOTE
        votes = late.votes(round_.survivors, round_.survivors)
        shares = late.recovered(round_.survivors, votes, round_.survivors)
        total = late.total(32, masked, round_.survivors, shares)
        assert np.array_equal(total, plain_sum(values[name] for name in round_.survivors))
        return True


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_the_network_does_no_key_is_used_twice_and_what_opens_is_exact(seed: int) -> None:
    chance = random.Random(seed)
    network = Network(chance, losses=chance.choice((0, 1, 4)))
    for name in network.ward.names[: chance.randint(4, 6)]:
        network.say_ready(name)
    for _ in range(100):
        if not network.pile:
            break
        network.deliver()
        if chance.randrange(50) == 0:
            network.say_ready(chance.choice(network.ward.names))
    for sequence, manifest in network.manifests.items():
        cohort = network.state.cohort(sequence)
        assert cohort is not None and cohort.manifest == manifest
        whole = all(network.members[name].manifest == manifest for name in cohort.roster)
        if cohort.phase is CohortPhase.READY and whole:
            event(f"opened: {network.finish(sequence, chance.randint(0, 2))}")
    signed = [bond.ready for _, bond in network.ward.bonds]
    assert len(set(signed)) == len(signed), "one manifest per statement"
    keys = [one.offer().advert.payload for one in network.made]
    assert len(set(keys)) == len(keys)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_network_that_only_reorders_and_repeats_gets_its_total(seed: int) -> None:
    network = Network(random.Random(seed), losses=0)
    for name in network.ward.names[:4]:
        network.say_ready(name)
    while network.pile:
        network.deliver()
    assert network.finish(0, gone=1)
