"""Text into numbers: what a field's written values are in a feature table.

A hospital writes the same few thousand values a million times, so each distinct text is read once
and the rest are looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.dates import DateFormat, read_fhir_date
from wardround.clinical.facts import CODE_OF
from wardround.clinical.numbers import DecimalMark, read_number
from wardround.clinical.quarantine import Reason

Read: TypeAlias = float | Reason
"""A value in a feature table's form, or why there is none."""

ReadMany: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int8]]
"""Values and the codes of their reasons (0 where there is a value)."""

_MOST_REMEMBERED = 1 << 20


class TextReader(dict[str, int]):
    """Reads texts by ``read``, each distinct one once."""

    def __init__(self, read: Callable[[str], Read]) -> None:
        super().__init__()
        self._read = read
        self._values: list[float] = []
        self._reasons: list[int] = []

    def __missing__(self, text: str) -> int:
        """Read a text that was not seen before."""
        found = self._read(text)
        good = not isinstance(found, Reason)
        self._values.append(float(found) if good else 0.0)
        self._reasons.append(0 if good else CODE_OF[found])  # type: ignore[index]
        place = self[text] = len(self._values) - 1
        return place

    def read_one(self, text: str) -> Read:
        """The value of one text."""
        return self._read(text)

    def read_many(self, texts: NDArray[np.object_]) -> ReadMany:
        """The values of texts, shape (n,)."""
        if len(self._values) > _MOST_REMEMBERED:
            self.clear()
            self._values.clear()
            self._reasons.clear()
        places = np.fromiter(map(self.__getitem__, texts.tolist()), np.int64, len(texts))
        if not len(places):
            return np.empty(0), np.empty(0, np.int8)
        return np.array(self._values)[places], np.array(self._reasons, np.int8)[places]


def numbers(decimal: DecimalMark) -> TextReader:
    """Numbers with a decimal mark."""
    return TextReader(lambda text: read_number(text, decimal))


def dates(written: str | None, today: int) -> TextReader:
    """Days in a written form (None: as FHIR writes them), none of them after ``today``."""
    read = read_fhir_date if written is None else DateFormat(written).read

    def day(text: str) -> Read:
        found = read(text)
        return Reason.IMPOSSIBLE_DATE if not isinstance(found, Reason) and found > today else found

    return TextReader(day)


def mapped(codes: Mapping[str, float]) -> TextReader:
    """Values that a value map names, and no others."""
    return TextReader(lambda text: codes.get(text, Reason.UNKNOWN_CATEGORY))


def check_days(days: NDArray[np.int64], today: int) -> ReadMany:
    """Days that a source hands over as days."""
    late = days > today
    reasons = np.where(late, CODE_OF[Reason.IMPOSSIBLE_DATE], 0).astype(np.int8)
    return np.where(late, 0.0, days.astype(np.float64)), reasons
