"""CSV files: one header line, one row per patient.

What a row means is the mapping's; this module only finds cells.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from wardround.clinical.mapping import CsvField, CsvSource
from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.sources.extract import Extract, RawColumn
from wardround.clinical.sources.lines import LineReader, check_unreadable_share
from wardround.clinical.sources.rows import RowReader, find_column


def read_csv(source: CsvSource, folder: Path, concepts: Collection[str]) -> Extract:
    """Read the fields mapped to ``concepts`` from all files of ``source``.

    Raises:
        WardroundError: ``WR-DATA-010`` to ``-013`` and ``-017`` for a file that can't be read,
            ``-014`` for a column that vanished, ``-015`` for an unusable header, ``-016`` where
            too many rows can't be read.
    """
    fields = tuple(field for field in source.fields if field.concept in concepts)
    reading = _Reading(source, fields)
    for name in source.files:
        reading.read(folder / name, name)
    check_unreadable_share(
        source.name, reading.unreadable, reading.rows, source.maximum_unreadable_share
    )
    return Extract(
        source.name,
        tuple(reading.files),
        reading.patients,
        reading.columns,
        tuple(reading.set_aside),
    )


class _Reading:
    """What has been read so far from one source."""

    def __init__(self, source: CsvSource, fields: tuple[CsvField, ...]) -> None:
        self._source = source
        self._fields = fields
        self._missing = frozenset(source.missing)
        self._lines_before = 0
        self.files: list[FileRead] = []
        self.patients: dict[str, int] = {}
        self.columns = {field.concept: RawColumn() for field in fields}
        self.set_aside: list[SetAside] = []
        self.rows = 0
        self.unreadable = 0

    def read(self, path: Path, name: str) -> None:
        lines = LineReader(path, name)
        rows = RowReader(lines, self._source.encoding, self._source.delimiter)
        patient_at = find_column(rows.header, self._source.patient, name)
        cells_at = [
            (
                self.columns[field.concept],
                find_column(rows.header, field.column, name),
                None
                if field.unit_column is None
                else find_column(rows.header, field.unit_column, name),
                field.unit,
            )
            for field in self._fields
        ]
        for first_line, row in rows:
            patient = row[patient_at].strip()
            if patient in self._missing or not patient:
                self._set_aside(Reason.NO_PATIENT_ID, name, first_line)
                continue
            place = self._lines_before + first_line
            if self.patients.setdefault(patient, place) != place:
                self._set_aside(Reason.DUPLICATE_RECORD, name, first_line)
            for column, value_at, unit_at, unit in cells_at:
                value = row[value_at].strip()
                if value not in self._missing:
                    stated = unit if unit_at is None else row[unit_at].strip()
                    column.add(patient, value, stated, place)
        self.set_aside.extend(rows.rejected)
        self.rows += rows.rows
        self.unreadable += rows.unreadable
        self.files.append(lines.result)
        self._lines_before += lines.lines

    def _set_aside(self, reason: Reason, name: str, line: int) -> None:
        self.set_aside.append(SetAside(reason, f"{name}:{line}"))
