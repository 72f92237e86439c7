"""Clipping: what one patient can change, in Python's own integers."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wardround import WardroundError
from wardround.privacy import clipping
from wardround.privacy.clipping import QUANTILE_WEIGHT, clip_and_sum
from wardround.privacy.events import L1, L2, MAXIMUM_LANES

STEPS = 1 << 22
INNER = math.sqrt(1 - QUANTILE_WEIGHT**2)

anything = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(width=64) | st.floats(-2, 2),
)
usual = arrays(np.float64, st.tuples(st.integers(1, 9), st.just(5)), elements=st.floats(-2, 2))


def alone(row, with_quantile=False):
    """One patient's contribution, as Python integers."""
    return clip_and_sum(row[np.newaxis], np.ones(1, bool), with_quantile).tolist()


@given(anything, st.booleans())
def test_no_patient_changes_a_sum_by_more_than_the_noise_accounts_for(rows, with_quantile):
    for row in rows:
        mine = alone(row, with_quantile)
        assert sum(value * value for value in mine) <= L2 * L2
        assert sum(map(abs, mine)) <= L1


@given(anything, st.booleans(), st.data())
def test_a_sum_is_the_sum_of_the_chosen_patients_and_of_nobody_else(rows, with_quantile, data):
    chosen = data.draw(arrays(np.bool_, len(rows)))
    expected = [0] * (rows.shape[1] + with_quantile)
    for row in rows[chosen]:
        expected = [a + b for a, b in zip(expected, alone(row, with_quantile), strict=True)]
    total = clip_and_sum(rows, chosen, with_quantile)
    assert total.dtype == np.int64
    assert total.tolist() == expected


@given(usual, st.booleans())
def test_short_rows_are_only_rounded_and_long_ones_keep_their_direction(rows, with_quantile):
    radius = INNER if with_quantile else 1.0
    for row in rows:
        length = math.sqrt(math.fsum(value * value for value in row))
        factor = 1.0 if length <= radius else radius / length
        mine = np.array(alone(row, with_quantile)[: len(row)])
        assert np.abs(mine - row * factor * STEPS).max() <= 0.5 + 1 / 8


@given(usual, st.integers(-3, 3))
def test_rows_beyond_the_radius_are_clipped_whatever_their_unit(rows, power):
    longer = rows / np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-3) * 64
    for row in longer:
        if np.abs(row).max() > 16:
            assert alone(row) == alone(row * 2.0**power)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("with_quantile", [False, True])
def test_a_row_with_something_that_is_no_number_is_zero(bad, with_quantile):
    mine = alone(np.array([0.1, bad, 0.3]), with_quantile)
    assert mine[:3] == [0, 0, 0]
    assert mine[3:] == [0] * with_quantile


@pytest.mark.parametrize("size", [5e-324, 1e-310, 1e-200, 1e154, 1e200, 1.7e308])
def test_rows_at_the_ends_of_the_number_range_are_clipped_like_others(size):
    expected = round(STEPS / math.sqrt(2)) if size > 1 else 0
    assert alone(np.array([size, -size])) == [expected, -expected]
    short = 1 if size < 1 else -1
    assert alone(np.array([size, -size]), True)[2] == short * round(QUANTILE_WEIGHT * STEPS)


def test_the_quantile_lane_says_who_was_short_before_clipping():
    rows = np.array([[0.0, 0.0], [0.6, 0.8], [INNER, 0.05], [0.6, 0.8001], [30.0, 40.0]])
    lanes = [alone(row, True)[2] / round(QUANTILE_WEIGHT * STEPS) for row in rows]
    assert lanes == [0, 1, 1, -1, -1]  # a row of zeros is somebody whom the task isn't about
    chosen = np.array([True, True, True, True, False])
    assert clip_and_sum(rows, chosen, True)[2] == round(QUANTILE_WEIGHT * STEPS)


def test_nobody_chosen_gives_zero_and_no_patient_too():
    rows = np.full((4, 3), math.nan)
    assert clip_and_sum(rows, np.zeros(4, bool), True).tolist() == [0] * 4
    assert clip_and_sum(np.empty((0, 3)), np.zeros(0, bool), False).tolist() == [0] * 3


def test_the_worst_rounding_of_many_lanes_stays_within_the_bound():
    # Every element half a step from a whole number is what rounding adds most to.
    lanes = 1 << 20
    row = np.full(lanes, (math.floor(STEPS / math.sqrt(lanes)) - 0.5) / STEPS)
    assert sum(value * value for value in alone(row)) <= L2 * L2


def test_a_fault_in_clipping_is_noticed_before_anything_leaves(monkeypatch):
    monkeypatch.setattr(clipping, "_normalise", lambda given, out, radius: _unclipped(given, out))
    clip_and_sum(np.array([[0.6, 0.8]]), np.ones(1, bool), False)
    for doubled in ([1.2, 1.6], [1e30, 0.0], [math.nan, 0.0]):
        with pytest.raises(WardroundError, match="WR-PRIVACY-013"):
            clip_and_sum(np.array([doubled]), np.ones(1, bool), False)


def _unclipped(given, out):
    out[:] = given
    return np.ones(len(given)), np.ones(len(given), bool)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (np.zeros(3), np.ones(3, bool)),
        (np.zeros((3, 2, 1)), np.ones(3, bool)),
        (np.zeros((3, 2)), np.ones(2, bool)),
        (np.zeros((3, 2)), np.ones((3, 1), bool)),
        (np.zeros((3, 2)), np.ones(3, np.int64)),
        (np.zeros((3, 2), np.float32), np.ones(3, bool)),
        (np.zeros((3, 2), complex), np.ones(3, bool)),
        (np.zeros((3, 0)), np.ones(3, bool)),
        (np.zeros((0, MAXIMUM_LANES + 1)), np.ones(0, bool)),
    ],
)
def test_other_shapes_and_types_are_refused(rows, chosen):
    with pytest.raises(WardroundError, match="WR-PRIVACY-012"):
        clip_and_sum(rows, chosen, False)


def test_the_quantile_lane_counts_as_a_lane():
    clip_and_sum(np.zeros((0, MAXIMUM_LANES - 1)), np.ones(0, bool), True)
    with pytest.raises(WardroundError, match="WR-PRIVACY-012"):
        clip_and_sum(np.zeros((0, MAXIMUM_LANES)), np.ones(0, bool), True)


def test_memory_stays_small_and_the_rows_as_they_were():
    rows = np.random.default_rng(0).standard_normal((200_000, 20))
    before = rows.copy()
    tracemalloc.start()
    clip_and_sum(rows, np.ones(len(rows), bool), True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    assert (rows == before).all()


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 50))
def test_chunks_make_no_difference(patients, lanes, elements):
    rows = np.random.default_rng(patients).standard_normal((patients, lanes))
    chosen = np.random.default_rng(lanes).random(patients) < 0.5
    expected = clip_and_sum(rows, chosen, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clipping, "_CHUNK_ELEMENTS", elements)
        assert (clip_and_sum(rows, chosen, True) == expected).all()


def test_neighbours_differ_by_one_contribution():
    rows = np.random.default_rng(3).standard_normal((6, 4)) * 3
    everybody = clip_and_sum(rows, np.ones(6, bool), True)
    for left_out in itertools.combinations(range(6), 1):
        kept = np.ones(6, bool)
        kept[list(left_out)] = False
        difference = (everybody - clip_and_sum(rows, kept, True)).tolist()
        assert sum(value * value for value in difference) <= L2 * L2
