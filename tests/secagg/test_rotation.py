"""The rotation: orthonormal, undone to the last bit but rounding, flat, and the same everywhere."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as matrix

from wardround.secagg.rotation import block_size, flatness, hadamard, rotate, rotate_back

SEED = b"seed"
LENGTHS = [1, 2, 3, 5, 8, 100, 1000, 1 << 14, (1 << 14) + 1, 3 << 15]


@pytest.mark.parametrize("size", [1, 2, 4, 8, 128, 512])
def test_it_is_the_hadamard_matrix(size: int) -> None:
    values = np.random.default_rng(0).normal(size=size)
    expected = matrix(size) @ values
    hadamard(values)
    np.testing.assert_allclose(values, expected, atol=1e-9)


def test_a_large_one_agrees_with_the_product_of_small_ones() -> None:
    """H_(rows * columns) is the Kronecker product of H_rows and H_columns."""
    values = np.random.default_rng(0).integers(-1000, 1000, 1 << 17).astype(np.float64)
    expected = matrix(1 << 8) @ values.reshape(1 << 8, -1) @ matrix(1 << 9)
    hadamard(values)
    np.testing.assert_array_equal(values, expected.ravel())


@pytest.mark.parametrize("length", LENGTHS)
def test_it_keeps_the_norm_and_can_be_undone(length: int) -> None:
    values = np.random.default_rng(length).normal(size=length)
    turned = values.copy()
    rotate(turned, SEED)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(values), rel=1e-12)
    assert length < 3 or not np.allclose(turned, values)
    rotate_back(turned, SEED)
    np.testing.assert_allclose(turned, values, atol=1e-12)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_it_is_linear(length: int, seed: int) -> None:
    one, other = np.random.default_rng(seed).normal(size=(2, length))
    both = one + 3 * other
    for vector in (one, other, both):
        rotate(vector, SEED)
    np.testing.assert_allclose(both, one + 3 * other, atol=1e-9)


@pytest.mark.parametrize("length", [64, 1000, 3 << 13])
def test_whatever_it_is_given_comes_out_flat(length: int) -> None:
    """Worst of all are vectors that have all their length in a few coordinates."""
    bound = flatness(length, 1)
    for spikes in (1, 2, length // 2, length):
        for end in (0, length - spikes):
            values = np.zeros(length)
            values[end : end + spikes] = 1 / np.sqrt(spikes)
            rotate(values, SEED + bytes([spikes % 256]))
            assert np.abs(values).max() <= bound
    assert bound <= 1.0


def test_the_stated_share_is_that_of_hoeffding() -> None:
    length, vectors = 1_000_000, 8
    share = flatness(length, vectors)
    exponent = share**2 * block_size(length) / 2
    assert 2 * length * vectors * np.exp(-exponent) <= 2**-30
    assert flatness(1, 1) == 1.0


def test_another_seed_is_another_rotation() -> None:
    one, other = np.ones(1000), np.ones(1000)
    rotate(one, b"one")
    rotate(other, b"other")
    assert abs(one @ other) < 0.2 * 1000


def by_hand(values: list[float], strides: list[int]) -> list[float]:
    """One butterfly after the other, in plain Python."""
    values = list(values)
    for stride in strides:
        for start in range(0, len(values), 2 * stride):
            for low in range(start, start + stride):
                one, other = values[low], values[low + stride]
                values[low], values[low + stride] = one + other, one - other
    return values


def test_the_bits_of_what_is_undone_are_those_of_the_stated_order() -> None:
    """Strides of half the bits upwards, then the small ones: an auditor gets the same bits."""
    length, size = 5000, 4096
    strides = [64, 128, 256, 512, 1024, 2048, 1, 2, 4, 8, 16, 32]
    values = np.random.default_rng(1).normal(size=length)
    expected = values.tolist()
    for stage in (1, 0):
        stream = hashlib.shake_256(b"wardround rotation v1 " + SEED + bytes([stage])).digest(512)
        signs = [-1.0 if stream[i // 8] >> (7 - i % 8) & 1 else 1.0 for i in range(size)]
        start = (length - size) * stage
        turned = by_hand(expected[start : start + size], strides)
        factor = 1.0 / math.sqrt(size)
        expected[start : start + size] = [
            one * sign * factor for one, sign in zip(turned, signs, strict=True)
        ]
    rotate_back(values, SEED)
    assert values.tolist() == expected
