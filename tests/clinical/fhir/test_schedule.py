"""When a source is read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical.fhir import due

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
SECONDS = st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds))


def test_what_was_never_read_is_due() -> None:
    assert due(None, timedelta(days=1), NOW)


@given(SECONDS, SECONDS)
def test_a_source_is_due_once_the_time_has_passed(age: timedelta, every: timedelta) -> None:
    assert due(NOW - age, every, NOW) == (age >= every)


@given(SECONDS)
def test_a_clock_that_was_put_back_delays_nothing(ahead: timedelta) -> None:
    assert due(NOW + ahead + timedelta(seconds=1), timedelta(days=1), NOW)
