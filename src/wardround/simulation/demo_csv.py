"""An artificial hospital's records as a table with labels, units and dates of its own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from decimal import Decimal
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

_PATIENT = "Case No [synthetic]"
_AGE = "Patient Age [synthetic]"
_DATES = {
    "birth_date": "Birth Date [synthetic]",
    "specimen_date": "Biopsy Taken [synthetic]",
}
_LABELS = (
    "Nuclear Radius (mm)",
    "Grey Value Spread (%)",
    "Nuclear Perimeter (mm)",
    "Nuclear Area (mm2)",
    "Radius Variation (%)",
    "Compactness (%)",
    "Concavity (%)",
    "Concave Part (%)",
    "Asymmetry (%)",
    "Fractal Dimension (%)",
)
_DIAGNOSIS = "Histology"
_BENIGN, _MALIGNANT = "benigne", "maligne"


def write_csv(place: Path, design: Design, patients: Sequence[Patient]) -> list[str]:
    """Write biopsies.csv; return the broken records' reasons."""
    rows = [_row(design, patient) for patient in patients]
    broken = _broken_rows(design)
    with (place / "biopsies.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        writer.writerows(row.values() for _, row in broken)
    return [reason for reason, _ in broken]


def _row(design: Design, patient: Patient) -> dict[str, str]:
    """Return one patient's row, column label to cell, in the columns' order."""
    row = {_PATIENT: patient.id, _AGE: str(patient.age)}
    for label, day in zip(_DATES.values(), (patient.born, patient.sampled), strict=True):
        row[label] = day.strftime("%d.%m.%Y")
    for label, (feature, value) in zip(_LABELS, patient.biopsy.features.items(), strict=True):
        number, _ = written(design, feature, value)
        row[label] = f"{number:f}".replace(".", ",")
    row[_DIAGNOSIS] = _MALIGNANT if patient.biopsy.malignant else _BENIGN
    return row


def _broken_rows(design: Design) -> list[tuple[str, dict[str, str]]]:
    """Return broken rows, each with the reason for which it must be set aside."""

    def row(number: int) -> dict[str, str]:
        return _row(design, invented(f"{design.prefix}-broken-{number}"))

    return [
        ("unreadable_number", row(1) | {_AGE: "unknown"}),
        ("outside_plausible_range", row(2) | {_LABELS[0]: "0"}),
        ("unknown_category", row(3) | {_DIAGNOSIS: "fraglich"}),
        ("wrong_column_count", row(4) | {"one cell too many": "x"}),
        ("conflicting_values", row(5)),
        ("duplicate_record", row(5) | {_LABELS[0]: "0,015"}),
    ]


def csv_sources(design: Design) -> list[str]:
    """Return the mapping's source for what :func:`write_csv` writes."""
    return source(
        _fields(design),
        name="biopsies",
        kind="csv",
        files=["biopsies.csv"],
        patient=_PATIENT,
        delimiter=";",
        decimal=",",
    )


def _fields(design: Design) -> Iterator[MappedField]:
    for feature, label in zip(FEATURES, _LABELS, strict=True):
        _, unit = written(design, feature, Decimal(0))
        yield {"concept": feature, "column": label, "unit": unit}
    value_map = {_MALIGNANT: True, _BENIGN: False}
    yield {"concept": OUTCOME, "column": _DIAGNOSIS, "value_map": value_map}
    for concept, label in _DATES.items():
        yield {"concept": concept, "column": label, "date_format": "DD.MM.YYYY"}
    yield {"concept": "age_years", "column": _AGE, "unit": "a"}
