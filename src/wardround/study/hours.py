"""When a hospital computes at all: the table ``[hours]`` of hospital.toml.

Times are those on the hospital's clock. A window that closes earlier than it opens runs past
midnight and belongs to the day on which it opens; one that closes when it opens lasts a whole day.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from wardround.study.rules import Closed, Rule

_DAY = timedelta(days=1)
_CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


class Weekday(StrEnum):
    """A day of the week, in the order of `datetime.weekday`."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


def _known_zone(name: str | None) -> str | None:
    if name is not None:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, OSError) as error:  # a folder, say
            raise ValueError("no such time zone") from error
    return name


class Hours(Closed):
    """The hours of the day in which tasks are computed; outside, the agent waits."""

    opens: Annotated[
        str,
        Field(pattern=_CLOCK_PATTERN),
        Rule("WR-POLICY-073", "be a time of day", 'Write, for example, opens = "20:00".'),
    ]
    """When computing begins, as `HH:MM`."""

    closes: Annotated[
        str,
        Field(pattern=_CLOCK_PATTERN),
        Rule("WR-POLICY-074", "be a time of day", 'Write, for example, closes = "06:00".'),
    ]
    """When no further task is begun; earlier than `opens`, it is on the next day."""

    days: Annotated[
        tuple[Weekday, ...],
        Field(min_length=1),
        Rule(
            "WR-POLICY-075",
            "be a list of days of the week",
            'Write, for example, days = ["mon", "tue", "wed", "thu", "fri"], or leave it out.',
        ),
    ] = tuple(Weekday)
    """The days on which it opens."""

    time_zone: Annotated[
        str | None,
        AfterValidator(_known_zone),
        Rule(
            "WR-POLICY-076",
            "be the name of a time zone that this machine knows",
            'Write, for example, time_zone = "Europe/Berlin", or leave it out for the machine\'s.',
        ),
    ] = None
    """Whose clock it is; this machine's, if left out."""

    def is_open(self, now: datetime) -> bool:
        """Whether tasks are computed at this moment (an aware time)."""
        local = self.local(now)
        return any(
            begins <= local < begins + self._length for begins in self._openings(local, -_DAY)
        )

    def next_opening(self, now: datetime) -> datetime:
        """When it opens next, as the hospital's clock will show it, without a zone."""
        local = self.local(now)
        return min(begins for begins in self._openings(local, 8 * _DAY) if begins > local)

    def local(self, now: datetime) -> datetime:
        """What the hospital's clock shows at this moment, without a zone."""
        zone = None if self.time_zone is None else ZoneInfo(self.time_zone)
        return now.astimezone(zone).replace(tzinfo=None)

    @property
    def _length(self) -> timedelta:
        length = (_span(self.closes) - _span(self.opens)) % _DAY
        return length or _DAY

    def _openings(self, local: datetime, reach: timedelta) -> list[datetime]:
        """Every opening between midnight of this day and as far before or after it."""
        midnight = datetime.combine(local.date(), time())
        step = 1 if reach > timedelta() else -1
        days = [midnight + step * number * _DAY for number in range(abs(reach // _DAY) + 1)]
        order = tuple(Weekday)
        return [day + _span(self.opens) for day in days if order[day.weekday()] in self.days]


def _span(clock: str) -> timedelta:
    hours, minutes = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
