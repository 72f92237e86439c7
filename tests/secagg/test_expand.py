"""Keystreams: the standard's own vector, seams, and a view test that catches weak masks."""

from __future__ import annotations

import itertools
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from cohorts import random_ring
from wardround.errors import WardroundError
from wardround.secagg import RingBits
from wardround.secagg.expand import Keystream, apply


def test_the_stream_is_aes_256_ctr_of_sp_800_38a() -> None:
    """NIST SP 800-38A, F.5.5: its initial counter is reached by seeking there."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = int.from_bytes(bytes(range(0xF0, 0x100)), "big")
    expected = bytes.fromhex(
        "0bdf7df1591716335e9a8b15c860c502"
        "5a6e699d536119065433863c8f657b94"
        "1bc12c9c01610d5d0d8bd6a3378eca62"
        "2956e1c8693536b1bee99c73a31576b6"
    )
    read = bytearray(64)
    Keystream(key).read_into(memoryview(read), 16 * counter)
    assert read == expected
    inside = bytearray(20)
    Keystream(key).read_into(memoryview(inside), 16 * counter + 13)
    assert inside == expected[13:33]


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_a_long_vector_is_the_cipher_over_zeros(ring_bits: RingBits) -> None:
    length = 140_001  # more than two chunks, and no multiple of one
    key = bytes(range(32))
    array = random_ring(length, ring_bits, 1)
    whole = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    stream = np.frombuffer(whole.update(bytes(length * array.itemsize)), f"<u{array.itemsize}")
    masked = array.copy()
    Keystream(key).add_into(masked)
    assert np.array_equal(masked, array + stream)
    Keystream(key).subtract_from(masked)
    assert np.array_equal(masked, array)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.sampled_from([32, 64]))
def test_parts_in_any_order_join_without_a_seam(cuts: list[int], ring_bits: RingBits) -> None:
    array = random_ring(300, ring_bits, 2)
    whole, parts = array.copy(), array.copy()
    added, subtracted = [bytes(32), bytes(range(32))], [bytes([7]) * 32]
    apply(whole, [Keystream(k) for k in added], [Keystream(k) for k in subtracted])
    edges = sorted({0, 300, *cuts})
    spans = list(itertools.pairwise(edges))
    streams = [Keystream(k) for k in added], [Keystream(k) for k in subtracted]
    for start, stop in spans[1::2] + spans[::2]:
        apply(parts[start:stop], *streams, offset_elements=start)
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("length", [0, 4, 16, 31, 33])
def test_a_short_seed_is_no_key(length: int) -> None:
    """A 32-bit seed, another system's failure, can't be made a mask."""
    with pytest.raises(ValueError, match="32 bytes"):
        Keystream(bytes(length))


def test_other_arrays_are_refused() -> None:
    frozen = np.zeros(4, np.uint32)
    frozen.flags.writeable = False
    for array in (np.zeros((2, 2), np.uint32), np.zeros(4, np.int32), np.zeros(4), frozen):
        with pytest.raises(WardroundError, match="WR-SECAGG-004"):
            Keystream(bytes(32)).add_into(array)


def chi_square(words: np.ndarray) -> float:
    """Pearson's statistic of the bytes against uniform, standardised to mean 0, deviation 1."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    expected = counts.sum() / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float((statistic - 255) / np.sqrt(2 * 255))


def test_a_masked_vector_looks_uniform_and_weak_masks_do_not() -> None:
    values = np.repeat(np.arange(8, dtype=np.uint32), 8192)
    other = values[::-1].copy()
    stream = Keystream(secrets.token_bytes(32))
    first, second = values.copy(), other.copy()
    stream.add_into(first)
    assert abs(chi_square(first)) < 6
    stream.add_into(second)
    assert chi_square(first - second) > 1000, "the test would notice one mask on two vectors"
    scalar = values + np.uint32(secrets.randbits(32))
    assert chi_square(scalar) > 1000, "the test would notice a mask that is one number"
