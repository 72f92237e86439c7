"""The lanes of a total are the total of the lanes, and no single fault passes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohorts import MANIFEST, plain_sum, random_ring, random_values, usual
from wardround.ids import RunId
from wardround.secagg import LANES, Checksum, RingArray, RingBits
from wardround.secagg.expand import Keystream
from wardround.trust.canonical import digest, digest_json

STUDY, TASK, RUN = digest(b"study"), digest(b"task"), RunId("run")
rings = st.sampled_from([32, 64])
SEAM = 32 * 1024
"""Elements of a chunk in the wider ring."""


def checksum(step: int = 0) -> Checksum:
    return Checksum(STUDY, RUN, step, TASK)


def sealed(values: RingArray) -> RingArray:
    whole = np.concatenate([values, np.zeros(LANES, values.dtype)])
    checksum().seal(whole)
    return whole


def holds(whole: RingArray) -> bool:
    return bool(np.array_equal(checksum().lanes(whole[:-LANES]), whole[-LANES:]))


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_the_lanes_are_what_the_page_says(ring_bits: RingBits) -> None:
    values = random_ring(5, ring_bits, 1)
    weights = np.zeros(5, values.dtype)
    facts = {"for": "wardround checksum v1", "study": STUDY, "run": RUN, "step": 3, "task": TASK}
    Keystream(bytes.fromhex(digest_json(facts)[7:])).add_into(weights)
    plain = sum(map(int, values))
    weighted = sum(int(r) * int(x) for r, x in zip(weights, values, strict=True))
    expected = [plain % 2**ring_bits, weighted % 2**ring_bits]
    assert checksum(3).lanes(values).tolist() == expected


@given(st.integers(3, 12), rings, st.integers(1, 300), st.integers(0, 2**32))
def test_the_lanes_of_a_sum_are_the_sum_of_the_lanes(
    sites: int, ring_bits: RingBits, length: int, seed: int
) -> None:
    vectors = [sealed(random_ring(length, ring_bits, seed + site)) for site in range(sites)]
    assert holds(plain_sum(vectors))


@given(st.lists(st.integers(0, 2 * SEAM + 7), max_size=4), rings)
@settings(max_examples=25)
def test_parts_add_up_to_the_whole_wherever_they_are_cut(
    cuts: list[int], ring_bits: RingBits
) -> None:
    values = random_ring(2 * SEAM + 7, ring_bits, 5)
    places = [0, *sorted(cuts), len(values)]
    parts = [checksum().lanes(values[start:stop], start) for start, stop in pairwise(places)]
    assert plain_sum(parts).tolist() == checksum().lanes(values).tolist()


@given(st.data(), rings)
def test_one_wrong_element_is_always_found(data: st.DataObject, ring_bits: RingBits) -> None:
    whole = sealed(random_ring(40, ring_bits, 2))
    place = data.draw(st.integers(0, len(whole) - 1))
    error = data.draw(
        st.one_of(
            st.integers(0, ring_bits - 1).map(lambda bit: 1 << bit),
            st.integers(1, 2**ring_bits - 1),
        )
    )
    whole[place] = (int(whole[place]) + error) % 2**ring_bits
    assert not holds(whole)


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_errors_that_cancel_in_the_plain_sum_are_found_by_the_weights(ring_bits: RingBits) -> None:
    whole = sealed(random_ring(1000, ring_bits, 3))
    swapped, moved, repeated = whole.copy(), whole.copy(), whole.copy()
    swapped[[10, 700]] = swapped[[700, 10]]
    moved[:-LANES] = np.roll(moved[:-LANES], 1)
    repeated[0] += 1
    repeated[1] -= 1
    assert not holds(swapped) and not holds(moved) and not holds(repeated)


def test_an_even_number_of_top_bits_passes_half_the_time() -> None:
    """What the page says is left: a fault of nothing but top bits. The bounds find most of them."""
    passed = 0
    for place in range(1, 400):
        whole = sealed(np.zeros(400, np.uint64))
        whole[[0, place]] ^= np.uint64(1 << 63)
        passed += holds(whole)
    assert 120 < passed < 280


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_masks_that_do_not_cancel_are_found(ring_bits: RingBits) -> None:
    """One of five sites masks under another manifest; honestly masked, the lanes hold."""
    for other, honest in ((MANIFEST, True), (digest(b"another"), False)):
        cohort = usual(5).set_up()
        values = random_values(cohort.roster, 50, ring_bits)
        sealed_values = {site: sealed(vector) for site, vector in values.items()}
        first, *rest = cohort.roster
        masked = cohort.mask(0, MANIFEST, {site: sealed_values[site] for site in rest})
        masked |= cohort.mask(0, other, {first: sealed_values[first]})
        votes = cohort.votes(0, MANIFEST, cohort.roster, rest)
        shares = cohort.recovered(0, MANIFEST, cohort.roster, votes, rest)
        total = plain_sum(masked.values())
        cohort.unmasking(ring_bits, 0, MANIFEST, cohort.roster, shares).unmask(total)
        assert holds(total) == honest


def test_another_step_run_study_or_task_has_other_weights() -> None:
    values = random_ring(100, 64, 4)
    every = [
        Checksum(STUDY, RUN, 0, TASK),
        Checksum(STUDY, RUN, 1, TASK),
        Checksum(STUDY, RunId("another"), 0, TASK),
        Checksum(TASK, RUN, 0, TASK),
        Checksum(STUDY, RUN, 0, STUDY),
    ]
    assert len({int(one.lanes(values)[1]) for one in every}) == len(every)
