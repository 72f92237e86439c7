"""One raw column into numbers: each patient gets one value in the concept's unit, or a reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from wardround.clinical.dates import DateFormat, read_fhir_date
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.mapping import CsvField, FhirField
from wardround.clinical.numbers import DecimalMark, read_number
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.sources.extract import Extract, RawValue
from wardround.clinical.units import UnitPath

Read: TypeAlias = float | Reason
"""A value in a feature table's form, or why there is none."""


@dataclass(repr=False)
class Values:
    """One concept's values and failures by patient; a patient may be in both and then has failed.

    ``steps`` says in words how the values were obtained, ``found`` counts those read.
    """

    concept: str
    values: dict[str, float] = field(default_factory=dict)
    failures: dict[str, SetAside] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    found: int = 0

    def fail(self, patient: str, reason: Reason, where: str) -> None:
        """Record why a patient has no value; the first reason stands."""
        self.failures.setdefault(patient, SetAside(reason, where, self.concept))


def read_column(
    extract: Extract,
    mapped: CsvField | FhirField,
    graph: ConceptGraph,
    *,
    decimal: DecimalMark,
    today: int,
) -> Values:
    """Read every value found for a mapped field as the field's concept.

    ``decimal`` is the source's decimal mark; dates after ``today`` (a proleptic Gregorian ordinal)
    are impossible. Where a patient has several values they must agree: to choose one of them
    would be a guess.
    """
    concept = graph.concept(mapped.concept)
    raw = extract.columns[concept.id]
    units = _Units(concept, graph)
    read_one = _reader(mapped, concept, decimal, today)
    readings = [read_one(value) for value in raw.values]
    if concept.type is ConceptType.NUMERIC and concept.unit is not None:
        readings = units.convert(readings, raw.units)
    column = Values(concept.id, found=len(raw))
    low, high = concept.plausible or (-math.inf, math.inf)
    for patient, reading, place in zip(raw.patients, readings, raw.places, strict=True):
        if isinstance(reading, Reason):
            column.fail(patient, reading, extract.where(place))
        elif not low <= reading <= high:
            column.fail(patient, Reason.OUTSIDE_PLAUSIBLE_RANGE, extract.where(place))
        elif column.values.setdefault(patient, reading) != reading:
            column.fail(patient, Reason.CONFLICTING_VALUES, extract.where(place))
    column.steps = (mapped.words(), *units.words(), *_range_words(concept))
    return column


class _Units:
    """Converts each value from the unit that it states; paths are found once per unit."""

    def __init__(self, concept: Concept, graph: ConceptGraph) -> None:
        self._concept = concept
        self._graph = graph
        self._paths: dict[str | None, UnitPath | None] = {None: None}
        self._counts: Counter[str] = Counter()

    def convert(self, readings: list[Read], units: list[str | None]) -> list[Read]:
        converted: list[Read] = list(readings)
        by_unit: dict[str | None, list[int]] = {}
        for index, (reading, unit) in enumerate(zip(readings, units, strict=True)):
            if not isinstance(reading, Reason):
                by_unit.setdefault(unit, []).append(index)
        for unit, indices in by_unit.items():
            path = self._path(unit)
            if path is None:
                for index in indices:
                    converted[index] = Reason.UNKNOWN_UNIT
                continue
            values = path.apply(np.array([readings[index] for index in indices], dtype=np.float64))
            for index, value in zip(indices, values.tolist(), strict=True):
                converted[index] = value
            self._counts[path.words()] += len(indices)
        return converted

    def words(self) -> list[str]:
        return [f"{words}, {count} values" for words, count in sorted(self._counts.items())]

    def _path(self, unit: str | None) -> UnitPath | None:
        concept = self._concept
        if unit not in self._paths and unit is not None and concept.unit is not None:
            self._paths[unit] = self._graph.find_path(unit, concept.unit, concept.id)
        return self._paths[unit]


def _reader(
    mapped: CsvField | FhirField, concept: Concept, decimal: DecimalMark, today: int
) -> Callable[[RawValue], Read]:
    if concept.type is ConceptType.NUMERIC:
        return lambda value: _number(value, decimal)
    if concept.type is ConceptType.DATE:
        written = getattr(mapped, "date_format", None)
        read_date = read_fhir_date if written is None else DateFormat(written).read
        return lambda value: _date(value, read_date, today)
    value_map = mapped.value_map or {}
    return lambda value: _category(value, value_map)


def _number(value: RawValue, decimal: DecimalMark) -> Read:
    if isinstance(value, Reason):
        return value
    if isinstance(value, bool):
        return Reason.UNREADABLE_NUMBER
    if isinstance(value, str):
        return read_number(value, decimal)
    number = float(value)
    return number if math.isfinite(number) else Reason.UNREADABLE_NUMBER


def _date(value: RawValue, read: Callable[[str], int | Reason], today: int) -> Read:
    if isinstance(value, Reason):
        return value
    day = read(value) if isinstance(value, str) else Reason.IMPOSSIBLE_DATE
    return Reason.IMPOSSIBLE_DATE if not isinstance(day, Reason) and day > today else day


def _category(value: RawValue, value_map: dict[str, bool]) -> Read:
    if isinstance(value, Reason):
        return value
    if isinstance(value, bool):
        return float(value)
    known = value_map.get(value) if isinstance(value, str) else None
    return Reason.UNKNOWN_CATEGORY if known is None else float(known)


def _range_words(concept: Concept) -> list[str]:
    if concept.plausible is None or concept.type is not ConceptType.NUMERIC:
        return []
    low, high = concept.plausible
    return [f"kept within {low:g} to {high:g} {concept.unit or ''}".rstrip()]
