"""An artificial hospital's records as a table, with labels, units and dates of its own."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from wardround.simulation.demo_designs import (
    FEATURES,
    OUTCOME,
    CsvStyle,
    Design,
    MappedField,
    Patient,
    invented,
    written,
)


def write_csv(
    place: Path, design: Design, style: CsvStyle, patients: Sequence[Patient]
) -> list[str]:
    """Write biopsies.csv; return the broken records' reasons."""
    rows = [_row(design, style, patient) for patient in patients]
    broken = _broken_rows(design, style)
    with (place / "biopsies.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=style.delimiter, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        writer.writerows(row.values() for _, row in broken)
    return [reason for reason, _ in broken]


def _row(design: Design, style: CsvStyle, patient: Patient) -> dict[str, str]:
    """Return one patient's row, column label to cell, in the columns' order."""
    row = {style.patient: patient.id}
    if style.age is not None:
        row[style.age] = str(patient.age)
    row[style.birth_date] = patient.born.strftime(style.date_format)
    row[style.specimen_date] = patient.sampled.strftime(style.date_format)
    for label, (feature, value) in zip(
        style.features, patient.biopsy.features.items(), strict=True
    ):
        number, _ = written(design, feature, value)
        row[label] = f"{number:f}".replace(".", style.decimal)
    row[style.outcome] = style.diagnosis[patient.biopsy.malignant]
    return row


def _broken_rows(design: Design, style: CsvStyle) -> list[tuple[str, dict[str, str]]]:
    """Return broken rows, each with the reason for which it must be set aside."""

    def row(number: int) -> dict[str, str]:
        return _row(design, style, invented(f"{design.prefix}-broken-{number}"))

    radius, texture = style.features[0], style.features[1]
    if style.age is not None:
        return [
            ("unreadable_number", row(1) | {style.age: "unknown"}),
            ("outside_plausible_range", row(2) | {radius: "0"}),
            ("unknown_category", row(3) | {style.outcome: "fraglich"}),
            ("wrong_column_count", row(4) | {"one cell too many": "x"}),
        ]
    return [
        ("impossible_date", row(1) | {style.birth_date: "02/30/1961"}),
        ("missing_value", row(2) | {texture: ""}),
        ("conflicting_values", row(3)),
        ("duplicate_record", row(3) | {radius: "15"}),
    ]


def csv_fields(design: Design, style: CsvStyle) -> Iterator[MappedField]:
    """Return the mapping's fields for what :func:`write_csv` writes."""
    for feature, label in zip(FEATURES, style.features, strict=True):
        _, unit = written(design, feature, Decimal(0))
        yield {"concept": feature, "column": label, "unit": unit}
    benign, malignant = style.diagnosis
    value_map = {malignant: True, benign: False}
    yield {"concept": OUTCOME, "column": style.outcome, "value_map": value_map}
    dates = {"birth_date": style.birth_date, "specimen_date": style.specimen_date}
    for concept, label in dates.items():
        yield {"concept": concept, "column": label, "date_format": style.mapped_date}
    if style.age is not None:
        yield {"concept": "age_years", "column": style.age, "unit": "a"}
