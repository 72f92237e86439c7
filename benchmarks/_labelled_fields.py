"""The labelled fields of `tests/data/schema_matching.toml`, profiled.

Sources with `from` are read from the shared test data (`WARDROUND_SHARED`, else beside the
repository); the values of the others are made from the quantiles and counts that the file states,
and are all missing where it states none.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.profile import FieldProfile, profile_column

ROOT = Path(__file__).resolve().parent.parent
LABELS = ROOT / "tests" / "data" / "schema_matching.toml"
PARTS = ("held-out", "fresh", "tuning")
_ROWS = 200
_QUIET = {"", "?", "None"}


@dataclass(frozen=True, repr=False)
class LabelledField:
    """A field as a steward would see it, and the concepts that are right for it."""

    profile: FieldProfile
    gold: tuple[str, ...]
    part: str


@dataclass(frozen=True)
class _Cells:
    values: NDArray[Any]
    missing: NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class _Column:
    """A column of a source, as texts, and what the source says about it."""

    name: str
    cells: _Cells
    description: str | None = None
    units: list[str] | None = None
    codes: tuple[tuple[str, str], ...] = ()


def labelled_fields(
    labels: Path = LABELS, *, parts: Collection[str] = PARTS
) -> tuple[LabelledField, ...]:
    """Return every labelled field of these parts, in the file's order.

    Raises:
        FileNotFoundError: without the shared test data.
    """
    sources = tomllib.loads(labels.read_text("utf-8"))["sources"]
    found = []
    for source in sources:
        if source["part"] not in parts:
            continue
        read = _READERS.get(source.get("from", ""), _stated)
        for row in source["fields"]:
            column = read(row)
            profile = profile_column(
                source["name"],
                column.name,
                column.cells,
                description=row.get("d") or column.description,
                unit_text=row.get("u") or column.units,
                codes=column.codes,
            )
            gold = (row["c"],) if isinstance(row["c"], str) else tuple(row["c"])
            found.append(LabelledField(profile, gold, source["part"]))
    return tuple(found)


def _shared(path: str) -> Path:
    found = Path(os.environ.get("WARDROUND_SHARED", ROOT.parent / "shared")) / "data" / path
    if not found.exists():
        raise FileNotFoundError(f"The shared test data have no {path}; see WARDROUND_SHARED.")
    return found


def _texts(values: Iterable[str]) -> _Cells:
    texts = np.array([value.strip() for value in values], dtype=object)
    return _Cells(texts, np.array([text in _QUIET for text in texts], dtype=np.bool_))


def _stated(row: Mapping[str, Any]) -> _Column:
    if "n" in row:
        low, middle, high = row["n"]
        at = (np.arange(_ROWS) + 0.5) / _ROWS
        numbers = np.interp(at, (0.05, 0.5, 0.95), (low, middle, high))
        digits = 0 if all(float(n).is_integer() for n in row["n"]) else 2
        return _Column(row["f"], _texts(f"{n:.{digits}f}" for n in numbers))
    if "t" in row:
        return _Column(row["f"], _texts(text for text, n in row["t"].items() for _ in range(n)))
    if "day" not in row:
        return _Column(row["f"], _texts([""] * _ROWS))
    form, first, last = row["day"]
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    step = (end - start) / _ROWS
    days = (start + timedelta(days=int((step * n).days)) for n in range(_ROWS))
    return _Column(row["f"], _texts(_write_day(day, form) for day in days))


def _write_day(day: date, form: str) -> str:
    parts = {"YYYY": f"{day.year:04}", "MM": f"{day.month:02}", "DD": f"{day.day:02}"}
    for token, text in parts.items():
        form = form.replace(token, text)
    return form


@cache
def _heart() -> Mapping[str, list[str]]:
    names = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num".split()  # noqa: SIM905
    columns: dict[str, list[str]] = {name: [] for name in names}
    for site in ("cleveland", "hungarian", "switzerland", "va"):
        for line in _shared(f"heart/processed.{site}.data").read_text("ascii").splitlines():
            for name, cell in zip(names, line.split(","), strict=True):
                columns[name].append(cell.removesuffix(".0"))
    return columns


@cache
def _diabetes() -> Mapping[str, list[str]]:
    with zipfile.ZipFile(_shared("diabetes130/dataset_diabetes.zip")) as archive:
        text = archive.read("dataset_diabetes/diabetic_data.csv").decode("ascii")
    rows = list(csv.DictReader(io.StringIO(text)))
    return {name: [row[name] for row in rows] for name in rows[0]}


@cache
def _omop(table: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(_shared("omop_synthea27nj/Synthea27Nj_5.4.zip")) as archive:
        return list(csv.DictReader(io.StringIO(archive.read(f"{table}.csv").decode("utf-8"))))


@cache
def _omop_names() -> Mapping[str, str]:
    return {row["concept_id"]: row["concept_name"] for row in _omop("CONCEPT")}


@cache
def _omop_guidance() -> Mapping[tuple[str, str], str]:
    with _shared("ohdsi_dqd/dqd_field.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["cdmTableName"], row["cdmFieldName"]): row["userGuidance"] for row in rows}


def _omop_measurement(row: Mapping[str, Any]) -> _Column:
    concept = row["f"]
    rows = [r for r in _omop("MEASUREMENT") if r["measurement_concept_id"] == concept]
    return _Column(
        f"MEASUREMENT {concept}",
        _texts(r["value_as_number"] for r in rows),
        _omop_names().get(concept),
        [r["unit_source_value"] for r in rows],
        (("omop", concept),),
    )


def _omop_column(row: Mapping[str, Any]) -> _Column:
    table, name = row["f"].split(".")
    cells = _texts(r[name] for r in _omop(table))
    return _Column(name, cells, _omop_guidance().get((table, name)) or None)


@cache
def _fhir(resource: str) -> list[dict[str, Any]]:
    lines = _shared(f"fhir_bulk10/{resource}.000.ndjson").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


_CODED = {
    "Condition": ("code", "http://snomed.info/sct"),
    "Procedure": ("code", "http://snomed.info/sct"),
    "MedicationRequest": (
        "medicationCodeableConcept",
        "http://www.nlm.nih.gov/research/umls/rxnorm",
    ),
}


def _fhir_field(row: Mapping[str, Any]) -> _Column:
    if "|" in row["f"]:
        return _fhir_code(*row["f"].split("|"))
    resource, _, path = row["f"].partition(".")
    read = _PATHS.get(path) or (lambda one: str(_walk(one, path.split(".")) or ""))
    return _Column(row["f"], _texts(read(one) for one in _fhir(resource)))


def _fhir_code(resource: str, code: str) -> _Column:
    element, system = _CODED[resource]
    display, patients = "", set()
    for one in _fhir(resource):
        for coding in one.get(element, {}).get("coding", ()):
            if coding["code"] == code:
                display = coding["display"]
                patients.add(one["subject"]["reference"].split("/")[-1])
    has = np.array([one["id"] in patients for one in _fhir("Patient")], dtype=np.bool_)
    name = f"{resource} {system}|{code}"
    return _Column(
        name, _Cells(has, np.zeros(len(has), np.bool_)), display or None, None, ((system, code),)
    )


def _walk(resource: Any, path: list[str]) -> Any:
    for step in path:
        resource = resource.get(step) if isinstance(resource, dict) else None
    return resource


def _us_core(name: str) -> Callable[[Any], str]:
    def read(patient: Any) -> str:
        for extension in patient.get("extension", ()):
            if extension["url"].endswith(name):
                for part in extension["extension"]:
                    if part["url"] == "ombCategory":
                        return str(part["valueCoding"]["code"])
        return ""

    return read


_PATHS: Mapping[str, Callable[[Any], str]] = {
    "us-core-race": _us_core("us-core-race"),
    "us-core-ethnicity": _us_core("us-core-ethnicity"),
    "maritalStatus": lambda one: str(one.get("maritalStatus", {}).get("text", "")),
}


def _example(row: Mapping[str, Any]) -> _Column:
    path = _shared(f"r4_examples/r4/examples/{row['f']}.json")
    one = json.loads(path.read_text("utf-8"))
    codes = tuple((coding["system"], coding["code"]) for coding in one["code"]["coding"])
    quantity = one["valueQuantity"]
    return _Column(
        f"Observation {codes[0][0]}|{codes[0][1]}",
        _texts([str(quantity["value"])]),
        one["code"]["coding"][0].get("display"),
        [quantity["unit"]],
        codes,
    )


@cache
def _wdbc() -> Mapping[str, list[str]]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return {
        str(name): [str(value) for value in column]
        for name, column in zip(data.feature_names, data.data.T.tolist(), strict=True)
    }


_READERS: Mapping[str, Callable[[Mapping[str, Any]], _Column]] = {
    "heart": lambda row: _Column(row["f"], _texts(_heart()[row["f"]])),
    "sklearn": lambda row: _Column(row["f"], _texts(_wdbc()[row["f"]])),
    "diabetes130": lambda row: _Column(row["f"], _texts(_diabetes()[row["f"]])),
    "omop_measurements": _omop_measurement,
    "omop_tables": _omop_column,
    "fhir_bulk10": _fhir_field,
    "r4_examples": _example,
}
