"""Calendar dates as hospitals write them, and ages in completed years.

A format is written the way a steward would say it (``DD.MM.YYYY``). ``strptime`` is not used: it
accepts partly matching digits, guesses two-digit years and depends on the locale.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from wardround.clinical.quarantine import Reason

_TOKENS = {
    "YYYY": r"(?P<year>[0-9]{4})",
    "MM": r"(?P<month>[0-9]{2})",
    "DD": r"(?P<day>[0-9]{2})",
    "M": r"(?P<month>[0-9]{1,2})",
    "D": r"(?P<day>[0-9]{1,2})",
    "hh": r"(?:[01][0-9]|2[0-3])",
    "mm": r"[0-5][0-9]",
    "ss": r"[0-5][0-9]",
}
_TOKEN = re.compile("|".join(_TOKENS))
_FHIR_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T[0-9:.+\-Z]+)?)?)?")


class DateFormat:
    """A date's written form: YYYY, MM or M, DD or D, optionally hh, mm, ss, and separators."""

    def __init__(self, text: str) -> None:
        """Compile a format.

        Raises:
            ValueError: where year, month and day are not each named once, or a letter or digit
                stands between them. A two-digit year is refused: its century would be a guess.
        """
        tokens = list(_TOKEN.finditer(text))
        if sorted(token[0][0] for token in tokens if token[0][0] in "DMY") != ["D", "M", "Y"]:
            raise ValueError("year, month and day must each be named once")
        pattern, end, unpadded = "", 0, False
        for token in tokens:
            between = text[end : token.start()]
            if end and not between and (unpadded or len(token[0]) == 1):
                raise ValueError("a day or month without leading zero needs a separator")
            pattern += _separator(between) + _TOKENS[token[0]]
            end, unpadded = token.end(), len(token[0]) == 1
        self.text = text
        self._pattern = re.compile(pattern + _separator(text[end:]))

    def read(self, text: str) -> int | Reason:
        """Return the day's proleptic Gregorian ordinal, or why there is none."""
        found = self._pattern.fullmatch(text)
        if found is None:
            return Reason.IMPOSSIBLE_DATE
        return _ordinal(int(found["year"]), int(found["month"]), int(found["day"]))


def read_fhir_date(text: str) -> int | Reason:
    """Read a FHIR ``date`` or ``dateTime``; the day is the one that was written, in its own zone.

    FHIR allows a year or a month alone; such a date is set aside rather than completed by guess.
    """
    found = _FHIR_DATE.fullmatch(text)
    if found is None:
        return Reason.IMPOSSIBLE_DATE
    year, month, day = found.groups()
    if day is None:
        return Reason.INCOMPLETE_DATE
    return _ordinal(int(year), int(month), int(day))


def read_fhir_moment(text: str) -> float | None:
    """Return a FHIR ``dateTime`` as an ordinal with the time of day as a fraction, in UTC.

    A date alone is its midnight; None for a month, a year or no date at all. It only serves to
    tell which of two values is the later one.
    """
    found = _FHIR_DATE.fullmatch(text)
    if found is None or found[3] is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    day = float(moment.toordinal())
    day += (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86400
    offset = moment.utcoffset()
    return day if offset is None else day - offset.total_seconds() / 86400


def completed_years(birth: int, index: int) -> int | Reason:
    """Return the age in completed years on the index day (both proleptic Gregorian ordinals).

    Someone born on 29 February completes a year on 1 March of common years.
    """
    if index < birth:
        return Reason.IMPOSSIBLE_DATE
    born, now = date.fromordinal(birth), date.fromordinal(index)
    return now.year - born.year - ((now.month, now.day) < (born.month, born.day))


def _separator(text: str) -> str:
    if any(mark.isalnum() and mark != "T" for mark in text):
        raise ValueError("only YYYY, MM, M, DD, D, hh, mm, ss and separators make a date format")
    return re.escape(text)


def _ordinal(year: int, month: int, day: int) -> int | Reason:
    try:
        return date(year, month, day).toordinal()
    except ValueError:
        return Reason.IMPOSSIBLE_DATE
