"""What a profile says of a column, and what its repr does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.clinical.dates import DateFormat
from wardround.clinical.numbers import read_number
from wardround.clinical.profile import MAX_CATEGORIES, FieldKind, FieldProfile, profile_column
from wardround.clinical.quarantine import Reason


@dataclass
class Cells:
    values: NDArray[Any]
    missing: NDArray[np.bool_]


def texts(*values: str | None) -> Cells:
    return Cells(
        np.array([value or "" for value in values], dtype=object),
        np.array([value is None for value in values], dtype=np.bool_),
    )


def typed(values: Sequence[float], dtype: type) -> Cells:
    return Cells(np.array(values, dtype=dtype), np.zeros(len(values), dtype=np.bool_))


def profile(cells: Cells, name: str = "field", **said: Any) -> FieldProfile:
    return profile_column("source", name, cells, **said)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1.5", "2.25", "3"], FieldKind.NUMBER),
        (["1,5", "2,25", "3"], FieldKind.NUMBER),
        (["01.02.1990", "24.12.1985"], FieldKind.DATE),
        (["2020-01-01T08:00:00+01:00"], FieldKind.DATE),
        (["20200101", "19991231"], FieldKind.DATE),
        (["yes", "no", "yes"], FieldKind.BOOLEAN),
        (["Ja", "Nein"], FieldKind.BOOLEAN),
        (["oui", "non"], FieldKind.BOOLEAN),
        (["SI", "NO"], FieldKind.BOOLEAN),
        (["1", "0"], FieldKind.BOOLEAN),
        (["m", "f", "m", "f"], FieldKind.CATEGORY),
        (["E11.9", "I21.0", "E11.9"], FieldKind.CODE),
        (["2093-3", "718-7"], FieldKind.CODE),
        ([f"P-{n:04}" for n in range(40)], FieldKind.IDENTIFIER),
        ([str(700_000 + n) for n in range(40)], FieldKind.IDENTIFIER),
        ([None, None], FieldKind.EMPTY),
        ([], FieldKind.EMPTY),
        ([f"Seen on ward {n} after a fall" for n in range(60)], FieldKind.TEXT),
    ],
)
def test_the_kind_is_found_in_the_values(values: list[str | None], kind: FieldKind) -> None:
    assert profile(texts(*values)).kind is kind


@pytest.mark.parametrize("name", ["person_id", "PATIENT NO", "Fallnummer", "mrn", "encounter.id"])
def test_what_names_somebody_is_an_identifier_however_often_it_repeats(name: str) -> None:
    assert profile(texts("4", "4", "7"), name).kind is FieldKind.IDENTIFIER
    assert profile(texts("K4", "K4"), name).categories == {}
    assert profile(typed([4, 4, 7], float), name).categories == {}


def test_numbers_may_hold_a_few_words() -> None:
    found = profile(texts(*[str(n / 2) for n in range(60)], "haemolytic", None))
    assert found.kind is FieldKind.NUMBER
    assert (found.rows, found.missing, found.distinct, found.zeros) == (62, 1, 61, 1)
    assert (found.quantiles[0], found.quantiles[10], found.quantiles[-1]) == (0.0, 14.75, 29.5)


def test_quantiles_are_those_of_numpy_whatever_the_decimal_mark() -> None:
    numbers = np.random.default_rng(1).normal(5, 2, 400).round(2)
    written = texts(*[f"{n:.2f}".replace(".", ",") for n in numbers])
    expected = np.quantile(numbers, np.linspace(0, 1, 21))
    assert np.allclose(profile(written).quantiles, expected, rtol=1e-12)
    assert np.allclose(profile(typed(numbers.tolist(), float)).quantiles, expected, rtol=1e-12)
    assert profile(written).decimal_marks == (",",)
    assert profile(texts("1", "2")).decimal_marks == (".", ",")


def test_a_date_that_two_formats_read_is_ambiguous() -> None:
    assert profile(texts("01/02/1990", "03/04/1991")).date_formats == ("DD/MM/YYYY", "MM/DD/YYYY")
    assert profile(texts("01/02/1990", "03/14/1991")).date_formats == ("MM/DD/YYYY",)
    assert profile(texts("1.2.1990", "13.4.1991")).date_formats == ("D.M.YYYY",)


def test_days_are_ordinals_in_quantiles_and_days_in_samples() -> None:
    first, last = date(1990, 2, 1), date(2001, 12, 24)
    written = profile(texts("01.02.1990", "24.12.2001"))
    stored = profile(typed([first.toordinal(), last.toordinal()], np.int64))
    for found in (written, stored):
        assert (found.kind, found.categories) == (FieldKind.DATE, {})
        assert found.quantiles[0] == first.toordinal()
        assert found.quantiles[-1] == last.toordinal()
    assert stored.samples == ("1990-02-01", "2001-12-24")
    assert written.samples == ("01.02.1990", "24.12.2001")


def test_categories_are_the_texts_as_written_most_frequent_first() -> None:
    found = profile(texts("w", "m", "w", "M", "w", "m"))
    assert list(found.categories.items()) == [("w", 3), ("m", 2), ("M", 1)]
    many = profile(texts(*[f"ward {n % 60} of the house" for n in range(600)]))
    assert len(many.categories) == MAX_CATEGORIES


def test_booleans_are_counted() -> None:
    found = profile(typed([True, False, True], bool))
    assert (found.kind, dict(found.categories)) == (FieldKind.BOOLEAN, {"true": 2, "false": 1})


def test_labels_with_leading_zeros_are_no_numbers() -> None:
    assert profile(texts("007", "011", "007", "011")).kind is not FieldKind.NUMBER


def test_units_come_from_the_rows_else_the_source_else_the_header() -> None:
    cells = texts("1", "2", None)
    rows = profile(cells, "Chol (g/l)", unit_text=["mg/dL", "mmol/L", "mmol/L"])
    assert rows.units == {"mg/dL": 1, "mmol/L": 1}
    assert profile(cells, "Chol (g/l)", unit_text="mg/dL").units == {"mg/dL": 2}
    assert profile(cells, "Chol (g/l)").units == {"g/l": 2}
    assert profile(cells, "Chol", description="serum cholesterol in mg/dl").units == {"mg/dl": 2}
    assert profile(cells, "Chol").units == {}


def test_no_value_shows_in_the_repr() -> None:
    found = profile(texts("Smith", "Smith", "Jones"), description="who")
    assert "Smith" not in repr(found)
    assert "Smith" in found.samples


cell = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.integers(-(10**20), 10**20).map(str),
    st.dates().map(date.isoformat),
    st.sampled_from(
        ["", "1e400", "٣", "1_000", "00.00.0000", "31.02.2020", "\x00", "NaN", "1,2,3"]
    ),
)


@given(st.lists(cell, max_size=40), st.text(max_size=10))
def test_nothing_that_a_column_may_hold_breaks_a_profile(
    values: list[str | None], name: str
) -> None:
    found = profile(texts(*values), name)
    assert found.rows == len(values)
    assert 0 <= found.distinct <= found.present <= found.rows
    assert found.missing >= sum(value is None for value in values)
    assert len(found.quantiles) in (0, 21)
    assert list(found.quantiles) == sorted(found.quantiles)
    assert set(found.samples) <= set(values)
    assert sum(found.categories.values()) <= found.present


@given(st.lists(st.dates(date(1850, 1, 1)), min_size=1, max_size=30))
def test_every_date_format_reads_every_date(days: list[date]) -> None:
    written = [f"{day.day:02}/{day.month:02}/{day.year:04}" for day in days]
    found = profile(texts(*written))
    assert "DD/MM/YYYY" in found.date_formats
    for form in found.date_formats:
        assert not any(isinstance(DateFormat(form).read(text), Reason) for text in written)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda n: f"{n:.3f}"), min_size=1, max_size=30))
def test_every_decimal_mark_reads_every_number(written: list[str]) -> None:
    for mark in profile(texts(*written)).decimal_marks:
        assert not any(isinstance(read_number(text, mark), Reason) for text in written)


@given(st.lists(st.floats(), max_size=30))
def test_floats_of_any_kind_are_described_by_the_finite_ones(values: list[float]) -> None:
    found = profile(typed(values, float))
    assert found.present == sum(np.isfinite(values))
