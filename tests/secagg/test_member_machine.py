"""Members under a coordinator that calls them in any order, with any of the statements there are.

As many sites as the study grants are corrupt and vote for whatever they are asked. Besides the
set-up at hand there is another one of the same sites, whose statements are mixed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cohorts import KEYS, RUN, STUDY, Cohort, plain_sum, random_ring
from wardround.errors import WardroundError
from wardround.ids import BatchId, Digest, RoundId, SiteName
from wardround.secagg import Advert, RecoveryShares, RingArray, SurvivorVote, Unmasking
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

MANIFESTS = (digest(b"one manifest"), digest(b"another manifest"))
ROUND = RoundId("round-1")
LENGTH = 5
Survivors = tuple[SiteName, ...]
Result = TypeVar("Result")


@cache
def ghosts(sites: int, corrupt: int) -> Cohort:
    """The same sites in another batch, and their votes there."""
    cohort = Cohort(sites, corrupt, rounds=2, batch=BatchId("batch-0")).set_up()
    for index in range(2):
        values = {name: random_ring(LENGTH, 32, index) for name in cohort.names}
        cohort.mask(index, MANIFESTS[0], values)
    return cohort


class MemberMachine(RuleBasedStateMachine):
    """What an honest member may never do, whatever it is asked, and in whatever order."""

    @initialize(sites=st.integers(3, 6), stage=st.sampled_from((0, 1, 2, 2, 3, 3)), data=st.data())
    def begin(self, sites: int, stage: int, data: st.DataObject) -> None:
        """``stage`` exchanges have taken place in good order."""
        corrupt = data.draw(st.integers(0, (sites - 1) // 3), label="corrupt")
        self.cohort = Cohort(sites, corrupt, rounds=2).advertise()
        self.ghost = ghosts(sites, corrupt)
        self.names, self.honest = self.cohort.names, self.cohort.names[corrupt:]
        self.votes: dict[tuple[int, Digest, Survivors], dict[SiteName, Envelope]] = defaultdict(
            dict
        )
        for index in range(2):
            stray = self.ghost.votes(index, MANIFESTS[0], self.names, self.names)
            self.votes[index, MANIFESTS[0], ()] |= stray
        self.voted: dict[tuple[SiteName, int], set[tuple[Digest, Survivors]]] = defaultdict(set)
        self.given: dict[tuple[SiteName, int], list[RecoveryShares]] = defaultdict(list)
        self.values: dict[tuple[int, Digest], dict[SiteName, RingArray]] = defaultdict(dict)
        self.masked: dict[tuple[int, Digest], dict[SiteName, RingArray]] = defaultdict(dict)
        if stage >= 1:
            self.everyone_is_set_up()
        if stage >= 2:
            self.everyone_masks(0, 0)
        if stage >= 3:
            self.everyone_votes(0, 0, data)

    def ask(self, call: Callable[[], Result]) -> Result | None:
        """What is answered, or None when it is refused: with a code, and in no other way."""
        try:
            return call()
        except WardroundError as error:
            assert error.code.startswith(("WR-SECAGG-", "WR-TRUST-")), error
            event(error.code)
            return None

    def some(
        self,
        data: st.DataObject,
        good: Mapping[SiteName, Envelope],
        stray: Mapping[SiteName, Envelope],
    ) -> dict[SiteName, Envelope]:
        """The statements there are, mostly; some lack, are another set-up's or another site's."""
        pile = dict(good)
        if pile and data.draw(st.booleans(), label="disturbed"):
            site = data.draw(st.sampled_from(sorted(pile)))
            match data.draw(st.sampled_from(("missing", "foreign", "swapped"))):
                case "missing":
                    del pile[site]
                case "foreign":
                    pile[site] = stray.get(site, pile[site])
                case _:
                    pile[site] = pile[data.draw(st.sampled_from(sorted(pile)))]
        return pile

    member = st.integers(0, 5)
    index = st.integers(-1, 2)
    manifest = st.sampled_from((0, 0, 0, 1))

    def site(self, number: int) -> SiteName:
        return self.names[number % len(self.names)]

    def survivors(self, data: st.DataObject) -> Survivors:
        gone = data.draw(st.sets(st.sampled_from(self.names), max_size=2), label="gone")
        return tuple(name for name in self.names if name not in gone)

    @rule(number=member, data=st.data())
    def deal(self, number: int, data: st.DataObject) -> None:
        name = self.site(number)
        adverts = self.some(data, self.cohort.adverts, self.ghost.adverts)
        dealt = self.ask(lambda: self.cohort.members[name].deal(adverts))
        if dealt is not None:
            self.cohort.deals[name], self.cohort.sealed[name] = dealt

    @rule(number=member, data=st.data())
    def accept(self, number: int, data: st.DataObject) -> None:
        name = self.site(number)
        deals = self.some(data, self.cohort.deals, self.ghost.deals)
        blobs = {s: b.get(name, b"") for s, b in self.cohort.sealed.items() if s != name}
        if blobs and data.draw(st.sampled_from((False, False, True)), label="blobs disturbed"):
            blobs[data.draw(st.sampled_from(sorted(blobs)))] = b"junk"
        self.ask(lambda: self.cohort.members[name].accept(deals, blobs))

    @rule(number=member, index=index, which=manifest)
    def mask(self, number: int, index: int, which: int) -> None:
        name, manifest = self.site(number), MANIFESTS[which]
        values = random_ring(LENGTH, 32, number)
        masked = values.copy()
        member = self.cohort.members[name]

        def call() -> bool:
            member.mask(index, manifest, masked, round_id=ROUND)
            return True

        if self.ask(call):
            assert all(name not in self.masked[index, one] for one in MANIFESTS)
            assert not np.array_equal(masked, values)
            self.values[index, manifest][name] = values
            self.masked[index, manifest][name] = masked
        else:
            assert np.array_equal(masked, values)

    @rule(number=member, index=index, which=manifest, data=st.data())
    def vote(self, number: int, index: int, which: int, data: st.DataObject) -> None:
        self._vote(self.site(number), index, MANIFESTS[which], self.survivors(data))

    def _vote(self, name: SiteName, index: int, manifest: Digest, survivors: Survivors) -> None:
        vote = self.ask(lambda: self.cohort.members[name].vote(index, manifest, survivors))
        if vote is not None:
            assert vote.survivors == survivors and name in survivors
            self.voted[name, index].add((manifest, survivors))
            self.votes[index, manifest, survivors][name] = vote.sign(KEYS[name])

    @rule(number=member, index=st.integers(0, 1), which=manifest, data=st.data())
    def false_vote(self, number: int, index: int, which: int, data: st.DataObject) -> None:
        corrupt = self.names[: self.cohort.corrupt]
        survivors = self.survivors(data)
        for name in set(corrupt[: number + 1]) & set(survivors):
            vote = SurvivorVote(
                study=STUDY,
                run=RUN,
                batch=self.cohort.batch,
                round=ROUND,
                index=index,
                manifest=MANIFESTS[which],
                survivors=survivors,
                site=name,
            )
            self.votes[index, MANIFESTS[which], survivors][name] = vote.sign(KEYS[name])

    @rule(number=member, data=st.data())
    def recover(self, number: int, data: st.DataObject) -> None:
        name = self.site(number)
        asked = data.draw(st.sampled_from(sorted(self.votes)), label="asked about")
        index, manifest, survivors = asked
        pile = self.some(data, self.votes[asked], self.votes[index % 2, MANIFESTS[0], ()])
        self._recover(name, index, manifest, survivors or self.names, pile)

    def _recover(
        self,
        name: SiteName,
        index: int,
        manifest: Digest,
        survivors: Survivors,
        votes: Mapping[SiteName, Envelope],
    ) -> None:
        member = self.cohort.members[name]
        shares = self.ask(lambda: member.recover(index, manifest, survivors, votes))
        if shares is not None:
            assert (shares.index, shares.manifest, shares.survivors) == (index, manifest, survivors)
            self.given[name, index].append(shares)

    @rule(number=member, index=index)
    def forget(self, number: int, index: int) -> None:
        if number == 5:  # seldom
            self.ask(lambda: self.cohort.members[self.site(number)].forget(index))

    @rule()
    def everyone_is_set_up(self) -> None:
        for name, member in self.cohort.members.items():
            dealt = self.ask(lambda one=member: one.deal(self.cohort.adverts))
            if dealt is not None:
                self.cohort.deals[name], self.cohort.sealed[name] = dealt
        for name, member in self.cohort.members.items():
            blobs = {s: b.get(name, b"") for s, b in self.cohort.sealed.items() if s != name}
            self.ask(lambda one=member, given=blobs: one.accept(self.cohort.deals, given))

    @rule(index=st.integers(0, 1), which=manifest)
    def everyone_masks(self, index: int, which: int) -> None:
        for number in range(len(self.names)):
            self.mask(number, index, which)

    @rule(index=st.integers(0, 1), which=manifest, data=st.data())
    def everyone_votes(self, index: int, which: int, data: st.DataObject) -> None:
        survivors = self.survivors(data)
        for name in self.names:
            self._vote(name, index, MANIFESTS[which], survivors)

    @precondition(lambda self: len(self.votes) > 2)
    @rule(data=st.data())
    def everyone_recovers(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from(sorted(one for one in self.votes if one[2])))
        for name in self.names:
            self._recover(name, *asked, self.votes[asked])

    @invariant()
    def an_honest_member_votes_for_one_set_under_one_manifest(self) -> None:
        assert all(len(sets) == 1 for sets in self.voted.values())

    @invariant()
    def a_member_never_gives_both_kinds_of_share_of_anybody(self) -> None:
        for messages in self.given.values():
            dropped = set().union(*(one.masking_shares for one in messages))
            survived = set().union(*(one.self_mask_shares for one in messages))
            assert not dropped & survived

    @invariant()
    def shares_leave_for_one_set_of_survivors_a_round(self) -> None:
        """Over all honest members; the corrupt have voted for every set that they could."""
        sets: dict[int, set[tuple[Digest, Survivors]]] = defaultdict(set)
        for (name, index), messages in self.given.items():
            if name in self.honest:
                sets[index] |= {(one.manifest, one.survivors) for one in messages}
        assert all(len(one) == 1 for one in sets.values())

    @invariant()
    def what_can_be_opened_is_the_exact_total(self) -> None:
        for index in range(2):
            shares = {n: m[0] for (n, i), m in self.given.items() if i == index}
            if not shares:
                continue
            any_one = next(iter(shares.values()))
            place, survivors = (index, any_one.manifest), any_one.survivors
            if not self.masked[place].keys() >= set(survivors):
                continue  # it would be a sum of other things: the packets tell the coordinator
            adverts = {n: Advert.open(e, KEYS[n].public) for n, e in self.cohort.adverts.items()}
            adversary = self.cohort.adversary
            try:
                unmasking = Unmasking.prepare(
                    adverts, 32, survivors, shares, index, any_one.manifest, adversary
                )
            except WardroundError as error:
                assert error.code == "WR-SECAGG-016" and len(shares) < adversary.threshold
                continue
            total = plain_sum(self.masked[place][name] for name in survivors)
            unmasking.unmask(total)
            assert np.array_equal(total, plain_sum(self.values[place][name] for name in survivors))
            event("a total was opened")


MemberMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestMembers = MemberMachine.TestCase


class LongMemberMachine(MemberMachine):
    """The same for longer."""


LongMemberMachine.TestCase.settings = settings(max_examples=800, stateful_step_count=40)
TestMembersForLonger = pytest.mark.slow(pytest.mark.timeout(1800)(LongMemberMachine.TestCase))
