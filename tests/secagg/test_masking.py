"""The honest protocol: exact totals under every pattern of dropouts that it promises to bear."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from cohorts import KEYS, MANIFEST, Cohort, plain_sum, random_values, usual
from wardround.errors import WardroundError
from wardround.ids import BatchId, RoundId, SiteName
from wardround.secagg import Member, RingBits, default_corrupt
from wardround.secagg.shamir import SHARE_BYTES
from wardround.trust.canonical import digest

LENGTH = 37


def play(data: st.DataObject, sites: int) -> None:
    """One batch with dropouts at every stage, within or beyond what the thresholds bear."""

    def without(names: Sequence[SiteName], bearable: int, label: str) -> list[SiteName]:
        most = data.draw(st.sampled_from([max(bearable, 0), len(names)]), label=f"at most, {label}")
        gone = data.draw(st.sets(st.sampled_from(names), max_size=most), label=label)
        return [name for name in names if name not in gone]

    corrupt = data.draw(st.integers(0, default_corrupt(sites)), label="corrupt")
    cohort = Cohort(sites, corrupt)
    absent = st.sets(st.sampled_from(cohort.names), max_size=min(sites - 3, sites - 2 - corrupt))
    cohort.set_up(data.draw(absent, label="absent from set-up"))
    adversary, roster = cohort.adversary, cohort.roster
    ring_bits: RingBits = data.draw(st.sampled_from([32, 64]), label="ring")
    values = random_values(roster, LENGTH, ring_bits, seed=sites)
    masked = cohort.mask(0, MANIFEST, values)
    survivors = without(roster, adversary.tolerated_dropouts, "lost vectors")
    if len(survivors) < adversary.minimum_survivors:
        event("too few survivors")
        for name in survivors:
            with pytest.raises(WardroundError, match="WR-SECAGG-013"):
                cohort.members[name].vote(0, MANIFEST, survivors)
        return
    voters = without(survivors, len(survivors) - adversary.threshold, "lost votes")
    votes = cohort.votes(0, MANIFEST, survivors, voters)
    if len(voters) < adversary.threshold:
        event("too few votes")
        for name in voters:
            with pytest.raises(WardroundError, match="WR-SECAGG-015"):
                cohort.members[name].recover(0, MANIFEST, survivors, votes)
        return
    helpers = without(voters, len(voters) - adversary.threshold, "lost shares")
    shares = cohort.recovered(0, MANIFEST, survivors, votes, helpers)
    if len(helpers) < adversary.threshold:
        event("too few shares")
        with pytest.raises(WardroundError, match="WR-SECAGG-016"):
            cohort.unmasking(ring_bits, 0, MANIFEST, survivors, shares)
        return
    event(
        f"opened, dropouts: {len(survivors) < len(roster)}, helpers missing: {helpers != survivors}"
    )
    total = plain_sum(masked[name] for name in survivors)
    cohort.unmasking(ring_bits, 0, MANIFEST, survivors, shares).unmask(total)
    assert np.array_equal(total, plain_sum(values[name] for name in survivors))


@settings(max_examples=100)
@given(st.data(), st.integers(3, 12))
def test_totals_are_exact_within_the_threshold_and_refused_beyond(
    data: st.DataObject, sites: int
) -> None:
    play(data, sites)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.data(), st.integers(3, 40))
def test_totals_are_exact_in_large_cohorts_too(data: st.DataObject, sites: int) -> None:
    play(data, sites)


def test_as_many_dropouts_as_promised_at_once() -> None:
    for sites in (3, 4, 7, 12):
        cohort = usual(sites).set_up()
        values = random_values(cohort.names, LENGTH, 32)
        masked = cohort.mask(0, MANIFEST, values)
        survivors = cohort.names[cohort.adversary.tolerated_dropouts :]
        helpers = survivors[-cohort.adversary.threshold :]
        votes = cohort.votes(0, MANIFEST, survivors, helpers)
        shares = cohort.recovered(0, MANIFEST, survivors, votes, helpers)
        total = plain_sum(masked[name] for name in survivors)
        unmasking = cohort.unmasking(32, 0, MANIFEST, survivors, shares)
        # Chunk by chunk, in any order, as a coordinator streams it.
        for start in (20, 0, 33):
            unmasking.unmask(total[start : {20: 33, 0: 20, 33: 37}[start]], start)
        assert np.array_equal(total, plain_sum(values[name] for name in survivors))
        assert unmasking.suspects == {}


def test_every_round_of_a_batch_opens_on_its_own() -> None:
    cohort = usual(4, rounds=3).set_up()
    for index in (2, 0, 1):
        manifest = digest(b"manifest %d" % index)
        values = random_values(cohort.names, LENGTH, 64, seed=index)
        masked = cohort.mask(index, manifest, values)
        survivors = [name for i, name in enumerate(cohort.names) if i != index]
        votes = cohort.votes(index, manifest, survivors, survivors)
        shares = cohort.recovered(index, manifest, survivors, votes, survivors)
        total = plain_sum(masked[name] for name in survivors)
        cohort.unmasking(64, index, manifest, survivors, shares).unmask(total)
        assert np.array_equal(total, plain_sum(values[name] for name in survivors))
        for member in cohort.members.values():
            member.forget(index)


@pytest.mark.parametrize("stage", ["advert", "deal"])
def test_a_site_that_drops_in_set_up_costs_no_round(stage: str) -> None:
    """In another system a dropout in set-up loses the round."""
    first = usual(5)
    lost = first.names[1]
    if stage == "advert":
        cohort = first.set_up(absent=[lost])
    else:
        first.advertise().deal(absent=[lost])
        with pytest.raises(WardroundError, match="WR-SECAGG-008") as caught:
            first.members[first.names[0]].accept(first.deals, first.sealed_to(first.names[0]))
        assert lost in caught.value.problem
        rest = [name for name in first.names if name != lost]
        cohort = Cohort(4, first.corrupt, batch=BatchId("batch-2"), only=rest).set_up()
    assert lost not in cohort.roster
    values = random_values(cohort.roster, LENGTH, 32)
    masked = cohort.mask(0, MANIFEST, values)
    votes = cohort.votes(0, MANIFEST, cohort.roster, cohort.roster)
    shares = cohort.recovered(0, MANIFEST, cohort.roster, votes, cohort.roster)
    total = plain_sum(masked.values())
    cohort.unmasking(32, 0, MANIFEST, cohort.roster, shares).unmask(total)
    assert np.array_equal(total, plain_sum(values.values()))


def test_a_repeated_request_gets_the_same_answer() -> None:
    cohort = usual(4).set_up()
    cohort.mask(0, MANIFEST, random_values(cohort.names, LENGTH, 32))
    survivors = cohort.names[1:]
    votes = cohort.votes(0, MANIFEST, survivors, survivors)
    member = cohort.members[survivors[0]]
    assert member.vote(0, MANIFEST, tuple(reversed(survivors))) == member.vote(
        0, MANIFEST, survivors
    )
    first = member.recover(0, MANIFEST, survivors, votes)
    assert member.recover(0, MANIFEST, survivors, votes) == first


def test_nothing_is_left_of_a_forgotten_round_or_an_abandoned_member() -> None:
    cohort = usual(4, rounds=2).set_up()
    cohort.mask(0, MANIFEST, random_values(cohort.names, LENGTH, 32))
    votes = cohort.votes(0, MANIFEST, cohort.names, cohort.names)
    member = cohort.members[cohort.names[0]]
    member.forget(0)
    member.forget(0)
    for attempt in (
        lambda: member.vote(0, MANIFEST, cohort.names),
        lambda: member.recover(0, MANIFEST, cohort.names, votes),
        lambda: member.mask(0, MANIFEST, np.zeros(3, np.uint32), round_id=RoundId("r")),
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-011"):
            attempt()
    member.mask(1, MANIFEST, np.zeros(3, np.uint32), round_id=RoundId("r"))
    member.abandon()
    with pytest.raises(WardroundError, match="WR-SECAGG-010"):
        member.vote(1, MANIFEST, cohort.names)


def test_randomness_is_the_operating_systems_unless_a_test_says_otherwise() -> None:
    """A Mersenne Twister behind the masks is another system's failure."""
    default = inspect.signature(Member).parameters["random_bytes"].default
    assert default is secrets.token_bytes


def secrets_within(value: object, seen: set[int]) -> set[bytes]:
    """Every byte string that is reachable from an object of ours."""
    if id(value) in seen:
        return set()
    seen.add(id(value))
    if isinstance(value, bytes | bytearray):
        return {bytes(value)}
    inner: list[object] = []
    if isinstance(value, Mapping):
        inner = [*value.values()]
    elif isinstance(value, list | tuple):
        inner = [*value]
    elif type(value).__module__.startswith("wardround.secagg"):
        inner = [*vars(value).values()]
    return set().union(*(secrets_within(one, seen) for one in inner))


def test_keys_and_shares_are_gone_from_memory_when_they_have_done_their_work() -> None:
    drawn: set[bytes] = set()

    def recorded(size: int) -> bytes:
        fresh = secrets.token_bytes(size)
        drawn.add(fresh)
        return fresh

    cohort = Cohort(4, 1, rounds=2, random_bytes=recorded)
    keys = {one for one in drawn if len(one) == 32}
    assert len(keys) == 4 * (1 + 2 * 2)
    cohort.set_up()
    member = cohort.members[cohort.names[0]]

    def kept() -> set[bytes]:
        return keys & secrets_within(member, set())

    def shares() -> int:
        return sum(len(one) == SHARE_BYTES for one in secrets_within(member, set()))

    assert (len(kept()), shares()) == (2 * 2, 2 * 2 * 4), "the sealing key is gone already"
    cohort.mask(0, MANIFEST, random_values(cohort.names, 3, 32))
    assert len(kept()) == 2, "the second round's"
    member.vote(0, MANIFEST, cohort.names)
    assert shares() == 4 + 2 * 4, "one of two for each peer"
    member.forget(0)
    assert shares() == 2 * 4
    member.abandon()
    assert (kept(), shares()) == (set(), 0)


def test_a_round_forgotten_unused_is_used_up() -> None:
    cohort = usual(3).set_up()
    member = cohort.members[cohort.names[0]]
    member.forget(0)
    with pytest.raises(WardroundError, match="WR-SECAGG-011"):
        member.mask(0, MANIFEST, np.zeros(3, np.uint32), round_id=RoundId("r"))


def test_a_site_joins_only_what_it_is_invited_to_and_only_as_itself() -> None:
    cohort = usual(3)
    stranger = SiteName("site-09")
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.member(stranger)
    cohort.keys[cohort.names[0]] = KEYS[stranger].public
    with pytest.raises(WardroundError, match="WR-SECAGG-007"):
        cohort.member(cohort.names[0])


def test_no_secret_shows_in_a_repr() -> None:
    cohort = usual(3).set_up()
    cohort.mask(0, MANIFEST, random_values(cohort.names, 1, 32))
    votes = cohort.votes(0, MANIFEST, cohort.names, cohort.names)
    member = cohort.members[cohort.names[0]]
    shares = member.recover(0, MANIFEST, cohort.names, votes)
    assert "shares=" not in repr(shares)
    assert all(str(share) not in repr(shares) for share in shares.self_mask_shares.values())
    assert repr(member).startswith("<")
