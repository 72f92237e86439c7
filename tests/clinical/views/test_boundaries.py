"""The earliest and latest value that what was written can mean; examples from FHIRPath's own."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.views.paths import evaluate


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("1.587.lowBoundary()", "1.58650000"),
        ("1.587.lowBoundary(6)", "1.586500"),
        ("1.587.lowBoundary(2)", "1.58"),
        ("1.587.highBoundary(2)", "1.59"),
        ("1.587.highBoundary()", "1.58750000"),
        ("(-1.587).lowBoundary()", "-1.58750000"),
        ("(-1.587).highBoundary()", "-1.58650000"),
        ("12.587.highBoundary(2)", "12.59"),
        ("12.500.highBoundary(4)", "12.5005"),
        ("120.highBoundary(2)", "120.50"),
        ("(-120).highBoundary(2)", "-119.50"),
        ("0.lowBoundary(1)", "-0.5"),
    ],
)
def test_of_a_decimal(path: str, found: str) -> None:
    assert list(map(str, evaluate(path))) == [found]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("1.587.lowBoundary(-1)", []),
        ("1.587.lowBoundary(32)", []),
        ("@2014.lowBoundary(5)", []),
        ("{}.lowBoundary()", []),
        ("@2014.lowBoundary(6)", ["2014-01"]),
        ("@2014.highBoundary(6)", ["2014-12"]),
        ("@2014.lowBoundary()", ["2014-01-01"]),
        ("@2016-02.highBoundary()", ["2016-02-29"]),
        ("@2015-02.highBoundary()", ["2015-02-28"]),
        ("@2014T.highBoundary()", ["2014-12-31T23:59:59.999-12:00"]),
        ("@2014-01-01T08.lowBoundary(17)", ["2014-01-01T08:00:00.000+14:00"]),
        ("@2014-01-01T08.highBoundary(17)", ["2014-01-01T08:59:59.999-12:00"]),
        ("@2014-01-01T08:05+02:00.lowBoundary()", ["2014-01-01T08:05:00.000+02:00"]),
        ("@2014-01-01T08:05:30.5Z.highBoundary()", ["2014-01-01T08:05:30.599Z"]),
        ("@2014-01-01T08:05:30.5Z.highBoundary(8)", ["2014-01-01"]),
        ("@T10:30.lowBoundary(9)", ["10:30:00.000"]),
        ("@T10:30.highBoundary(9)", ["10:30:59.999"]),
        ("@T10:30.highBoundary(4)", ["10:30"]),
    ],
)
def test_of_a_date_or_time(path: str, found: list[str]) -> None:
    assert evaluate(path) == found


def test_the_column_or_the_path_tells_a_moment_from_a_date() -> None:
    resource = {"birthDate": "1970-06", "effectiveDateTime": "1970-06"}
    path = "birthDate.lowBoundary()"
    assert evaluate(path, resource) == ["1970-06-01"]
    assert evaluate(path, resource, "date") == ["1970-06-01"]
    assert evaluate(path, resource, "dateTime") == ["1970-06-01T00:00:00.000+14:00"]
    path = "effective.ofType(dateTime).first().lowBoundary()"
    assert evaluate(path, resource) == ["1970-06-01T00:00:00.000+14:00"]


def test_a_reader_that_keeps_decimals_loses_no_digit() -> None:
    path = "weight.lowBoundary(3)"
    assert evaluate(path, {"weight": 1.1}) == [Decimal("1.050")]
    assert evaluate(path, {"weight": Decimal("1.10")}) == [Decimal("1.095")]


@given(
    value=st.decimals(-(10**9), 10**9, allow_nan=False, places=4).map(lambda d: d + 0),
    places=st.integers(0, 31),
)
def test_boundaries_enclose_what_rounds_to_the_value(value: Decimal, places: int) -> None:
    low, high = (
        evaluate(f"weight.{name}({places})", {"weight": value})[0]
        for name in ("lowBoundary", "highBoundary")
    )
    assert isinstance(low, Decimal)
    assert isinstance(high, Decimal)
    half, unit = Fraction(1, 20_000), Fraction(1, 10**places)
    assert 0 <= (Fraction(value) - half) - Fraction(low) < unit
    assert 0 <= Fraction(high) - (Fraction(value) + half) < unit
