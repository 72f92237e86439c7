"""Thresholds: what they promise, checked as promises and not as a copied formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.secagg import Adversary, default_corrupt


@st.composite
def adversaries(draw: st.DrawFn) -> Adversary:
    sites = draw(st.integers(3, 64))
    return Adversary(sites, draw(st.integers(0, sites - 2)))


@given(adversaries())
def test_two_opened_sets_share_an_honest_voter_and_no_smaller_threshold_does(
    adversary: Adversary,
) -> None:
    n, f, t = adversary.sites, adversary.corrupt, adversary.threshold
    assert 2 * t - n > f
    assert not 2 * (t - 1) - n > f


@given(adversaries())
def test_corrupt_sites_open_nothing_alone_and_never_face_a_single_honest_survivor(
    adversary: Adversary,
) -> None:
    assert adversary.corrupt < adversary.threshold <= adversary.sites
    assert adversary.minimum_survivors - adversary.corrupt >= 2
    assert adversary.threshold <= adversary.minimum_survivors <= adversary.sites


@given(st.integers(3, 64))
def test_by_default_the_threshold_is_never_all_sites(sites: int) -> None:
    """Threshold = n, another system's failure: one dropout would lose every round."""
    adversary = Adversary(sites, default_corrupt(sites))
    assert adversary.tolerated_dropouts >= 1
    assert sites - adversary.corrupt >= adversary.threshold, "honest sites suffice to finish"


@pytest.mark.parametrize(
    ("sites", "corrupt", "threshold", "survivors"),
    [(3, 0, 2, 2), (4, 1, 3, 3), (7, 2, 5, 5), (8, 2, 6, 6), (32, 10, 22, 22), (3, 1, 3, 3)],
)
def test_values_worked_out_by_hand(
    sites: int, corrupt: int, threshold: int, survivors: int
) -> None:
    adversary = Adversary(sites, corrupt)
    assert (adversary.threshold, adversary.minimum_survivors) == (threshold, survivors)


@pytest.mark.parametrize("sites", [0, 1, 2, 10_001])
def test_a_cohort_of_the_wrong_size_is_refused(sites: int) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-001"):
        Adversary(sites, 0)


@pytest.mark.parametrize(("sites", "corrupt"), [(3, -1), (3, 2), (4, 3), (10, 9), (10, 10)])
def test_an_impossible_bound_is_refused(sites: int, corrupt: int) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-002"):
        Adversary(sites, corrupt)


@given(adversaries(), st.data())
def test_two_parts_of_a_study_never_both_open_a_total(
    whole: Adversary, data: st.DataObject
) -> None:
    """Whoever gave shares for a task never answers it again, so two totals need two such sets."""
    sites = data.draw(st.integers(min(whole.threshold, whole.sites), whole.sites))
    if sites < max(3, whole.corrupt + 2):
        return
    part = Adversary(sites, whole.corrupt, whole.threshold)
    assert 2 * part.threshold - whole.sites > whole.corrupt
    assert part.threshold <= part.sites
    assert part.minimum_survivors >= part.threshold


def test_a_part_that_could_never_agree_is_refused() -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-001"):
        Adversary(4, 2, Adversary(7, 2).threshold)
