"""FHIR R4 resources, one JSON object per line (NDJSON, as Bulk Data exports write them).

Of each resource only what the mapping names is looked at. Resources are not validated against the
whole standard (at 7k resources/s that would be the slowest step by far): each element that is
used is checked where it is used, and an element of an unexpected shape counts as absent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias

import orjson

from wardround.clinical.mapping import (
    BIRTH_DATE,
    OBSERVATION_DATE,
    FhirField,
    FhirSource,
)
from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.sources.extract import Extract, RawColumn, RawValue
from wardround.clinical.sources.lines import (
    LineReader,
    check_unreadable_share,
    empty,
    truncated,
    wrong_encoding,
)
from wardround.trust.canonical import JSON

UCUM = "http://unitsofmeasure.org"
# A tuple, because a malformed status may be unhashable.
USABLE_STATUS = ("final", "amended", "corrected")

_Object: TypeAlias = dict[str, JSON]


def read_fhir(source: FhirSource, folder: Path, concepts: Collection[str]) -> Extract:
    """Read the fields mapped to ``concepts`` from all files of ``source``.

    A patient is one whom a Patient resource or a mapped Observation names.

    Raises:
        WardroundError: ``WR-DATA-010`` to ``-013`` and ``-017`` for a file that can't be read,
            ``-016`` where too many lines are no resources.
    """
    reading = _Reading(tuple(field for field in source.fields if field.concept in concepts))
    for name in source.files:
        reading.read(folder / name, name)
    total = sum(file.lines for file in reading.files)
    check_unreadable_share(source.name, reading.unreadable, total, source.maximum_unreadable_share)
    if not reading.patients:
        raise empty(source.name)
    return Extract(
        source.name,
        tuple(reading.files),
        reading.patients,
        reading.columns,
        tuple(reading.set_aside),
    )


class _Reading:
    """What has been read so far from one source."""

    def __init__(self, fields: tuple[FhirField, ...]) -> None:
        self._lines_before = 0
        self._by_code: dict[tuple[JSON, JSON], list[FhirField]] = {}
        self._birth_dates = [field for field in fields if field.element == BIRTH_DATE]
        for field in fields:
            if field.element != BIRTH_DATE:
                self._by_code.setdefault((field.system, field.code), []).append(field)
        self.files: list[FileRead] = []
        self.patients: dict[str, int] = {}
        self.columns = {field.concept: RawColumn() for field in fields}
        self.set_aside: list[SetAside] = []
        self.unreadable = 0

    def read(self, path: Path, name: str) -> None:
        lines = LineReader(path, name)
        for line in lines:
            if not line.strip():
                continue
            try:
                resource: JSON = orjson.loads(line)
            except orjson.JSONDecodeError:
                resource = None
                if not lines.complete:
                    raise truncated(name, lines.lines) from None
                _require_utf8(line, name, lines.lines)
            kind = resource.get("resourceType") if isinstance(resource, dict) else None
            if kind is None or not isinstance(resource, dict):
                self.unreadable += 1
                self._reject(Reason.UNREADABLE_LINE, lines)
            elif kind == "Observation":
                self._observation(resource, lines)
            elif kind == "Patient":
                self._patient(resource, lines)
        self.files.append(lines.result)
        self._lines_before += lines.lines

    def _patient(self, resource: _Object, lines: LineReader) -> None:
        patient = resource.get("id")
        if not isinstance(patient, str) or not patient:
            self._reject(Reason.NO_PATIENT_ID, lines)
            return
        place = self._lines_before + lines.lines
        self.patients.setdefault(patient, place)
        birth_date = resource.get("birthDate")
        if isinstance(birth_date, str):
            for field in self._birth_dates:
                self.columns[field.concept].add(patient, birth_date, None, place)

    def _observation(self, resource: _Object, lines: LineReader) -> None:
        fields = [
            field
            for coding in _codings(resource.get("code"))
            for field in self._by_code.get(_key(coding), ())
        ]
        if not fields:
            return
        if resource.get("status") not in USABLE_STATUS:
            self._reject(Reason.NOT_FINAL, lines)
            return
        patient = _patient_of(resource)
        if patient is None:
            self._reject(Reason.NO_PATIENT_ID, lines)
            return
        place = self._lines_before + lines.lines
        self.patients.setdefault(patient, place)
        for field in fields:
            value, unit = _value(resource, field)
            if value is not None:
                self.columns[field.concept].add(patient, value, unit, place)

    def _reject(self, reason: Reason, lines: LineReader) -> None:
        self.set_aside.append(SetAside(reason, f"{lines.name}:{lines.lines}", record=False))


def _require_utf8(line: bytes, name: str, number: int) -> None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        raise wrong_encoding(name, number) from None


def _object(value: JSON) -> _Object:
    return value if isinstance(value, dict) else {}


def _codings(concept: JSON) -> Iterator[_Object]:
    codings = _object(concept).get("coding")
    if isinstance(codings, list):
        yield from map(_object, codings)


def _key(coding: _Object) -> tuple[JSON, JSON]:
    system, code = coding.get("system"), coding.get("code")
    # Only text can be looked up: a list in its place would not even be hashable.
    return (system, code) if isinstance(system, str) and isinstance(code, str) else (None, None)


def _patient_of(observation: _Object) -> str | None:
    """Return the identifier in ``Patient/ID``, also behind a base address or before a version."""
    reference = _object(observation.get("subject")).get("reference")
    if not isinstance(reference, str):
        return None
    before, found, identifier = reference.rpartition("Patient/")
    if not found or (before and not before.endswith("/")):
        return None
    return identifier.partition("/")[0] or None


def _value(observation: _Object, field: FhirField) -> tuple[RawValue | None, str | None]:
    """Return the mapped element's value and its UCUM unit, None for what is absent."""
    if field.element == OBSERVATION_DATE:
        date = observation.get("effectiveDateTime")
        return (date, None) if isinstance(date, str) else (None, None)
    if (quantity := observation.get("valueQuantity")) is not None:
        return _quantity(_object(quantity))
    if isinstance(boolean := observation.get("valueBoolean"), bool):
        return boolean, None
    if isinstance(integer := observation.get("valueInteger"), int):
        return integer, "1"
    if isinstance(date := observation.get("valueDateTime"), str):
        return date, None
    return _coded(observation.get("valueCodeableConcept"), field), None


def _quantity(quantity: _Object) -> tuple[RawValue | None, str | None]:
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, None
    if "comparator" in quantity:
        return Reason.NOT_EXACT, None
    unit = quantity.get("code") if quantity.get("system") == UCUM else None
    return value, unit if isinstance(unit, str) else None


def _coded(concept: JSON, field: FhirField) -> RawValue | None:
    codes = [
        code
        for coding in _codings(concept)
        if coding.get("system") == field.value_system
        and isinstance(code := coding.get("code"), str)
    ]
    value_map = field.value_map or {}
    known = [code for code in codes if code in value_map]
    if len({value_map[code] for code in known}) > 1:
        return Reason.CONFLICTING_VALUES
    return known[0] if known else codes[0] if codes else None
