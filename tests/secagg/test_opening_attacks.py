"""What a lying coordinator tries once vectors are masked: to open anything but the agreed total."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from cohorts import KEYS, MANIFEST, Cohort, plain_sum, random_values, usual
from wardround.errors import WardroundError
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.secagg import (
    Adversary,
    Advert,
    Member,
    RecoveryShares,
    RingArray,
    SurvivorVote,
    derive,
    shamir,
)
from wardround.secagg.expand import Keystream
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

LENGTH = 23


class WithoutSecondExchange(Member):
    """Bonawitz et al. without the consistency round: each helper believes the set it is told."""

    def _require_votes(self, votes: Mapping[SiteName, Envelope], own_vote: SurvivorVote) -> None:
        pass


class WithoutFloor(WithoutSecondExchange):
    """And with no lower bound on the set but that two honest sites are in it."""

    @property
    def adversary(self) -> Adversary:
        return _Lax(len(self.roster), 0)


class _Lax(Adversary):
    @property
    def minimum_survivors(self) -> int:
        return 2


def collect(
    cohort: Cohort, told: Mapping[SiteName, Sequence[SiteName]]
) -> tuple[dict[SiteName, dict[int, bytes]], dict[SiteName, dict[int, bytes]]]:
    """Tell each helper that the sites in ``told[helper]`` survived; gather what it gives."""
    masking: dict[SiteName, dict[int, bytes]] = {name: {} for name in cohort.names}
    self_masks: dict[SiteName, dict[int, bytes]] = {name: {} for name in cohort.names}
    for number, helper in enumerate(cohort.names, 1):
        member = cohort.members[helper]
        member.vote(0, MANIFEST, told[helper])
        given = member.recover(0, MANIFEST, told[helper], {})
        assert not given.masking_shares.keys() & given.self_mask_shares.keys()
        for site, share in given.masking_shares.items():
            masking[site][number] = share
        for site, share in given.self_mask_shares.items():
            self_masks[site][number] = share
    return masking, self_masks


def open_over(
    cohort: Cohort,
    masked: Mapping[SiteName, RingArray],
    target: Sequence[SiteName],
    masking: Mapping[SiteName, Mapping[int, bytes]],
    self_masks: Mapping[SiteName, Mapping[int, bytes]],
) -> RingArray:
    """The sum over ``target``, from shares that were gathered by whatever means."""
    adverts = {n: Advert.open(e, cohort.keys[n]) for n, e in cohort.adverts.items()}
    batch = derive.Batch(adverts[target[0]].study, adverts[target[0]].run, cohort.batch)
    threshold = Adversary(len(cohort.names), cohort.corrupt).threshold

    def secret(shares: Mapping[int, bytes]) -> bytes:
        assert len(shares) >= threshold
        found = shamir.combine(dict(list(shares.items())[:threshold]))
        assert found is not None
        return found

    total = plain_sum(masked[name] for name in target)
    for name in target:
        key = derive.self_mask_key(secret(self_masks[name]), batch, 0, MANIFEST, name)
        Keystream(key).subtract_from(total)
        for gone in set(cohort.names) - set(target):
            private = derive.private_key(secret(masking[gone]))
            pair = {one: adverts[one].masking_keys[0] for one in (name, gone)}
            shared = derive.exchange(private, pair[name])
            stream = Keystream(derive.pair_mask_key(shared, batch, 0, MANIFEST, pair))
            (stream.subtract_from if name < gone else stream.add_into)(total)
    return total


def masked_cohort(cohort: Cohort) -> tuple[dict[SiteName, RingArray], dict[SiteName, RingArray]]:
    cohort.set_up()
    values = random_values(cohort.names, LENGTH, 64)
    return values, cohort.mask(0, MANIFEST, values)


def isolating_sets(cohort: Cohort, victim: SiteName) -> dict[SiteName, list[SiteName]]:
    """To each helper: only you and the victim survived (and to the victim: you and a friend)."""
    friend = next(name for name in cohort.names if name != victim)
    return {h: sorted({h, victim} if h != victim else {victim, friend}) for h in cohort.names}


def test_without_the_second_exchange_one_hospital_can_be_opened() -> None:
    """The attack of DESIGN section 5, at work: no helper ever gives both shares of a peer."""
    cohort = Cohort(7, 0, kind=WithoutFloor)
    values, masked = masked_cohort(cohort)
    victim = cohort.names[3]
    masking, self_masks = collect(cohort, isolating_sets(cohort, victim))
    opened = open_over(cohort, masked, [victim], masking, self_masks)
    assert np.array_equal(opened, values[victim])


def test_without_the_second_exchange_the_floor_on_survivors_can_be_undercut() -> None:
    """Every helper is told of six survivors of ten, yet a total over four is opened."""
    cohort = Cohort(10, 0, kind=WithoutSecondExchange)
    values, masked = masked_cohort(cohort)
    assert cohort.adversary.minimum_survivors == 6
    target, rest = cohort.names[:4], cohort.names[4:]
    gone = {rest[i]: {rest[(i + k) % 6] for k in (1, 2, 3, 4)} for i in range(6)}
    gone |= {name: {rest[(4 * i + k) % 6] for k in range(4)} for i, name in enumerate(target)}
    told = {name: sorted(set(cohort.names) - gone[name]) for name in cohort.names}
    masking, self_masks = collect(cohort, told)
    opened = open_over(cohort, masked, target, masking, self_masks)
    assert np.array_equal(opened, plain_sum(values[name] for name in target))


def test_with_the_second_exchange_nothing_leaves_for_sets_that_differ() -> None:
    cohort = Cohort(7, 0)
    masked_cohort(cohort)
    for helper, told in isolating_sets(cohort, cohort.names[3]).items():
        with pytest.raises(WardroundError, match="WR-SECAGG-013"):
            cohort.members[helper].vote(0, MANIFEST, told)
    # Sets that are large enough, but another one for each: every vote stands alone.
    neighbours = zip(cohort.names, (*cohort.names[1:], cohort.names[0]), strict=True)
    sets = {n: [m for m in cohort.names if m != dropped] for n, dropped in neighbours}
    votes = {n: cohort.members[n].vote(0, MANIFEST, s).sign(KEYS[n]) for n, s in sets.items()}
    for helper, told in sets.items():
        for pile in (votes, {helper: votes[helper]}, {}):
            with pytest.raises(WardroundError, match="WR-SECAGG-015"):
                cohort.members[helper].recover(0, MANIFEST, told, pile)


def test_two_sets_never_both_gather_votes_even_with_all_corrupt_sites_voting_twice() -> None:
    cohort = Cohort(7, 2)
    masked_cohort(cohort)
    corrupt, honest = cohort.names[:2], cohort.names[2:]
    first, second = cohort.names[:5], (*cohort.names[:2], *cohort.names[4:])
    opened = 0
    for survivors in (first, second):
        votes = {}
        for name in corrupt:
            template = cohort.members[name].vote(0, MANIFEST, first)
            votes[name] = replace(template, survivors=survivors).sign(KEYS[name])
        for name in honest:
            try:
                votes[name] = cohort.members[name].vote(0, MANIFEST, survivors).sign(KEYS[name])
            except WardroundError as error:
                assert error.code in ("WR-SECAGG-013", "WR-SECAGG-014")
        for name in honest:
            try:
                cohort.members[name].recover(0, MANIFEST, survivors, votes)
            except WardroundError as error:
                assert error.code in ("WR-SECAGG-013", "WR-SECAGG-014", "WR-SECAGG-015")
            else:
                opened |= 1 << (survivors is second)
    assert opened == 1, "only the first set was opened"


def test_a_second_set_is_refused_and_what_it_would_need_is_gone() -> None:
    """A server that obtains both kinds of share is another system's failure."""
    cohort = usual(7)
    masked_cohort(cohort)
    survivors, others = cohort.names[:5], cohort.names[1:6]
    votes = cohort.votes(0, MANIFEST, survivors, survivors)
    member = cohort.members[cohort.names[1]]
    given = member.recover(0, MANIFEST, survivors, votes)
    assert given.self_mask_shares.keys() == set(survivors)
    assert given.masking_shares.keys() == set(cohort.names) - set(survivors)
    for attempt in (
        lambda: member.vote(0, MANIFEST, others),
        lambda: member.recover(0, MANIFEST, others, votes),
        lambda: member.vote(0, MANIFEST, cohort.names),
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-014"):
            attempt()


def test_shares_leave_only_after_the_sites_own_vote() -> None:
    cohort = usual(4)
    masked_cohort(cohort)
    voters = cohort.names[1:]
    votes = cohort.votes(0, MANIFEST, cohort.names, voters)
    with pytest.raises(WardroundError, match="WR-SECAGG-014"):
        cohort.members[cohort.names[0]].recover(0, MANIFEST, cohort.names, votes)


def test_sets_without_me_of_strangers_or_too_small_are_refused() -> None:
    cohort = usual(7)
    masked_cohort(cohort)
    me = cohort.names[0]
    stranger = SiteName("site-30")
    for survivors in (
        [me],
        [],
        cohort.names[:4],
        cohort.names[1:],
        [*cohort.names[:4], stranger],
        [*cohort.names[:4], me],
        [me] * 5,
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-013"):
            cohort.members[me].vote(0, MANIFEST, survivors)


def test_sites_that_were_shown_different_manifests_open_nothing() -> None:
    cohort = usual(4).set_up()
    other = digest(b"other manifest")
    values = random_values(cohort.names, LENGTH, 32)
    left, right = cohort.names[:2], cohort.names[2:]
    masked = cohort.mask(0, MANIFEST, {n: values[n] for n in left})
    masked |= cohort.mask(0, other, {n: values[n] for n in right})
    for name, wrong in ((left[0], other), (right[0], MANIFEST)):
        with pytest.raises(WardroundError, match="WR-SECAGG-012"):
            cohort.members[name].vote(0, wrong, cohort.names)
    votes = cohort.votes(0, MANIFEST, cohort.names, left)
    votes |= cohort.votes(0, other, cohort.names, right)
    for name in left:
        with pytest.raises(WardroundError, match="WR-SECAGG-015"):
            cohort.members[name].recover(0, MANIFEST, cohort.names, votes)


def test_a_site_that_gave_nothing_helps_to_open_nothing() -> None:
    cohort = usual(4).set_up()
    with pytest.raises(WardroundError, match="WR-SECAGG-012"):
        cohort.members[cohort.names[0]].vote(0, MANIFEST, cohort.names)


def test_old_foreign_forged_and_repeated_votes_do_not_count() -> None:
    cohort = usual(4, rounds=2).set_up()
    other_manifest = digest(b"second round")
    cohort.mask(0, MANIFEST, random_values(cohort.names, LENGTH, 32))
    cohort.mask(1, other_manifest, random_values(cohort.names, LENGTH, 32))
    old = cohort.votes(0, MANIFEST, cohort.names, cohort.names)
    good = cohort.votes(1, other_manifest, cohort.names, cohort.names)
    me, one, two = cohort.names[:3]
    vote = SurvivorVote.open(good[one], cohort.keys[one])
    changed = [
        replace(vote, study=digest(b"x")),
        replace(vote, run=RunId("run-0")),
        replace(vote, batch=BatchId("batch-0")),
        replace(vote, round=RoundId("round-0")),
        replace(vote, index=0),
        replace(vote, manifest=MANIFEST),
        replace(vote, survivors=cohort.names[:3]),
        replace(vote, site=two),
    ]
    piles = [{**good, one: one_changed.sign(KEYS[one])} for one_changed in changed]
    piles += [old, {**good, one: old[one]}, {me: good[me]}, dict(list(good.items())[:2])]
    stranger = SiteName("site-30")
    piles.append(
        {
            **good,
            stranger: replace(vote, survivors=(one, stranger), site=stranger).sign(KEYS[stranger]),
        }
    )
    for pile in piles:
        with pytest.raises(WardroundError, match="WR-SECAGG-015"):
            cohort.members[me].recover(1, other_manifest, cohort.names, pile)
    for forger in (SigningKey.generate(), KEYS[two]):
        with pytest.raises(WardroundError, match="WR-TRUST-022"):
            cohort.members[me].recover(
                1, other_manifest, cohort.names, {**good, one: vote.sign(forger)}
            )
    cohort.members[me].recover(1, other_manifest, cohort.names, good)


def opening(
    cohort: Cohort, survivors: Sequence[SiteName]
) -> tuple[dict[SiteName, RingArray], RingArray, dict[SiteName, RecoveryShares]]:
    values, masked = masked_cohort(cohort)
    votes = cohort.votes(0, MANIFEST, survivors, survivors)
    shares = cohort.recovered(0, MANIFEST, survivors, votes, survivors)
    return values, plain_sum(masked[name] for name in survivors), shares


def falsify(message: RecoveryShares, kinds: Sequence[str]) -> RecoveryShares:
    def wrong(shares: Mapping[SiteName, bytes]) -> dict[SiteName, bytes]:
        return {site: bytes(1) + share[1:31] + b"no" for site, share in shares.items()}

    return replace(message, **{kind: wrong(getattr(message, kind)) for kind in kinds})


BOTH = ("masking_shares", "self_mask_shares")


@pytest.mark.parametrize("kinds", [BOTH, BOTH[:1], BOTH[1:]])
@pytest.mark.parametrize("liars", [[0], [5], [0, 1], [2, 4]])
def test_false_shares_cost_no_round_and_name_their_sender(
    kinds: Sequence[str], liars: Sequence[int]
) -> None:
    cohort = Cohort(8, 0)
    survivors = cohort.names[1:8]  # threshold 5, seven helpers, one dropout
    values, total, shares = opening(cohort, survivors)
    for liar in liars:
        name = survivors[liar]
        shares[name] = falsify(shares[name], kinds)
    unmasking = cohort.unmasking(64, 0, MANIFEST, survivors, shares)
    unmasking.unmask(total)
    assert np.array_equal(total, plain_sum(values[name] for name in survivors))
    assert unmasking.suspects.keys() == {survivors[liar] for liar in liars}
    expected = (
        survivors if kinds == BOTH[1:] else cohort.names if kinds == BOTH else cohort.names[:1]
    )
    for dealers in unmasking.suspects.values():
        assert sorted(dealers) == sorted(expected)


def test_too_many_false_shares_open_nothing() -> None:
    cohort = Cohort(8, 0)
    _, _, shares = opening(cohort, cohort.names)
    for name in cohort.names[:4]:
        shares[name] = falsify(shares[name], BOTH)
    with pytest.raises(WardroundError, match="WR-SECAGG-017"):
        cohort.unmasking(64, 0, MANIFEST, cohort.names, shares)


def test_a_dealer_that_dealt_a_false_secret_is_named() -> None:
    cohort = Cohort(8, 2)
    _, _, shares = opening(cohort, cohort.names)
    dealer = cohort.names[5]
    threshold = cohort.adversary.threshold
    false = dict(zip(cohort.names, shamir.deal(bytes(32), threshold, 8), strict=True))
    for name, message in shares.items():
        shares[name] = replace(
            message, self_mask_shares={**message.self_mask_shares, dealer: false[name]}
        )
    with pytest.raises(WardroundError, match=f"WR-SECAGG-017.*{dealer}"):
        cohort.unmasking(64, 0, MANIFEST, cohort.names, shares)


def test_an_answer_to_another_question_is_set_aside_and_its_sender_named() -> None:
    cohort = Cohort(8, 0)
    values, total, shares = opening(cohort, cohort.names)
    changed = [
        replace(shares[cohort.names[0]], manifest=digest(b"other")),
        replace(shares[cohort.names[1]], batch=BatchId("batch-0")),
        replace(shares[cohort.names[2]], site=cohort.names[3]),
    ]
    shares |= dict(zip(cohort.names, changed, strict=False))
    unmasking = cohort.unmasking(64, 0, MANIFEST, cohort.names, shares)
    unmasking.unmask(total)
    assert np.array_equal(total, plain_sum(values.values()))
    assert unmasking.suspects == dict.fromkeys(cohort.names[:3], cohort.names)
    del shares[cohort.names[4]]
    with pytest.raises(WardroundError, match="WR-SECAGG-016"):
        cohort.unmasking(64, 0, MANIFEST, cohort.names, {**shares, cohort.names[5]: changed[0]})


def test_the_coordinator_side_keeps_the_same_floor_and_ring() -> None:
    cohort = Cohort(8, 2)
    _, total, shares = opening(cohort, cohort.names)
    with pytest.raises(WardroundError, match="WR-SECAGG-013"):
        cohort.unmasking(64, 0, MANIFEST, cohort.names[:5], shares)
    unmasking = cohort.unmasking(64, 0, MANIFEST, cohort.names, shares)
    with pytest.raises(WardroundError, match="WR-SECAGG-004"):
        unmasking.unmask(total.astype(np.uint32))


def test_corrupt_sites_and_the_coordinator_together_see_only_noise_before_opening() -> None:
    """Known to them: their own pair keys. Unknown: the victim's self-mask and honest pairs."""
    cohort = Cohort(4, 1).set_up()
    zeros = {name: np.zeros(1 << 15, np.uint32) for name in cohort.names}
    masked = cohort.mask(0, MANIFEST, zeros)
    for name in cohort.names:
        counts = np.bincount(masked[name].view(np.uint8), minlength=256)
        statistic = ((counts - 512.0) ** 2 / 512.0).sum()
        assert abs(statistic - 255) < 6 * np.sqrt(510)
    for one, other in itertools.combinations(cohort.names, 2):
        counts = np.bincount((masked[one] - masked[other]).view(np.uint8), minlength=256)
        statistic = ((counts - 512.0) ** 2 / 512.0).sum()
        assert abs(statistic - 255) < 6 * np.sqrt(510), "no mask is used twice"
