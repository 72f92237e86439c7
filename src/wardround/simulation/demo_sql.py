"""An artificial hospital's records as an EHR's database: SQLite, tables and columns of its own.

Cases stand in one table, results in another, one row each: analyte, result, unit, state. A result
that was cancelled stays where it is with another state, as in real systems, so that whoever reads
results must say which.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
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

_CASE = "case_no_synthetic"
_DATES = {"birth_date": "born_synthetic", "specimen_date": "taken_synthetic"}
_ANALYTES = dict(
    zip(
        (*FEATURES, OUTCOME),
        ["NRAD", "NTEX", "NPER", "NARE", "NSMO", "NCOM", "NCAV", "NCPT", "NSYM", "NFRA", "HISTO"],
        strict=True,
    )
)
_SCHEMA = f"""
CREATE TABLE pat_case ({_CASE} TEXT PRIMARY KEY, born_synthetic TEXT, taken_synthetic TEXT);
CREATE TABLE lab_result (
    result_id INTEGER PRIMARY KEY, {_CASE} TEXT REFERENCES pat_case, analyte TEXT NOT NULL,
    result TEXT, unit TEXT, state TEXT NOT NULL
);
"""
_DATABASE = "ehr.db"
_FINAL, _CANCELLED = "F", "X"


@dataclass(frozen=True)
class _Result:
    analyte: str
    result: str
    unit: str | None
    state: str = _FINAL


@dataclass(frozen=True)
class _Defect:
    """What is wrong with one broken case: other results, a second one, another birth date."""

    reason: str
    born: str | None = None
    instead: dict[str, str] = field(default_factory=dict)
    also: tuple[_Result, ...] = ()
    state: str = _FINAL


_DEFECTS = (
    _Defect("outside_plausible_range", instead={"perimeter_mean": "90.5"}),
    _Defect("unreadable_number", instead={"texture_mean": "see report"}),
    _Defect("impossible_date", born="19570230"),
    _Defect("missing_value (its results were cancelled)", state=_CANCELLED),
    _Defect("conflicting_values", also=(_Result("NRAD", "0.015", "mm"),)),
)


def write_sql(place: Path, design: Design, patients: Sequence[Patient]) -> list[str]:
    """Write ehr.db; return the broken records' reasons."""
    with closing(sqlite3.connect(place / _DATABASE)) as database:
        database.executescript(_SCHEMA)
        for patient in patients:
            _insert(database, patient, _results(design, patient), None)
        for number, defect in enumerate(_DEFECTS, start=1):
            patient = invented(f"{design.prefix}-broken-{number}")
            results = [_spoilt(one, defect) for one in _results(design, patient)]
            _insert(database, patient, [*results, *defect.also], defect.born)
        database.commit()
    return [defect.reason for defect in _DEFECTS]


def _insert(
    database: sqlite3.Connection, patient: Patient, results: Iterable[_Result], born: str | None
) -> None:
    days = (born or f"{patient.born:%Y%m%d}", f"{patient.sampled:%Y%m%d}")
    database.execute("INSERT INTO pat_case VALUES (?, ?, ?)", (patient.id, *days))
    rows = [(patient.id, one.analyte, one.result, one.unit, one.state) for one in results]
    database.executemany("INSERT INTO lab_result VALUES (NULL, ?, ?, ?, ?, ?)", rows)


def _results(design: Design, patient: Patient) -> Iterator[_Result]:
    for feature, value in patient.biopsy.features.items():
        number, unit = written(design, feature, value)
        yield _Result(_ANALYTES[feature], f"{number:f}", unit)
    yield _Result(_ANALYTES[OUTCOME], "MAL" if patient.biopsy.malignant else "BEN", None)


def _spoilt(result: _Result, defect: _Defect) -> _Result:
    concept = next(name for name, code in _ANALYTES.items() if code == result.analyte)
    text = defect.instead.get(concept, result.result)
    return _Result(result.analyte, text, result.unit, defect.state)


def sql_sources(_design: Design) -> list[str]:
    """Return the mapping's sources for what :func:`write_sql` writes."""
    url = f"sqlite:///{_DATABASE}"
    cases = source(_dates(), name="cases", kind="sql", url=url, table="pat_case", patient=_CASE)
    results = source(
        _measured(), name="results", kind="sql", url=url, table="lab_result", patient=_CASE
    )
    return cases + results


def _dates() -> Iterator[MappedField]:
    for concept, column in _DATES.items():
        yield {"concept": concept, "column": column, "date_format": "YYYYMMDD"}


def _measured() -> Iterator[MappedField]:
    for concept, analyte in _ANALYTES.items():
        where = {"analyte": analyte, "state": _FINAL}
        if concept == OUTCOME:
            value_map = {"MAL": True, "BEN": False}
            yield {"concept": concept, "column": "result", "value_map": value_map, "where": where}
        else:
            yield {"concept": concept, "column": "result", "unit_column": "unit", "where": where}
