"""Fixed point: no overflow, exact sums, and refusals that say nothing about the values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.secagg import FixedPoint, RingBits

rings = st.sampled_from([32, 64])
bounds = st.floats(min_value=1e-30, max_value=1e6)


@given(bounds, st.integers(1, 64), rings)
def test_the_largest_sum_stays_in_the_ring_and_one_more_bit_would_not(
    bound: float, cohort: int, ring_bits: RingBits
) -> None:
    fixed = FixedPoint.fit(bound, cohort, ring_bits)
    for sign in (1.0, -1.0):
        value = np.array([sign * bound])
        total = sum(fixed.encode(value)[0].item() for _ in range(cohort)) % 2**ring_bits
        total = np.array([total], fixed.dtype)
        assert math.copysign(1.0, fixed.decode(total)[0]) == sign
    if fixed.fractional_bits < 256:
        with pytest.raises(WardroundError, match="WR-SECAGG-003"):
            FixedPoint(ring_bits, fixed.fractional_bits + 1, bound, cohort)


@given(st.data(), rings, st.sampled_from([np.float32, np.float64]), st.integers(1, 12))
def test_a_sum_decodes_to_exactly_the_sum_of_the_rounded_values(
    data: st.DataObject,
    ring_bits: RingBits,
    real: type[np.float32 | np.float64],
    cohort: int,
) -> None:
    bound = data.draw(st.sampled_from([1.0, 0.1, 3.5, 1000.0, 2.0**-20]))
    fixed = FixedPoint.fit(bound, cohort, ring_bits)
    unit = st.floats(-1, 1, width=16)
    columns = [
        (np.array(data.draw(st.lists(unit, min_size=5, max_size=5))) * bound * 0.999).astype(real)
        for _ in range(cohort)
    ]
    total = np.zeros(5, fixed.dtype)
    for column in columns:
        total += fixed.encode(column)
    scale = 2**fixed.fractional_bits
    for lane, decoded in enumerate(fixed.decode(total)):
        exact = sum(round(Fraction(float(column[lane])) * scale) for column in columns)
        assert decoded == float(Fraction(exact, scale)), "rounded once, from the exact sum"


def test_chunks_join_without_a_seam_and_out_is_filled_in_place() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 150_001).astype(np.float32)
    fixed = FixedPoint.fit(1.0, 8, 32)
    out = np.empty(len(values), np.uint32)
    assert fixed.encode(values, out=out) is out
    expected = np.rint(values.astype(np.float64) * 2.0**fixed.fractional_bits)
    assert np.array_equal(out.view(np.int32), expected)
    place = np.empty(len(values))
    assert fixed.decode(out, out=place) is place
    assert np.abs(place - values).max() <= fixed.resolution / 2


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.1000001, -0.1000001])
@pytest.mark.parametrize("place", [0, 70_000, 99_999])
def test_a_value_beyond_the_bound_is_refused_without_a_word_about_it(
    real: type[np.float32 | np.float64], bad: float, place: int
) -> None:
    values = np.zeros(100_000, real)
    values[place] = bad
    with pytest.raises(WardroundError, match="WR-SECAGG-005") as caught:
        FixedPoint.fit(0.1, 4, 32).encode(values)
    assert str(place) not in str(caught.value).replace("SECAGG-005", "")
    assert str(bad) not in str(caught.value)


def test_the_bound_is_not_rounded_up_to_the_nearest_float32() -> None:
    bound = 0.1  # the nearest float32 is larger
    above = np.array([np.float32(bound)])
    assert float(above[0]) > bound
    for fixed in (FixedPoint.fit(bound, 4, 32), FixedPoint.fit(bound, 4, 64)):
        with pytest.raises(WardroundError, match="WR-SECAGG-005"):
            fixed.encode(above)
        fixed.encode(np.nextafter(above, np.float32(0)))


def test_tiny_float32_values_survive_a_scale_that_float32_does_not_hold() -> None:
    fixed = FixedPoint.fit(1e-38, 4, 64)
    assert fixed.fractional_bits > 127
    values = np.array([1e-39, -9e-39], np.float32)
    decoded = fixed.decode(fixed.encode(values))
    assert np.abs(decoded - values.astype(np.float64)).max() <= fixed.resolution / 2


@pytest.mark.parametrize(
    ("bound", "cohort", "ring_bits"),
    [(0.0, 4, 32), (-1.0, 4, 32), (math.inf, 4, 64), (math.nan, 4, 64), (1e12, 4, 32), (1, 0, 32)],
)
def test_an_encoding_that_cannot_be_is_refused(
    bound: float, cohort: int, ring_bits: RingBits
) -> None:
    with pytest.raises(WardroundError, match="WR-SECAGG-003"):
        FixedPoint.fit(bound, cohort, ring_bits)


def test_wrong_arrays_are_refused() -> None:
    fixed = FixedPoint.fit(1.0, 4, 32)
    for attempt in (
        lambda: fixed.encode(np.zeros((2, 2))),
        lambda: fixed.encode(np.zeros(3), out=np.zeros(2, np.uint32)),
        lambda: fixed.encode(np.zeros(3), out=np.zeros(3, np.uint64)),
        lambda: fixed.decode(np.zeros(3, np.uint64)),
        lambda: fixed.decode(np.zeros(3, np.uint32), out=np.zeros(2)),
    ):
        with pytest.raises(WardroundError, match="WR-SECAGG-004"):
            attempt()


def test_nothing_encodes_to_nothing() -> None:
    fixed = FixedPoint.fit(1.0, 4, 64)
    assert fixed.decode(fixed.encode(np.zeros(0))).shape == (0,)
