import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wardround import WardroundError
from wardround.privacy import (
    check_cohort,
    check_groups,
    differs_enough,
    large_enough,
    suppress_beside_total,
    suppress_small_cells,
)

counts = arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 50))
patients = st.frozensets(st.integers(0, 30).map(lambda n: n.to_bytes(1, "big")))


@given(counts, st.integers(1, 20))
def test_no_small_cell_is_left_and_nothing_else_changes(counts, minimum):
    before = counts.copy()
    kept, suppressed = suppress_small_cells(counts, minimum)
    assert not ((kept > 0) & (kept < minimum)).any()
    assert (kept[counts >= minimum] == counts[counts >= minimum]).all()
    assert suppressed == sum(0 < count < minimum for count in counts.tolist())
    assert (counts == before).all()


def test_floats_of_any_shape_are_counts_too():
    kept, suppressed = suppress_small_cells(np.array([[4.0, 5.0], [0.0, 1.0]]), 5)
    assert kept.tolist() == [[0.0, 5.0], [0.0, 0.0]]
    assert suppressed == 2


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan, np.inf])
def test_what_is_no_count_is_refused_without_showing_it(value):
    with pytest.raises(ValueError, match="whole and non-negative"):
        suppress_small_cells(np.array([7.0, value]), 5)


@given(counts, st.integers(1, 20))
def test_beside_a_known_total_no_small_number_is_left_by_subtraction(counts, minimum):
    kept, suppressed = suppress_beside_total(counts.astype(np.float64), minimum)
    assert not ((kept > 0) & (kept < minimum)).any()
    assert ((kept == 0) | (kept == counts)).all()
    held_back = counts.sum() - kept.sum()
    assert held_back == 0 or held_back >= minimum or not kept.any()
    assert suppressed == ((counts > 0) & (kept == 0)).sum()
    if not ((counts > 0) & (counts < minimum)).any():
        assert (kept == counts).all()


def test_a_lone_small_cell_takes_its_smallest_neighbour_with_it():
    kept, suppressed = suppress_beside_total(np.array([30.0, 3.0, 9.0, 12.0]), 5)
    assert kept.tolist() == [30.0, 0.0, 0.0, 12.0]
    assert suppressed == 2


@given(arrays(np.int64, st.integers(1, 6), elements=st.integers(0, 12)), st.integers(1, 8))
def test_one_small_or_empty_group_is_enough_to_refuse(groups, minimum):
    if min(groups) >= minimum:
        check_groups(groups, minimum)
        return
    with pytest.raises(WardroundError) as refused:
        check_groups(groups, minimum)
    assert refused.value.code == "WR-PRIVACY-002"


def test_a_small_cohort_is_refused_and_its_size_not_told():
    check_cohort(20, 20)
    with pytest.raises(WardroundError) as refused:
        check_cohort(13, 20)
    assert refused.value.code == "WR-PRIVACY-001"
    assert "13" not in str(refused.value)


def test_an_empty_cohort_never_contributes():
    assert not large_enough(0, 0)


@given(st.lists(patients, max_size=4), patients, st.integers(1, 8))
def test_figures_never_subtract_to_a_few_patients(previous, current, minimum):
    allowed = differs_enough(previous, current, minimum)
    assert allowed == all(
        not (set(earlier) ^ set(current)) or len(set(earlier) ^ set(current)) >= minimum
        for earlier in previous
    )


def test_one_withdrawal_is_too_little_and_five_are_enough():
    everyone = frozenset(n.to_bytes(1, "big") for n in range(50))
    gone = sorted(everyone)
    assert differs_enough([everyone], everyone)
    assert not differs_enough([everyone], everyone - {gone[0]})
    assert differs_enough([everyone], everyone - set(gone[:5]))
    assert not differs_enough([everyone, everyone - set(gone[:5])], everyone - set(gone[:6]))
