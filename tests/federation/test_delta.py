"""A model by way of the one before: exact, smaller or not at all, and safe to apply."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wardround.errors import WardroundError
from wardround.federation.delta import apply_delta, make_delta

FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def stepped(length: int, dtype: str = "<f8", seed: int = 0) -> tuple[bytes, bytes]:
    """Two models a small training step apart."""
    random = np.random.default_rng(seed)
    base = random.normal(size=length)
    after = base * (1 + 1e-6 * random.normal(size=length))
    return base.astype(dtype).tobytes(), after.astype(dtype).tobytes()


@given(
    arrays.arrays(np.float64, st.integers(1, 200), elements=FLOATS),
    st.lists(st.integers(0, 199), max_size=5),
    FLOATS,
)
def test_what_comes_out_is_the_model_bit_for_bit(
    base: np.ndarray, places: list[int], value: float
) -> None:
    model = base.copy()
    for place in places:
        model[place % len(model)] = value
    delta = make_delta(base.tobytes(), model.tobytes())
    if delta is not None:
        assert len(delta) < model.nbytes
        assert bytes(apply_delta(base.tobytes(), delta)) == model.tobytes()


@pytest.mark.parametrize(("dtype", "length"), [("<f8", 100_000), ("<f4", 100_001)])
def test_a_training_step_is_smaller_than_the_model(dtype: str, length: int) -> None:
    base, model = stepped(length, dtype)
    delta = make_delta(base, model)
    assert delta is not None and len(delta) < 0.85 * len(model)
    assert bytes(apply_delta(base, delta)) == model


def test_models_that_have_nothing_in_common_have_no_delta() -> None:
    random = np.random.default_rng(1)
    assert make_delta(random.bytes(80_000), random.bytes(80_000)) is None
    assert make_delta(bytes(80), bytes(88)) is None
    assert make_delta(b"", b"") is None


def test_of_another_base_comes_another_model() -> None:
    base, model = stepped(10_000)
    delta = make_delta(base, model)
    assert delta is not None
    other, _ = stepped(10_000, seed=1)
    assert bytes(apply_delta(other, delta)) != model


@given(st.binary(max_size=200))
def test_junk_has_a_code(delta: bytes) -> None:
    base = bytes(160)
    try:
        assert len(apply_delta(base, delta)) == len(base)
    except WardroundError as error:
        assert error.code == "WR-SITE-150"


def test_a_delta_that_was_cut_or_altered_has_a_code_or_another_result() -> None:
    base, model = stepped(5_000)
    delta = make_delta(base, model)
    assert delta is not None
    for at in range(0, len(delta), 997):
        with pytest.raises(WardroundError, match="WR-SITE-150"):
            apply_delta(base, delta[:at])
    bomb = bytes([8]) + b"\x01" + (30).to_bytes(8, "big") + bytes(30)
    with pytest.raises(WardroundError, match="WR-SITE-150"):
        apply_delta(base, bomb)


def test_a_bomb_is_not_unpacked_beyond_the_model() -> None:
    import zlib

    packed = zlib.compress(bytes(50_000_000))
    plane = b"\x01" + len(packed).to_bytes(8, "big") + packed
    with pytest.raises(WardroundError, match="WR-SITE-150"):
        apply_delta(bytes(800), bytes([8]) + plane * 8)
