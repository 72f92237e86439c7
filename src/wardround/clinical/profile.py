"""What one field of one source looks like: the facts that a suggestion or a check goes by."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.clinical import cell_shapes
from wardround.clinical.headers import split_header
from wardround.clinical.numbers import DecimalMark

MAX_CATEGORIES: Final = 50
"""Texts counted one by one; a field with more is described by its most frequent ones."""

QUANTILES: Final = 21
"""At 0, 5, ..., 100 %."""

BINS: Final = 28
"""The bins of equal width in which values are counted, at most."""

_SAMPLES: Final = 5
_MOST: Final = 0.9
"""The share of values that must look alike for the field to count as of that kind: real columns
hold a few cells such as *haemolytic* among their numbers."""


class FieldKind(StrEnum):
    """What a field's values look like, whatever its type is declared to be."""

    NUMBER = "number"
    TEXT = "text"
    CATEGORY = "category"
    CODE = "code"
    DATE = "date"
    BOOLEAN = "boolean"
    IDENTIFIER = "identifier"
    EMPTY = "empty"


class Cells(Protocol):
    """A column's values and what of them is missing, both of shape ``(rows,)``.

    ``values`` are float64, an object array of ``str``, int64 (proleptic Gregorian ordinals) or
    bool. Where ``missing`` is set the value means nothing.
    """

    @property
    def values(self) -> NDArray[Any]:
        """The cells."""

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Whether a cell is missing."""


@dataclass(frozen=True, repr=False)
class FieldProfile:
    """What one field of one source looks like.

    Holds values: it never leaves the hospital, and its repr shows none.

    ``source`` is the source's name in the mapping, ``field`` the column's (or, in FHIR, a type and
    a code), ``declared`` its type as the source states it, ``codes`` the (system, code) pairs that
    identify the field. ``units`` counts the units that the source states. ``quantiles`` are 21
    values at 0, 5, ..., 100 % of numbers or of dates (as ordinals), ``bins`` how many of them lie
    in each of up to 28 equal bins from the least to the greatest, ``zeros`` the exact zeros among
    numbers. ``presence`` says that the rows have no value of their own, as of a diagnosis: that
    there are ``rows`` of them is all they say. ``categories`` are up to 50 most frequent texts, as
    the source writes them; none for dates, for identifiers and for numbers with more than 50
    distinct values. ``date_formats`` read every value that is a date at all; more than one means
    that the field is ambiguous. ``decimal_marks`` likewise for numbers written as text.
    ``samples`` are five values as the source writes them, for the steward's screen only.
    """

    source: str
    field: str
    description: str | None
    declared: str
    codes: tuple[tuple[str, str], ...]
    kind: FieldKind
    rows: int
    missing: int
    distinct: int
    units: Mapping[str, int] = dataclasses.field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    zeros: int = 0
    categories: Mapping[str, int] = dataclasses.field(default_factory=dict)
    date_formats: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    decimal_marks: tuple[DecimalMark, ...] = ()
    bins: tuple[int, ...] = ()
    presence: bool = False

    def __repr__(self) -> str:
        return f"FieldProfile({self.source!r}, {self.field!r}, {self.kind}, {self.rows} rows)"

    @property
    def present(self) -> int:
        """How many cells hold something."""
        return self.rows - self.missing


def profile_column(
    source: str,
    name: str,
    column: Cells,
    *,
    description: str | None = None,
    declared: str = "",
    unit_text: str | Iterable[str | None] | None = None,
    codes: Iterable[tuple[str, str]] = (),
) -> FieldProfile:
    """Describe a column.

    ``unit_text`` is the column's unit, or the unit of each row where the source has them in a
    column of their own. Where it states none, a unit in the column's name counts: ``Größe [cm]``.
    """
    missing = np.asarray(column.missing, dtype=np.bool_)
    values = np.asarray(column.values)[~missing]
    found = _describe(name, values)
    return FieldProfile(
        source=source,
        field=name,
        description=description,
        declared=declared,
        codes=tuple(codes),
        rows=len(missing),
        missing=len(missing) - found.present,
        units=_units(name, description, unit_text, missing, found.present),
        kind=found.kind,
        distinct=found.distinct,
        quantiles=_quantiles(found.numbers),
        zeros=found.zeros,
        categories=found.categories,
        date_formats=found.date_formats,
        samples=found.samples,
        decimal_marks=found.decimal_marks,
        bins=count_in_bins(found.numbers),
    )


@dataclass(repr=False)
class _Found:
    """What the present values tell; ``numbers`` are sorted by nobody and may be empty."""

    kind: FieldKind
    present: int
    distinct: int = 0
    numbers: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    zeros: int = 0
    categories: Mapping[str, int] = dataclasses.field(default_factory=dict)
    date_formats: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    decimal_marks: tuple[DecimalMark, ...] = ()


def _describe(name: str, values: NDArray[Any]) -> _Found:
    if values.dtype == np.bool_:
        return _of_booleans(values)
    if np.issubdtype(values.dtype, np.floating):
        return _of_numbers(name, values.astype(np.float64))
    if np.issubdtype(values.dtype, np.integer):
        return _of_ordinals(values)
    return _of_texts(name, values)


def _of_booleans(values: NDArray[np.bool_]) -> _Found:
    if not len(values):
        return _Found(FieldKind.EMPTY, 0)
    true = int(np.count_nonzero(values))
    counts = {"true": true, "false": len(values) - true}
    counts = {text: count for text, count in counts.items() if count}
    return _Found(
        FieldKind.BOOLEAN, len(values), len(counts), categories=counts, samples=tuple(counts)
    )


def _of_numbers(name: str, values: NDArray[np.float64]) -> _Found:
    values = values[np.isfinite(values)]
    if not len(values):
        return _Found(FieldKind.EMPTY, 0)
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    found = _Found(FieldKind.NUMBER, len(values), len(distinct), values)
    found.zeros = int(np.count_nonzero(values == 0))
    found.samples = tuple(f"{number:.12g}" for number in values[np.sort(first)[:_SAMPLES]])
    if cell_shapes.days_as_numbers(distinct):
        days = cell_shapes.compact_days(values)
        return _Found(
            FieldKind.DATE,
            len(values),
            len(distinct),
            days,
            date_formats=("YYYYMMDD",),
            samples=found.samples,
        )
    named = cell_shapes.named_like_an_id(name)
    running = cell_shapes.running_numbers(distinct, len(values), named)
    if running or (cell_shapes.names_somebody(name) and not np.any(distinct % 1)):
        found.kind = FieldKind.IDENTIFIER
        return found
    if np.array_equal(distinct, (0.0, 1.0)):
        found.kind = FieldKind.BOOLEAN
    elif cell_shapes.concept_numbers(name, distinct):
        found.kind = FieldKind.CODE
    if len(distinct) <= MAX_CATEGORIES:
        order = np.lexsort((distinct, -counts))
        found.categories = {f"{distinct[at]:.12g}": int(counts[at]) for at in order}
    return found


def _of_ordinals(values: NDArray[Any]) -> _Found:
    if not len(values):
        return _Found(FieldKind.EMPTY, 0)
    distinct, first = np.unique(values, return_index=True)
    shown = values[np.sort(first)[:_SAMPLES]].tolist()
    days = values.astype(np.float64)
    samples = tuple(_day(ordinal) for ordinal in shown)
    return _Found(FieldKind.DATE, len(values), len(distinct), days, samples=samples)


def _day(ordinal: int) -> str:
    in_calendar = 1 <= ordinal <= date.max.toordinal()
    return date.fromordinal(ordinal).isoformat() if in_calendar else str(ordinal)


def _of_texts(name: str, values: NDArray[Any]) -> _Found:
    # Counter keeps the order in which texts were first seen; all that follows works on distinct
    # texts, so that a million cells of *m* and *f* cost two looks.
    counts = Counter(text for text in map(str, values.tolist()) if text)
    present = sum(counts.values())
    if not present:
        return _Found(FieldKind.EMPTY, 0)
    samples = tuple(text for text, _ in zip(counts, range(_SAMPLES), strict=False))
    found = _Found(FieldKind.TEXT, present, len(counts), samples=samples)
    unique = cell_shapes.share(counts, cell_shapes.is_unique_id) >= _MOST
    if unique or cell_shapes.names_somebody(name):
        found.kind = FieldKind.IDENTIFIER
        return found
    days = cell_shapes.read_days(counts)
    if days.share >= _MOST:
        found.kind, found.date_formats, found.numbers = FieldKind.DATE, days.formats, days.ordinals
        return found
    numbers = cell_shapes.read_numbers(counts)
    if numbers.share >= _MOST and not cell_shapes.padded(counts):
        found = _of_numbers(name, numbers.values)
        found.present, found.distinct, found.samples = present, len(counts), samples
        found.decimal_marks = numbers.decimal_marks
        if found.categories:
            found.categories = _most_frequent(counts)
        return found
    found.kind = _kind_of_words(name, counts, present)
    if found.kind is not FieldKind.IDENTIFIER:
        found.categories = _most_frequent(counts)
    return found


def _kind_of_words(name: str, counts: Counter[str], present: int) -> FieldKind:
    if cell_shapes.are_yes_and_no(counts):
        return FieldKind.BOOLEAN
    if cell_shapes.share(counts, cell_shapes.is_code) >= _MOST:
        return FieldKind.CODE
    one_word = cell_shapes.share(counts, cell_shapes.is_one_word) >= _MOST
    unique = len(counts) >= 0.95 * present and present >= 20
    if one_word and (unique or (cell_shapes.named_like_an_id(name) and len(counts) > 50)):
        return FieldKind.IDENTIFIER
    if len(counts) <= MAX_CATEGORIES and (len(counts) <= 0.5 * present or present < 20):
        return FieldKind.CATEGORY
    return FieldKind.TEXT


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:MAX_CATEGORIES])


def _quantiles(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    if not len(numbers):
        return ()
    return tuple(np.quantile(numbers, np.linspace(0, 1, QUANTILES)).tolist())


def count_in_bins(numbers: NDArray[np.float64]) -> tuple[int, ...]:
    """How many numbers lie in each of up to 28 equal bins from the least to the greatest.

    Of numbers of up to three decimals each bin spans equally many possible values, so that no bin
    is taller only because one more of them falls into it.
    """
    if not len(numbers):
        return ()
    low, high = float(numbers.min()), float(numbers.max())
    with np.errstate(all="ignore"):
        if not 0 < high - low < np.inf:
            return (len(numbers),)
        bins, places = BINS, (numbers - low) / (high - low) * BINS
        for scale in (1.0, 10.0, 100.0, 1000.0):
            steps = (numbers - low) * scale
            whole = np.rint(steps)
            if whole.max() < 2**40 and bool(np.all(np.abs(steps - whole) < 1e-6)):
                width = whole.max() // BINS + 1
                bins, places = int(whole.max() // width) + 1, whole // width
                break
    where = np.clip(places, 0, bins - 1).astype(np.int64)
    return tuple(np.bincount(where, minlength=bins).tolist())


def _units(
    name: str,
    description: str | None,
    unit_text: str | Iterable[str | None] | None,
    missing: NDArray[np.bool_],
    present: int,
) -> dict[str, int]:
    if unit_text is None or isinstance(unit_text, str):
        stated = (unit_text or "").strip() or split_header(name).unit
        if stated is None and description is not None:
            stated = split_header(description).unit
        return {} if stated is None else {stated: present}
    rows = zip(unit_text, missing.tolist(), strict=True)
    counts = Counter(text.strip() for text, absent in rows if not absent and text)
    counts.pop("", None)
    return _most_frequent(counts)
