"""Who is blamed for false shares, and who must not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts import MANIFEST, Cohort, random_values
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.secagg import Adversary, RecoveryShares, recovery, shamir
from wardround.secagg.blame import _PATTERNS, culprits, is_dealer_guilty


def masked(cohort: Cohort) -> dict[SiteName, RecoveryShares]:
    """Everybody survives and helps."""
    cohort.set_up().mask(0, MANIFEST, random_values(cohort.names, 3, 32))
    votes = cohort.votes(0, MANIFEST, cohort.names, cohort.names)
    return cohort.recovered(0, MANIFEST, cohort.names, votes, cohort.names)


def shifted(message: RecoveryShares, dealers: Mapping[SiteName, int]) -> RecoveryShares:
    """The message with some shares moved along the field."""
    shares = dict(message.self_mask_shares)
    for dealer, by in dealers.items():
        moved = (int.from_bytes(shares[dealer], "big") + by) % shamir.PRIME
        shares[dealer] = moved.to_bytes(shamir.SHARE_BYTES, "big")
    return replace(message, self_mask_shares=shares)


def suspects(
    cohort: Cohort, shares: Mapping[SiteName, RecoveryShares]
) -> Mapping[SiteName, tuple[SiteName, ...]]:
    return cohort.unmasking(32, 0, MANIFEST, cohort.names, shares).suspects


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from([(4, 1), (7, 2), (8, 2), (10, 3)]))
def test_only_the_corrupt_are_blamed_whatever_they_send(
    data: st.DataObject, sizes: tuple[int, int]
) -> None:
    cohort = Cohort(*sizes)
    shares = masked(cohort)
    liars = data.draw(st.permutations(cohort.names))[: cohort.corrupt]
    for liar in liars:
        dealers = data.draw(st.sets(st.sampled_from(cohort.names)))
        by = {dealer: data.draw(st.integers(1, 9)) for dealer in sorted(dealers)}
        shares[liar] = shifted(shares[liar], by)
    try:
        found = suspects(cohort, shares)
    except WardroundError as error:
        assert error.code == "WR-SECAGG-017"
        assert not is_dealer_guilty(len(shares), cohort.adversary), "no honest dealer is convicted"
    else:
        assert culprits(found, cohort.names, len(shares), cohort.adversary) <= set(liars)


def test_a_helper_that_falsifies_many_shares_is_convicted() -> None:
    cohort = Cohort(7, 2)
    shares = masked(cohort)
    liar = cohort.names[6]
    shares[liar] = shifted(shares[liar], dict.fromkeys(cohort.names[:3], 1))
    assert culprits(suspects(cohort, shares), cohort.names, 7, cohort.adversary) == {liar}


def test_one_false_share_may_be_either_sides_doing() -> None:
    cohort = Cohort(7, 2)
    shares = masked(cohort)
    liar = cohort.names[6]
    shares[liar] = shifted(shares[liar], dict.fromkeys(cohort.names[:2], 1))
    found = suspects(cohort, shares)
    assert (
        set(found) == {liar} and culprits(found, cohort.names, 7, cohort.adversary) == frozenset()
    )


def test_a_dealer_whose_shares_are_false_at_many_is_convicted() -> None:
    """f + 1 honest helpers hold what the dealer dealt off its own polynomial."""
    cohort = Cohort(8, 1)  # threshold 5: five to agree, two to differ
    shares = masked(cohort)
    dealer = cohort.names[2]
    for helper in cohort.names[6:]:
        shares[helper] = shifted(shares[helper], {dealer: 1})
    assert culprits(suspects(cohort, shares), cohort.names, 8, cohort.adversary) == {dealer}


def frame(cohort: Cohort, shares: dict[SiteName, RecoveryShares], pair: Sequence[SiteName]) -> None:
    """Two helpers move their shares so that the first threshold still give every secret."""
    threshold = cohort.adversary.threshold
    numbers = {name: place for place, name in enumerate(cohort.names, 1)}
    weights = dict(
        zip(
            range(1, threshold + 1), shamir._weights(tuple(range(1, threshold + 1)), 0), strict=True
        )
    )
    one, other = pair
    by = -weights[numbers[one]] * pow(weights[numbers[other]], -1, shamir.PRIME)
    for dealer in cohort.names:
        shares[one] = shifted(shares[one], {dealer: 1})
        shares[other] = shifted(shares[other], {dealer: by})


def test_two_corrupt_helpers_cannot_frame_the_honest_ones() -> None:
    """The secrets come out right, and every honest helper left over seems to lie."""
    cohort = Cohort(7, 2)
    shares = masked(cohort)
    pair = cohort.names[:2]
    frame(cohort, shares, pair)
    found = suspects(cohort, shares)
    assert set(found) == set(cohort.names[5:]), "honest, and suspect with the whole roster"
    assert all(len(dealers) == 7 for dealers in found.values())
    assert culprits(found, cohort.names, 7, cohort.adversary) == frozenset()


def test_one_corrupt_helper_cannot_frame_honest_ones_by_bits_that_x25519_ignores() -> None:
    """A masking key that differs there has the same public key."""
    for _ in range(40):
        cohort = Cohort(8, 1).set_up()
        gone, survivors = cohort.names[7], cohort.names[:7]
        cohort.mask(0, MANIFEST, random_values(cohort.names, 3, 32))
        votes = cohort.votes(0, MANIFEST, survivors, survivors)
        shares = cohort.recovered(0, MANIFEST, survivors, votes, survivors)
        weights = shamir._weights(tuple(range(1, cohort.adversary.threshold + 1)), 0)
        liar = survivors[0]
        true = int.from_bytes(shares[liar].masking_shares[gone], "big")
        # The last byte's highest bit, where it is not set.
        moved = (true + 128 * pow(weights[0], -1, shamir.PRIME)) % shamir.PRIME
        false = {gone: moved.to_bytes(shamir.SHARE_BYTES, "big")}
        shares[liar] = replace(shares[liar], masking_shares=false)
        found = cohort.unmasking(32, 0, MANIFEST, survivors, shares).suspects
        if liar not in found:
            break
    assert found == dict.fromkeys(survivors[5:], (gone,)), "honest, and suspect"
    assert culprits(found, survivors, 7, cohort.adversary) == frozenset()
    assert culprits(found, cohort.names, 7, cohort.adversary) == {gone}, "one share fewer would"


def test_one_corrupt_helper_cannot_have_an_honest_dealer_convicted() -> None:
    """Three helpers of four: the threshold needs each, and one of them lies."""
    cohort = Cohort(4, 1)
    shares = masked(cohort)
    liar = cohort.names[1]
    shares[liar] = shifted(shares[liar], {cohort.names[0]: 1})
    del shares[cohort.names[3]]
    with pytest.raises(WardroundError, match=f"WR-SECAGG-017.*{cohort.names[0]}"):
        suspects(cohort, shares)
    assert not is_dealer_guilty(3, cohort.adversary)


def test_a_dealer_whose_secret_is_false_is_convicted_when_everybody_helped() -> None:
    for sizes in ((4, 1), (7, 2), (10, 3)):
        cohort = Cohort(*sizes)
        shares = masked(cohort)
        dealer = cohort.names[-1]
        for helper in cohort.names:
            shares[helper] = shifted(shares[helper], {dealer: 1})
        with pytest.raises(WardroundError, match=f"WR-SECAGG-017.*{dealer}"):
            suspects(cohort, shares)
        assert is_dealer_guilty(len(shares), cohort.adversary)


def test_where_not_every_pattern_of_liars_is_tried_nobody_is_convicted() -> None:
    assert _PATTERNS <= recovery._MOST_SUBSETS
    assert is_dealer_guilty(24, Adversary(24, 3))
    assert not is_dealer_guilty(40, Adversary(40, 13))
