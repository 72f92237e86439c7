"""The hours of the day: windows over midnight, days on which they open, summer time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.study.hours import Hours, Weekday

NIGHTS = {"opens": "20:00", "closes": "06:00", "days": ["mon", "fri"], "time_zone": "UTC"}
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def hours(**keys: object) -> Hours:
    return Hours.model_validate_json(json.dumps(NIGHTS | keys))


def at(day: int, clock: str) -> datetime:
    hour, minute = map(int, clock.split(":"))
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("day", "clock", "is_open"),
    [
        (0, "19:59", False),
        (0, "20:00", True),
        (1, "05:59", True),  # Monday's window runs into Tuesday
        (1, "06:00", False),
        (1, "20:00", False),  # and Tuesday has none
        (0, "05:00", False),  # nor has Sunday
        (5, "05:00", True),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens(day, clock, is_open):
    assert hours().is_open(at(day, clock)) is is_open


def test_a_window_within_a_day():
    day = hours(opens="08:00", closes="12:00")
    assert [day.is_open(at(0, clock)) for clock in ("07:59", "08:00", "11:59", "12:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_window_that_closes_when_it_opens_lasts_a_day():
    whole = hours(opens="00:00", closes="00:00", days=["mon"])
    assert whole.is_open(at(0, "00:00")) and whole.is_open(at(0, "23:59"))
    assert not whole.is_open(at(1, "00:00"))


def test_the_next_opening_is_days_away_if_need_be():
    assert hours().next_opening(at(0, "20:00")) == datetime(2026, 11, 27, 20)  # not this one
    assert hours(days=["mon"]).next_opening(at(0, "20:00")) == datetime(2026, 11, 30, 20)


def test_the_clock_is_the_zones_and_follows_summer_time():
    berlin = hours(opens="20:00", closes="06:00", days=[*Weekday], time_zone="Europe/Berlin")
    assert berlin.is_open(datetime(2026, 1, 5, 19, 0, tzinfo=UTC))  # 20:00 in winter
    assert not berlin.is_open(datetime(2026, 1, 5, 18, 59, tzinfo=UTC))
    assert berlin.is_open(datetime(2026, 7, 6, 18, 0, tzinfo=UTC))  # 20:00 in summer
    assert not berlin.is_open(datetime(2026, 7, 6, 17, 59, tzinfo=UTC))


CLOCKS = st.times().map(lambda one: one.strftime("%H:%M"))


@given(
    CLOCKS,
    CLOCKS,
    st.sets(st.sampled_from(list(Weekday)), min_size=1),
    st.integers(0, 14 * 24 * 60),
)
def test_it_is_open_at_its_next_opening_and_not_before(opens, closes, days, minute):
    one = hours(opens=opens, closes=closes, days=sorted(days))
    now = MONDAY + timedelta(minutes=minute)
    opening = one.next_opening(now).replace(tzinfo=UTC)
    assert now < opening <= now + timedelta(days=8)
    assert one.is_open(opening)
    if not one.is_open(now):
        just_before = opening - timedelta(minutes=1)
        assert just_before <= now or not one.is_open(just_before)
