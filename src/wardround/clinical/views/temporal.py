"""Dates, times of day and moments as FHIR writes them, of whatever precision.

A comparison whose answer depends on what was not written has no answer: FHIRPath's empty
collection (N1, sections "Equals" and "Comparison"). Seconds and their fraction are one component.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

_FORM = re.compile(
    r"(?:(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?)?"
    r"(?:(?P<mark>T?)(?P<hour>[0-9]{2})(?::(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2}(?:\.[0-9]{1,12})?))?)?(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?|(?P<bare>T))?"
)
_DATE_PARTS: Final = ("year", "month", "day")
_TIME_PARTS: Final = ("hour", "minute", "second")


@dataclass(frozen=True, slots=True)
class Temporal:
    """A date (parts of year, month, day), a moment (further parts) or a time of day (only those).

    ``zone`` is the offset from UTC in minutes; ``timed`` says that it is a moment, even where no
    part of its time was written.
    """

    text: str
    date: tuple[int, ...]
    time: tuple[int | Decimal, ...]
    zone: int | None
    timed: bool

    @classmethod
    def read(cls, text: str) -> Temporal | None:
        """Return what ``text`` says, or None where it is no date or time, or an impossible one."""
        found = _FORM.fullmatch(text)
        if found is None or not text:
            return None
        day = tuple(int(found[part]) for part in _DATE_PARTS if found[part] is not None)
        clock = tuple(_number(found[part]) for part in _TIME_PARTS if found[part] is not None)
        if not _possible(day, clock) or (day and clock and not found["mark"]):
            return None
        if not day and (found["bare"] or found["zone"] or (not found["mark"] and len(clock) < 2)):
            return None
        if clock and day and len(day) < 3:
            return None
        zone = _minutes(found["zone"])
        if zone is not None and abs(zone) > 14 * 60:
            return None
        written = text.removeprefix("T").removesuffix("T")
        return cls(written, day, clock, zone, bool(day and (clock or found["bare"])))

    def as_moment(self) -> Temporal:
        """The same where FHIR's type is dateTime, although only a date was written."""
        return Temporal(self.text, self.date, self.time, self.zone, timed=bool(self.date))

    def compare(self, other: Temporal) -> int | None:
        """Return -1, 0 or 1, or None where what was written does not tell.

        A date has no zone; beside a moment it means the day on the calendar of the moment's own.
        """
        if bool(self.date) != bool(other.date):
            return None
        mine, theirs = self._parts(), other._parts()
        if self.time and other.time and self.date:
            if (self.zone is None) != (other.zone is None):
                return None
            mine, theirs = self._at_utc(), other._at_utc()
        for a, b in zip(mine, theirs, strict=False):
            if a != b:
                return -1 if a < b else 1
        return 0 if len(mine) == len(theirs) else None

    def boundary(self, *, high: bool, digits: int | None) -> str | None:
        """Return the earliest or latest moment it can mean, cut to ``digits`` (FHIRPath 3.0).

        Digits count from the year (a day is 8, a minute 12, milliseconds 17) or, of a time of
        day, from the hour (9). Where no zone was written, the earliest moment is that of UTC+14
        and the latest that of UTC-12.
        """
        widths = _CLOCK_DIGITS if not self.date else _MOMENT_DIGITS if self.timed else _DAY_DIGITS
        wanted = widths[-1] if digits is None else digits
        if wanted not in widths:
            return None
        day = _filled_date(self.date, high=high) if self.date else ()
        clock = _filled_time(self.time, high=high) if self.timed or not self.date else ""
        written = "-".join(day) + ("T" if day and clock else "") + clock
        cut = written[: _LENGTHS[wanted] if self.date else _CLOCK_LENGTHS[wanted]]
        if self.timed and wanted > 8:
            cut += _zone_text(self.zone, high=high)
        return cut

    def _parts(self) -> tuple[int | Decimal, ...]:
        return (*self.date, *self.time)

    def _at_utc(self) -> tuple[int | Decimal, ...]:
        if not self.zone:
            return self._parts()
        year, month, day = self.date
        hour, minute = int(self.time[0]), int(self.time[1]) if len(self.time) > 1 else 0
        try:
            utc = datetime(year, month, day, hour, minute) - timedelta(minutes=self.zone)
        except OverflowError:  # a moment at the edge of the calendar
            return self._parts()
        moved = (utc.year, utc.month, utc.day, utc.hour, utc.minute)
        return (*moved[: 3 + len(self.time)], *self.time[2:])


_DAY_DIGITS = (4, 6, 8)
_MOMENT_DIGITS = (*_DAY_DIGITS, 10, 12, 14, 17)
_CLOCK_DIGITS = (2, 4, 6, 9)
_LENGTHS = {4: 4, 6: 7, 8: 10, 10: 13, 12: 16, 14: 19, 17: 23}
_CLOCK_LENGTHS = {2: 2, 4: 5, 6: 8, 9: 12}
_EARLIEST_ZONE, _LATEST_ZONE = 14 * 60, -12 * 60


def _number(digits: str) -> int | Decimal:
    return Decimal(digits) if "." in digits else int(digits)


def _possible(day: tuple[int, ...], clock: tuple[int | Decimal, ...]) -> bool:
    """Whether the calendar has the day, and the clock the time (61 seconds with a leap second)."""
    year, month, number = (*day, *(1, 1, 1)[len(day) :])
    try:
        date(year, month, number)
    except ValueError:
        return False
    return all(part < limit for part, limit in zip(clock, (24, 60, 61), strict=False))


def _minutes(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def _zone_text(zone: int | None, *, high: bool) -> str:
    if zone == 0:
        return "Z"
    minutes = zone if zone is not None else _LATEST_ZONE if high else _EARLIEST_ZONE
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _filled_date(day: tuple[int, ...], *, high: bool) -> tuple[str, ...]:
    year = day[0]
    month = day[1] if len(day) > 1 else 12 if high else 1
    last = calendar.monthrange(year, month)[1]
    number = day[2] if len(day) > 2 else last if high else 1
    return f"{year:04}", f"{month:02}", f"{number:02}"


def _filled_time(clock: tuple[int | Decimal, ...], *, high: bool) -> str:
    hour = clock[0] if clock else 23 if high else 0
    minute = clock[1] if len(clock) > 1 else 59 if high else 0
    whole, _, fraction = str(clock[2] if len(clock) > 2 else 59 if high else 0).partition(".")
    milliseconds = fraction[:3].ljust(3, "9" if high else "0")
    return f"{int(hour):02}:{int(minute):02}:{int(whole):02}.{milliseconds}"
