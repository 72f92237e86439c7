"""An artificial hospital's records as an extract of OMOP CDM 5.4: one CSV file for each table.

OMOP's vocabularies have no concept for the mean radius of a nucleus, so these are local concepts
with ids above 2,000,000,000, the range that OMOP keeps free for them (OHDSI, The Book of OHDSI,
chapter 5); ``concept.csv`` names them. Columns are the standard's and can't be marked, so
``cdm_source.csv`` and every ``person_source_value`` say what is synthetic.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from wardround.simulation.demo_designs import (
    FEATURES,
    OUTCOME,
    Design,
    Patient,
    invented,
    written,
)
from wardround.simulation.records import MappedField, source

LOCAL = 2_000_000_000
"""Ids above it are a hospital's own."""

_FOLDER = "omop"
_IDS = {concept: LOCAL + number for number, concept in enumerate((*FEATURES, OUTCOME), start=1)}
_UNITS = {"um": 9666, "mm2": 9572}
_FROM_EHR = 32817
_LESS_THAN = 4171756
_FIRST, _FIRST_BROKEN = 1_001, 900_001

_Row = dict[str, str | int]


@dataclass(frozen=True)
class _Defect:
    """What is wrong with one broken person: other columns of a measurement (None: it is gone)."""

    reason: str
    born: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, Mapping[str, str | int] | None] = field(default_factory=dict)
    diagnosis: str | None = None


_DEFECTS = (
    _Defect(
        "missing_value (a birth date that never was)",
        born={"month_of_birth": 2, "day_of_birth": 30},
    ),
    _Defect("missing_value", measured={"area_mean": None}),
    _Defect(
        "unknown_unit",
        measured={"radius_mean": {"unit_concept_id": 0, "unit_source_value": "furlong"}},
    ),
    _Defect(
        "missing_value (a bound is no value)",
        measured={"texture_mean": {"operator_concept_id": _LESS_THAN}},
    ),
    _Defect("unknown_category", diagnosis="suspicious"),
)


def write_omop(place: Path, design: Design, patients: Sequence[Patient]) -> list[str]:
    """Write the tables into omop/; return the broken records' reasons."""
    people: list[tuple[int, Patient, _Defect | None]] = [
        (number, patient, None) for number, patient in enumerate(patients, start=_FIRST)
    ]
    for number, defect in enumerate(_DEFECTS):
        patient = invented(f"{design.prefix}-broken-{number + 1}")
        people.append((_FIRST_BROKEN + number, patient, defect))
    folder = place / _FOLDER
    folder.mkdir()
    _write(folder / "cdm_source.csv", [_source(design)])
    _write(folder / "concept.csv", map(_concept, _IDS))
    _write(folder / "person.csv", (_person(*one) for one in people))
    rows = [row for one in people for row in _measurements(design, *one)]
    _write(folder / "measurement.csv", _numbered("measurement_id", rows))
    seen = [_diagnosis(*one) for one in people]
    _write(folder / "observation.csv", _numbered("observation_id", seen))
    return [defect.reason for defect in _DEFECTS]


def _source(design: Design) -> _Row:
    return {
        "cdm_source_name": f"{design.name} [artificial hospital]",
        "cdm_source_abbreviation": design.prefix,
        "cdm_holder": "Wardround demonstration",
        "source_description": "Real biopsies; SYNTHETIC identifiers, dates and broken records",
        "source_release_date": "2026-01-01",
        "cdm_release_date": "2026-01-01",
        "cdm_version": "v5.4",
        "cdm_version_concept_id": 756265,
        "vocabulary_version": "local concepts only",
    }


def _concept(concept: str) -> _Row:
    return {
        "concept_id": _IDS[concept],
        "concept_name": concept.replace("_", " "),
        "domain_id": "Observation" if concept == OUTCOME else "Measurement",
        "vocabulary_id": "Wardround demo",
        "concept_class_id": "Local",
        "standard_concept": "",
        "concept_code": concept,
        "valid_start_date": "2026-01-01",
        "valid_end_date": "2099-12-31",
        "invalid_reason": "",
    }


def _person(number: int, patient: Patient, defect: _Defect | None) -> _Row:
    born = patient.born
    return {
        "person_id": number,
        "gender_concept_id": 0,
        "year_of_birth": born.year,
        "month_of_birth": born.month,
        "day_of_birth": born.day,
        "race_concept_id": 0,
        "ethnicity_concept_id": 0,
        "person_source_value": f"{patient.id} [synthetic]",
        **({} if defect is None else defect.born),
    }


def _measurements(
    design: Design, number: int, patient: Patient, defect: _Defect | None
) -> Iterator[_Row]:
    for feature, value in patient.biopsy.features.items():
        change = {} if defect is None else defect.measured.get(feature, {})
        if change is None:
            continue
        figure, unit = written(design, feature, value)
        yield {
            "person_id": number,
            "measurement_concept_id": _IDS[feature],
            "measurement_date": patient.sampled.isoformat(),
            "measurement_type_concept_id": _FROM_EHR,
            "operator_concept_id": 0,
            "value_as_number": f"{figure:f}",
            "unit_concept_id": _UNITS.get(unit, 0),
            "measurement_source_value": feature,
            "unit_source_value": unit,
            **change,
        }


def _diagnosis(number: int, patient: Patient, defect: _Defect | None) -> _Row:
    said = "malignant" if patient.biopsy.malignant else "benign"
    return {
        "person_id": number,
        "observation_concept_id": _IDS[OUTCOME],
        "observation_date": patient.sampled.isoformat(),
        "observation_type_concept_id": _FROM_EHR,
        "value_as_string": (defect.diagnosis if defect else None) or said,
        "observation_source_value": OUTCOME,
    }


def _numbered(key: str, rows: Sequence[_Row]) -> Iterator[_Row]:
    numbers = count(1)
    return ({key: next(numbers), **row} for row in rows)


def _write(path: Path, rows: Iterator[_Row] | Sequence[_Row]) -> None:
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def omop_sources(_design: Design) -> list[str]:
    """Return the mapping's source for what :func:`write_omop` writes."""
    return source(_fields(), name="research", kind="omop", files=_FOLDER)


def _fields() -> Iterator[MappedField]:
    for feature in FEATURES:
        yield {"concept": feature, "domain": "measurement", "concept_ids": [_IDS[feature]]}
    yield {
        "concept": OUTCOME,
        "domain": "observation",
        "concept_ids": [_IDS[OUTCOME]],
        "value": "value_text",
        "value_map": {"malignant": True, "benign": False},
    }
    yield {"concept": "birth_date", "domain": "person", "value": "day"}
    yield {
        "concept": "specimen_date",
        "domain": "observation",
        "concept_ids": [_IDS[OUTCOME]],
        "value": "day",
    }
