"""An artificial hospital's records as FHIR R4 resources, one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from wardround.trust.canonical import JSON


@dataclass(frozen=True)
class _Defect:
    """What is wrong with one broken FHIR record; a feature's quantity None leaves it out."""

    reason: str
    birth_date: str | None = None
    quantities: Mapping[str, Mapping[str, JSON] | None] = field(default_factory=dict)
    status: str = "final"


_NUCLEUS = "https://wardround.example/fhir/CodeSystem/cell-nucleus"
_BIOPSY = "https://wardround.example/fhir/CodeSystem/biopsy-result"
_TAGS = "https://wardround.example/fhir/CodeSystem/demonstration"
_DEFECTS = (
    _Defect("unknown_unit", quantities={"radius_mean": {"code": "furlong"}}),
    _Defect("not_exact", quantities={"texture_mean": {"comparator": "<"}}),
    _Defect("incomplete_date", birth_date="1957"),
    _Defect("missing_value (its results were entered in error)", status="entered-in-error"),
)


def write_fhir(place: Path, design: Design, patients: Sequence[Patient]) -> list[str]:
    """Write Patient.ndjson and Observation.ndjson; return the broken records' reasons."""
    people: list[str] = []
    observations: list[str] = []
    for patient in patients:
        people.append(_line(_person(patient, None)))
        observations += map(_line, _observations(design, patient, None))
    for number, defect in enumerate(_DEFECTS, start=1):
        patient = invented(f"{design.prefix}-broken-{number}")
        people.append(_line(_person(patient, defect)))
        observations += map(_line, _observations(design, patient, defect))
    # A line cut off in the middle: a resource that no one can attribute to a patient.
    cut_off = observations[-1][:60]
    observations.insert(len(observations) // 2, cut_off)
    (place / "Patient.ndjson").write_text("\n".join(people) + "\n", "utf-8")
    (place / "Observation.ndjson").write_text("\n".join(observations) + "\n", "utf-8")
    return [defect.reason for defect in _DEFECTS]


def _line(resource: Mapping[str, JSON]) -> str:
    return json.dumps(resource, separators=(",", ":"))


def _meta(defect: _Defect | None) -> JSON:
    """Mark a resource as test health data, and a broken one as such."""
    test_data: JSON = {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
        "code": "HTEST",
        "display": "test health data",
    }
    kind = "synthetic-identity-and-dates" if defect is None else "synthetic-broken"
    return {"security": [test_data], "tag": [{"system": _TAGS, "code": kind}]}


def _person(patient: Patient, defect: _Defect | None) -> Mapping[str, JSON]:
    born = defect.birth_date if defect is not None else None
    return {
        "resourceType": "Patient",
        "id": patient.id,
        "meta": _meta(defect),
        "birthDate": born or patient.born.isoformat(),
    }


def _observations(
    design: Design, patient: Patient, defect: _Defect | None
) -> Iterator[Mapping[str, JSON]]:
    for feature, value in patient.biopsy.features.items():
        change = {} if defect is None else defect.quantities.get(feature, {})
        if change is None:
            continue
        number, unit = written(design, feature, value)
        quantity: Mapping[str, JSON] = {
            "value": float(number),
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
            **change,
        }
        yield _observation(patient, feature, {"valueQuantity": quantity}, defect)
    code = "malignant" if patient.biopsy.malignant else "benign"
    coded: JSON = {"coding": [{"system": _BIOPSY, "code": code}]}
    yield _observation(patient, OUTCOME, {"valueCodeableConcept": coded}, defect)


def _observation(
    patient: Patient, concept: str, value: Mapping[str, JSON], defect: _Defect | None
) -> Mapping[str, JSON]:
    return {
        "resourceType": "Observation",
        "id": f"{patient.id}-{concept.replace('_', '-')}",
        "meta": _meta(defect),
        "status": "final" if defect is None else defect.status,
        "code": {"coding": [{"system": _NUCLEUS, "code": concept}]},
        "subject": {"reference": f"Patient/{patient.id}"},
        "effectiveDateTime": patient.sampled.isoformat(),
        **value,
    }


def fhir_sources(_design: Design) -> list[str]:
    """Return the mapping's source for what :func:`write_fhir` writes."""
    files = ["Patient.ndjson", "Observation.ndjson"]
    return source(_fields(), name="ehr", kind="fhir", files=files)


def _fields() -> Iterator[MappedField]:
    for feature in FEATURES:
        yield {"concept": feature, "system": _NUCLEUS, "code": feature}
    yield {
        "concept": OUTCOME,
        "system": _NUCLEUS,
        "code": OUTCOME,
        "value_system": _BIOPSY,
        "value_map": {"malignant": True, "benign": False},
    }
    yield {"concept": "birth_date", "element": "Patient.birthDate"}
    yield {
        "concept": "specimen_date",
        "element": "Observation.effectiveDateTime",
        "system": _NUCLEUS,
        "code": OUTCOME,
    }
