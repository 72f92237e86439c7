"""Values in lanes: sums of encodings are encodings of sums, without bias, and never spill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.secagg.encoding import FixedPoint
from wardround.secagg.quantised import (
    LEAST_STEPS,
    LaneBits,
    Quantised,
    ring_elements,
    rounding,
    steps_each_way,
)

BOUND = 2.0**22
SEED = bytes(range(32))


def encoding(length: int, sites: int, bits: LaneBits, norm: float = 1.0) -> Quantised:
    return Quantised(FixedPoint.fit(BOUND, sites, 64), bits, length, norm, SEED)


def updates(length: int, sites: int, seed: int = 0) -> np.ndarray:
    """Weighted updates whose weights add up to one, and whose sum is as long as it may be."""
    random = np.random.default_rng(seed)
    common = random.normal(size=length)
    common /= np.linalg.norm(common)
    return random.dirichlet(np.ones(sites))[:, None] * common


def total(coder: Quantised, rows: np.ndarray, exact: np.ndarray, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    ring = np.zeros(coder.elements(rows.shape[1] + exact.shape[1]), np.uint64)
    for row, more in zip(rows, exact, strict=True):
        ring += coder.encode(np.concatenate([row, more]), random.bytes(32))
    return coder.decode(ring)


@pytest.mark.parametrize(("bits", "error"), [(16, 1.2e-3), (8, 0.35)])
@pytest.mark.parametrize("length", [1, 7, 1000, 70_001])
@pytest.mark.parametrize("sites", [3, 8, 40])
def test_the_sum_of_encodings_stands_for_the_sum(
    bits: LaneBits, error: float, length: int, sites: int
) -> None:
    rows = updates(length, sites)
    exact = np.tile([0.5, 3.0, -1000.0], (sites, 1))
    found = total(encoding(length, sites, bits), rows, exact)
    np.testing.assert_array_equal(found[length:], sites * exact[0])
    scale = np.sqrt(sites / 8)
    assert np.linalg.norm(found[:length] - rows.sum(0)) <= error * max(1.0, 2 * scale)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("length", [1, 7, 1000, 70_001])
@pytest.mark.parametrize("sites", [3, 40])
def test_an_honest_sum_is_no_longer_than_rounding_makes_it_and_garbage_is(
    bits: LaneBits, length: int, sites: int
) -> None:
    coder, no = encoding(length, sites, bits), np.zeros((sites, 0))
    allowed = 1.0 + rounding(length, bits, sites)
    for seed in range(5):
        found = total(coder, updates(length, sites, seed), no, seed)
        assert np.linalg.norm(found) <= allowed
    garbage = np.random.default_rng(1).integers(0, 2**64, coder.elements(length), np.uint64)
    if length >= 1000:
        assert np.linalg.norm(coder.decode(garbage)) > 2 * allowed
    assert coder.bounded_from == len(garbage) and coder.largest == coder.exact.largest


@pytest.mark.parametrize(("bits", "share"), [(16, 4), (8, 8)])
def test_it_takes_a_quarter_or_an_eighth_of_the_bytes(bits: LaneBits, share: int) -> None:
    assert ring_elements(1_000_000, 1_000_003, bits) == 1_000_000 // share + 3
    assert ring_elements(1, 4, bits) == 4


@pytest.mark.parametrize("bits", [16, 8])
def test_rounding_has_no_bias(bits: LaneBits) -> None:
    """The mean over many roundings of the same values is the values, as close as chance allows."""
    length, sites, times = 33, 3, 4000
    coder = encoding(length, sites, bits)
    row = updates(length, 1, seed=3)[0] * 0.7
    random = np.random.default_rng(9)
    found = np.zeros(length)
    for _ in range(times):
        found += coder.decode(coder.encode(row, random.bytes(32)))
    off = (found / times - row) / (coder.resolution * 0.5 / np.sqrt(times))
    assert np.abs(off).max() < 4.5, "in standard deviations, of 33 values"
    assert off.std() < 1.5


def test_what_is_rounded_differs_each_time() -> None:
    coder = encoding(100, 3, 8)
    row = updates(100, 1)[0]
    assert not np.array_equal(coder.encode(row, bytes(32)), coder.encode(row, b"\x01" * 32))
    assert np.array_equal(coder.encode(row, bytes(32)), coder.encode(row, bytes(32)))


@given(
    bits=st.sampled_from([8, 16]),
    length=st.integers(1, 40),
    sites=st.integers(1, 5),
    data=st.data(),
)
def test_lanes_add_up_like_the_whole_numbers_in_them(
    bits: LaneBits, length: int, sites: int, data: st.DataObject
) -> None:
    """Against adding them one by one, up to the largest sums that a lane has room for."""
    coder = encoding(length, 64, bits)
    most = coder.steps // sites
    whole = st.lists(st.integers(-most, most), min_size=length, max_size=length)
    rows = np.array(data.draw(st.lists(whole, min_size=sites, max_size=sites)))
    ring = np.zeros(coder.elements(length), np.uint64)
    for row in rows:
        element = np.zeros(len(ring), np.uint64)
        coder._pack(row * coder.resolution, bytes(32), element)
        ring += element
    steps = np.empty(length)
    coder._unpack(ring, steps)
    np.testing.assert_array_equal(steps, rows.sum(0))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_longest_sums_stay_in_their_lanes(bits: LaneBits) -> None:
    """One coordinate has all the norm, at one site or at all; before and after the rotation."""
    for sites in (3, 64):
        for length in (1, 2, 100):
            coder = encoding(length, sites, bits)
            rows = np.zeros((sites, length))
            rows[:, 0] = 1 / sites
            found = total(coder, rows, np.zeros((sites, 3)))
            allowed = 6 * coder.resolution * np.sqrt(sites * length)
            assert np.linalg.norm(found[:length] - rows.sum(0)) <= allowed


def test_a_site_that_sends_too_much_is_cut_to_its_lane_and_spoils_no_other() -> None:
    coder = encoding(8, 3, 16)
    ring = coder.encode(np.full(8, 1e5), bytes(32))
    steps = np.empty(8)
    coder._unpack(ring[:2], steps)
    assert np.abs(steps).max() <= coder.steps


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2 * BOUND])
@pytest.mark.parametrize("place", [0, 5])
def test_what_is_not_finite_is_refused(bad: float, place: int) -> None:
    values = np.zeros(8)
    values[place] = bad
    with pytest.raises(WardroundError, match="WR-SECAGG-005"):
        encoding(5, 3, 16).encode(values, bytes(32))


def test_other_shapes_are_refused() -> None:
    coder = encoding(5, 3, 16)
    for values in (np.zeros(4), np.zeros((5, 1))):
        with pytest.raises(WardroundError, match="WR-SECAGG-004"):
            coder.encode(values, bytes(32))
    for ring in (np.zeros(1, np.uint64), np.zeros(2, np.uint32), np.zeros((2, 1), np.uint64)):
        with pytest.raises(WardroundError, match="WR-SECAGG-004"):
            coder.decode(ring)


def test_lanes_that_are_too_narrow_for_so_many_sites_cannot_be_built() -> None:
    assert steps_each_way(8, 64) == LEAST_STEPS
    assert encoding(5, 64, 8).steps == LEAST_STEPS
    with pytest.raises(WardroundError, match="WR-SECAGG-003"):
        encoding(5, 65, 8)
    assert encoding(5, 1024, 16).steps > 30_000


def test_masks_and_what_is_added_to_them_pass_through() -> None:
    """All that happens on the way is addition in the ring of 64 bits."""
    coder = encoding(1000, 4, 8)
    rows, exact = updates(1000, 4), np.ones((4, 3))
    random = np.random.default_rng(0)
    masks = random.integers(0, 2**64, (4, coder.elements(1003)), np.uint64)
    masks[-1] = -masks[:-1].sum(0)
    plain = [
        coder.encode(np.concatenate([row, more]), bytes([i]) * 32)
        for i, (row, more) in enumerate(zip(rows, exact, strict=True))
    ]
    masked = sum((one + mask for one, mask in zip(plain, masks, strict=True)), np.uint64(0))
    np.testing.assert_array_equal(
        coder.decode(masked), coder.decode(sum(plain, np.zeros_like(plain[0])))
    )
