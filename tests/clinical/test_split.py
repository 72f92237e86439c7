"""The held-out patients depend on identifier, salt and fraction, and on nothing else."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import split

IDS = st.lists(st.text(max_size=12), unique=True, max_size=40)


@given(ids=IDS, salt=st.text(max_size=8), fraction=st.floats(0, 1))
def test_it_is_the_stated_hash(ids: list[str], salt: str, fraction: float) -> None:
    expected = [
        int.from_bytes(hashlib.sha256(f"{salt}|{one}".encode()).digest()[:8], "big")
        < int(fraction * 2**64)
        for one in ids
    ]
    assert split.test_mask(ids, salt, fraction).tolist() == expected


def test_share_order_and_salt() -> None:
    ids = [f"p{number}" for number in range(20_000)]
    mask = split.test_mask(ids, "study-a", 0.3)
    assert abs(mask.mean() - 0.3) < 0.01
    np.testing.assert_array_equal(split.test_mask(ids[::-1], "study-a", 0.3), mask[::-1])
    both = (mask & split.test_mask(ids, "study-b", 0.3)).mean()
    assert abs(both - 0.09) < 0.01
    assert not split.test_mask(ids, "study-a", 0.0).any()
    assert split.test_mask(ids, "study-a", 1.0).all()


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_nothing_and_all(fraction: float) -> None:
    with pytest.raises(ValueError):
        split.test_mask([], "s", fraction)


@given(ids=IDS, salt=st.text(max_size=8), count=st.integers(2, 20))
def test_folds_are_the_stated_hash(ids: list[str], salt: str, count: int) -> None:
    expected = [
        int.from_bytes(hashlib.sha256(f"{salt}#fold|{one}".encode()).digest()[:8], "big")
        * count
        // 2**64
        for one in ids
    ]
    assert split.folds(ids, salt, count).tolist() == expected


def test_folds_are_even_and_independent_of_the_test_set() -> None:
    ids = [f"p{number}" for number in range(20_000)]
    places = split.folds(ids, "study-a", 5)
    held_out = split.test_mask(ids, "study-a", 0.3)
    for fold in range(5):
        assert abs((places == fold).mean() - 0.2) < 0.01
        assert abs(held_out[places == fold].mean() - 0.3) < 0.03


def test_one_fold_is_none() -> None:
    with pytest.raises(ValueError):
        split.folds(["a"], "s", 1)
