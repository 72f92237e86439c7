"""Cells brought to a column's kind: what does not fit is missing, and said to be so.

Every source ends here, so that a number, a text, a day or a yes means the same from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.dates import read_fhir_date
from wardround.clinical.quarantine import Reason
from wardround.clinical.tables.table import Column, ColumnKind

_LAST_DAY = date.max.toordinal()
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, repr=False, eq=False)
class Cells:
    """A column and what was wrong in it: index into the batch, reason."""

    column: Column
    bad: tuple[tuple[int, Reason], ...] = ()


def numbers(values: NDArray[np.float64], missing: NDArray[np.bool_]) -> Cells:
    """Return finite numbers; NaN is what some writers put for *no value*, infinity is no number."""
    missing = missing | np.isnan(values)
    wrong = np.isinf(values) & ~missing
    return _cells(values, missing, wrong, Reason.UNREADABLE_NUMBER)


def days(ordinals: NDArray[np.int64], missing: NDArray[np.bool_]) -> Cells:
    """Return days of the years 1 to 9999; databases also know infinity and years before 1."""
    wrong = ((ordinals < 1) | (ordinals > _LAST_DAY)) & ~missing
    return _cells(ordinals, missing, wrong, Reason.IMPOSSIBLE_DATE)


def booleans(values: NDArray[Any], missing: NDArray[np.bool_]) -> Cells:
    """Return truth values, which some databases write as 0 and 1."""
    wrong = (values != 0) & (values != 1) & ~missing
    return _cells(values == 1, missing, wrong, Reason.UNKNOWN_CATEGORY)


def texts(
    values: Sequence[str], missing: NDArray[np.bool_] | None, markers: Collection[str]
) -> Cells:
    """Return stripped text; whatever the steward lists in ``markers`` is missing."""
    stripped = list(map(str.strip, values))
    absent = np.fromiter(map(frozenset(markers).__contains__, stripped), np.bool_, len(stripped))
    if missing is not None:
        absent |= missing
    column = np.empty(len(stripped), dtype=object)
    column[:] = stripped
    column[absent] = ""
    return Cells(Column(column, absent))


def written_days(texts_read: Cells) -> Cells:
    """Return the days of text in ISO 8601; a time of day after it is left out."""
    column = texts_read.column
    present = np.flatnonzero(~column.missing)
    ordinals = np.zeros(len(column), dtype=np.int64)
    written: list[str] = column.values[present].tolist()
    found, valid = _iso_days(written)
    ordinals[present] = found
    bad = []
    for at in np.flatnonzero(~valid):
        day = read_fhir_date(written[at])
        bad.append((int(present[at]), day if isinstance(day, Reason) else Reason.IMPOSSIBLE_DATE))
    missing = column.missing.copy()
    missing[present[~valid]] = True
    return Cells(Column(ordinals, missing), tuple(bad))


def from_objects(kind: ColumnKind, cells: Sequence[object], markers: Collection[str]) -> Cells:
    """Return Python values, as a database cursor or a spreadsheet hands them over."""
    if kind is ColumnKind.TEXT:
        missing = np.fromiter((cell is None for cell in cells), np.bool_, len(cells))
        return texts([as_text(cell) for cell in cells], missing, markers)
    convert, reason, dtype = _CONVERSIONS[kind]
    values = np.zeros(len(cells), dtype=dtype)
    missing = np.zeros(len(cells), dtype=np.bool_)
    bad = []
    for at, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and cell.strip() in markers):
            missing[at] = True
            continue
        value = convert(cell)
        if isinstance(value, Reason) or value is None:
            missing[at] = True
            bad.append((at, value or reason))
        else:
            values[at] = value
    if kind is ColumnKind.NUMBER:
        rest = numbers(values, missing)
        return Cells(rest.column, tuple(sorted((*bad, *rest.bad))))
    return Cells(Column(values, missing), tuple(bad))


def as_text(cell: object) -> str:
    """Return a cell as a person would write it: 12 for 12.0, 2020-05-01 for that midnight.

    Raises:
        UnicodeDecodeError: where bytes are not UTF-8.
    """
    match cell:
        case str():
            return cell
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
        case Decimal():
            return format(cell, "f")
        case datetime():
            midnight = (cell.hour, cell.minute, cell.second, cell.microsecond) == (0, 0, 0, 0)
            return cell.date().isoformat() if midnight else cell.isoformat(" ")
        case bytes():
            return cell.decode()
        case _:
            return str(cell)


def _cells(
    values: NDArray[Any], missing: NDArray[np.bool_], wrong: NDArray[np.bool_], reason: Reason
) -> Cells:
    absent = missing | wrong
    if absent.any():
        values = np.where(absent, np.zeros((), dtype=values.dtype), values)
    bad = tuple((int(at), reason) for at in np.flatnonzero(wrong))
    return Cells(Column(values, absent), bad)


def _iso_days(written: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read ``YYYY-MM-DD`` by its ten code points; the calendar is NumPy's, proleptic Gregorian."""
    if not written:
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    points = np.array(written, dtype="U10").view(np.uint32).reshape(len(written), 10)
    digits = points[:, [0, 1, 2, 3, 5, 6, 8, 9]].astype(np.int64) - ord("0")
    tails = [text[10:] for text in written]
    times = {tail: _is_time(tail) for tail in set(tails)}
    valid = (
        ((digits >= 0) & (digits <= 9)).all(axis=1)
        & (points[:, [4, 7]] == ord("-")).all(axis=1)
        & np.fromiter(map(times.__getitem__, tails), np.bool_, len(tails))
    )
    digits[~valid] = (0, 0, 0, 1, 0, 1, 0, 1)
    year = digits[:, :4] @ np.array([1000, 100, 10, 1])
    month, day = digits[:, 4] * 10 + digits[:, 5], digits[:, 6] * 10 + digits[:, 7]
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    dates = months.astype("datetime64[D]") + (day - 1)
    valid &= (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
    valid &= dates.astype("datetime64[M]") == months
    return dates.astype(np.int64) + _EPOCH, valid


def _is_time(tail: str) -> bool:
    return not tail or (tail[0] in " T" and all(mark in "0123456789:.+-Z" for mark in tail[1:]))


def _number(cell: object) -> float | None:
    if isinstance(cell, int | float | Decimal) and not isinstance(cell, bool):
        try:
            return float(cell)
        except OverflowError:
            return None
    return None


def _day(cell: object) -> int | Reason | None:
    if isinstance(cell, date):
        return cell.toordinal()
    if not isinstance(cell, str):
        return None
    found, valid = _iso_days([cell.strip()])
    if valid[0]:
        return int(found[0])
    day = read_fhir_date(cell.strip())
    return day if isinstance(day, Reason) else None


def _truth(cell: object) -> bool | None:
    return bool(cell) if isinstance(cell, bool | int) and cell in (0, 1) else None


_CONVERSIONS: dict[
    ColumnKind, tuple[Callable[[object], float | Reason | None], Reason, type[np.generic]]
] = {
    ColumnKind.NUMBER: (_number, Reason.UNREADABLE_NUMBER, np.float64),
    ColumnKind.DATE: (_day, Reason.IMPOSSIBLE_DATE, np.int64),
    ColumnKind.BOOLEAN: (_truth, Reason.UNKNOWN_CATEGORY, np.bool_),
}
