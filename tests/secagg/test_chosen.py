"""Random-k: the same coordinates at every site, each in its turn."""

from __future__ import annotations

from hashlib import sha256, shake_256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.secagg.chosen import Chosen, coordinates, cycle_rounds
from wardround.secagg.encoding import FixedPoint

SEED = bytes(range(32))
GOLDEN_SMALL = [3, 7, 8, 11]
GOLDEN_LARGE = "02ff1cd464a51627311a5a02ffc9856ff7c66eff7c4a5bfe170a8198071eed59"
SIZES = st.integers(1, 300).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, m)))


@given(SIZES, st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_every_coordinate_has_its_turn_in_each_cycle(sizes: tuple[int, int], cycle: int) -> None:
    first, sent = sizes
    rounds = cycle_rounds(first, sent)
    turns = [coordinates(SEED, first, sent, cycle * rounds + one + 1) for one in range(rounds)]
    assert all(len(one) == sent and bool((np.diff(one) > 0).all()) for one in turns)
    assert set(np.concatenate(turns)) == set(range(first))
    if first % sent == 0:
        assert sum(len(one) for one in turns) == first, "and no other before all have had theirs"


def plainly(seed: bytes, first: int, sent: int, number: int) -> list[int]:
    """The same in the plainest way: all coordinates in the order of their random numbers."""
    cycle, place = divmod(number - 1, -(-first // sent))
    name = b"wardround random-k v1 " + seed + cycle.to_bytes(8, "big") + bytes(8)
    drawn = shake_256(name).digest(8 * first)
    bits = (first - 1).bit_length()
    numbers = [
        int.from_bytes(drawn[8 * one : 8 * one + 8], "little") * 2**bits % 2**64 + one
        for one in range(first)
    ]
    order = sorted(range(first), key=numbers.__getitem__)
    start = min(place * sent, first - sent)
    return sorted(order[start : start + sent])


@pytest.mark.parametrize(
    ("first", "sent", "number"), [(1, 1, 1), (1, 1, 9), (7, 3, 3), (100, 10, 1), (1000, 7, 200)]
)
def test_they_are_those_with_the_next_smallest_random_numbers(
    first: int, sent: int, number: int
) -> None:
    assert list(coordinates(SEED, first, sent, number)) == plainly(SEED, first, sent, number)


def test_the_choice_is_the_same_on_every_machine_for_ever() -> None:
    assert list(coordinates(SEED, 20, 4, 1)) == GOLDEN_SMALL
    large = coordinates(SEED, (1 << 20) + 5, 1 << 16, 3)
    assert sha256(large.astype("<i8").tobytes()).hexdigest() == GOLDEN_LARGE


def test_seed_and_cycle_decide_and_every_coordinate_is_as_likely() -> None:
    assert list(coordinates(SEED, 500, 50, 1)) != list(coordinates(bytes(32), 500, 50, 1))
    cycles, rounds = 600, cycle_rounds(20, 4)
    counts = np.zeros(20)
    for cycle in range(cycles):
        counts[coordinates(SEED, 20, 4, cycle * rounds + 1)] += 1
    expected = cycles * 4 / 20
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 50, "19 degrees of freedom: one seed in ten thousand is beyond that"


values = st.lists(
    st.lists(st.floats(-100, 100, width=32), min_size=12, max_size=12), min_size=1, max_size=5
)


@given(values, st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_the_sum_of_encodings_is_the_encoding_of_the_sum(
    rows: list[list[float]], number: int
) -> None:
    coder = Chosen(FixedPoint.fit(100.0, len(rows), 64), 10, 3, number, SEED)
    table = np.array(rows)
    late = np.setdiff1d(np.arange(10), coder.coordinates)
    table[:, late] = 0.0
    total = np.zeros(5, np.uint64)
    for row in table:
        total += coder.encode(row)
    found = coder.decode(total)
    assert found.shape == (12,) and not found[late].any()
    np.testing.assert_allclose(found, table.sum(axis=0), atol=len(rows) * coder.resolution)


def test_what_would_be_dropped_is_refused() -> None:
    coder = Chosen(FixedPoint.fit(1.0, 3, 32), 10, 3, 1, SEED)
    late = np.setdiff1d(np.arange(10), coder.coordinates)
    row = np.zeros(12)
    row[late[0]] = 0.5
    for wrong in (row, np.zeros(9), np.zeros((2, 12))):
        with pytest.raises(WardroundError, match="WR-SECAGG-004"):
            coder.encode(wrong)
    with pytest.raises(WardroundError, match="WR-SECAGG-004"):
        coder.decode(np.zeros(2, np.uint32))
