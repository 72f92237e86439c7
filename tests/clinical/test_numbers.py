"""Numbers are read exactly or not at all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import Reason
from wardround.clinical.numbers import read_number

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(value=FINITE)
def test_every_finite_number_is_read_back_to_the_bit(value: float) -> None:
    assert read_number(repr(value)) == value
    assert read_number(repr(value).replace(".", ","), ",") == value


@given(text=st.text(max_size=20), decimal=st.sampled_from([".", ","]))
def test_anything_else_is_refused_and_never_not_a_number(text: str, decimal: str) -> None:
    read = read_number(text, decimal)  # type: ignore[arg-type]
    assert read is Reason.UNREADABLE_NUMBER or math.isfinite(read)


@pytest.mark.parametrize(
    "text",
    ["", ".", "nan", "inf", "1_000", "1,234", "1.2.3", "12 mm", "1e999", "٣", "0x10", "<5", "--1"],
)
def test_what_python_or_a_reader_might_guess_is_refused(text: str) -> None:
    assert read_number(text) is Reason.UNREADABLE_NUMBER
    assert read_number("1.234", ",") is Reason.UNREADABLE_NUMBER
