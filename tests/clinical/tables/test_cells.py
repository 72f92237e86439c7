"""Cells brought to a kind: the calendar against Python's own, and what is no such cell."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import Reason
from wardround.clinical.tables import ColumnKind
from wardround.clinical.tables.cells import (
    as_text,
    booleans,
    days,
    from_objects,
    numbers,
    texts,
    written_days,
)

NONE = np.zeros(1, dtype=np.bool_)


@given(st.lists(st.dates(), max_size=30), st.sampled_from(["", " 00:00:00", "T23:59:59.5+02:00"]))
def test_days_are_those_of_pythons_calendar(written: list[date], time: str) -> None:
    found = written_days(texts([day.isoformat() + time for day in written], None, ("",)))
    assert found.column.values.tolist() == [day.toordinal() for day in written]
    assert found.bad == ()


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True))
def test_only_days_that_exist_are_days(text: str) -> None:
    found = written_days(texts([text], None, ("",)))
    try:
        expected = [date.fromisoformat(text).toordinal()]
    except ValueError:
        assert found.bad == ((0, Reason.IMPOSSIBLE_DATE),)
        assert found.column.missing.all()
    else:
        assert found.column.values.tolist() == expected


@given(st.text(max_size=14))
def test_no_text_makes_the_calendar_crash(text: str) -> None:
    found = written_days(texts([text], None, ("",)))
    assert found.column.missing[0] == (len(found.bad) == 1 or not text.strip())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2020", Reason.INCOMPLETE_DATE),
        ("2020-05", Reason.INCOMPLETE_DATE),
        ("2020-05-01x", Reason.IMPOSSIBLE_DATE),
        ("٢٠٢٠-٠١-٠١", Reason.IMPOSSIBLE_DATE),
        ("01.05.2020", Reason.IMPOSSIBLE_DATE),
        ("0000-01-01", Reason.IMPOSSIBLE_DATE),
    ],
)
def test_what_is_no_day_says_why(text: str, reason: Reason) -> None:
    assert written_days(texts([text], None, ("",))).bad == ((0, reason),)
    assert from_objects(ColumnKind.DATE, [text], ("",)).bad == ((0, reason),)


def test_a_number_is_finite() -> None:
    found = numbers(np.array([1.5, math.nan, math.inf]), np.zeros(3, dtype=np.bool_))
    assert found.column.values.tolist() == [1.5, 0.0, 0.0]
    assert found.column.missing.tolist() == [False, True, True]
    assert found.bad == ((2, Reason.UNREADABLE_NUMBER),)


def test_a_day_is_in_the_calendar_and_a_truth_value_is_one_of_two() -> None:
    assert days(np.array([0]), NONE).bad == ((0, Reason.IMPOSSIBLE_DATE),)
    assert days(np.array([date.max.toordinal() + 1]), NONE).bad
    assert booleans(np.array([2]), NONE).bad == ((0, Reason.UNKNOWN_CATEGORY),)


def test_objects_of_the_wrong_type_are_set_aside() -> None:
    mixed = [None, 1, 2.5, Decimal("3.5"), True, "4", "n/a", b"5", math.inf, 10**400]
    found = from_objects(ColumnKind.NUMBER, mixed, ("", "n/a"))
    assert found.column.values[:4].tolist() == [0, 1, 2.5, 3.5]
    assert [at for at, _ in found.bad] == [4, 5, 7, 8, 9]
    assert np.flatnonzero(found.column.missing).tolist() == [0, 4, 5, 6, 7, 8, 9]
    truths = from_objects(ColumnKind.BOOLEAN, [0, 1, True, 2, "yes"], ())
    assert truths.column.values.tolist() == [False, True, True, False, False]
    assert [at for at, _ in truths.bad] == [3, 4]


def test_a_cell_as_a_person_would_write_it() -> None:
    cells = [12.0, 12.5, True, datetime(2020, 5, 1), datetime(2020, 5, 1, 8), Decimal("1E+2"), b"x"]
    written = ["12", "12.5", "true", "2020-05-01", "2020-05-01 08:00:00", "100", "x"]
    assert [as_text(cell) for cell in cells] == written
