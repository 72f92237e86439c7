"""CSV files: one header line, one row per patient.

What a row means is the mapping's; this module only finds cells. No message ever shows a cell, nor
a column that the mapping doesn't name: where the header is missing, the first row is a patient.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from wardround.clinical.mapping import CsvField, CsvSource
from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.sources.extract import Extract, RawColumn
from wardround.clinical.sources.lines import (
    LineReader,
    check_unreadable_share,
    empty,
    truncated,
    wrong_encoding,
)
from wardround.errors import WardroundError


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
        text = _Decoded(lines, self._source.encoding)
        rows = csv.reader(text, delimiter=self._source.delimiter, strict=True)
        try:
            header = [cell.strip() for cell in next(rows)]
        except StopIteration:
            raise empty(name) from None
        except csv.Error:
            raise _bad_header(name) from None
        patient_at = _find(header, self._source.patient, name)
        cells_at = [
            (
                self.columns[field.concept],
                _find(header, field.column, name),
                None if field.unit_column is None else _find(header, field.unit_column, name),
                field.unit,
            )
            for field in self._fields
        ]
        rows_before = self.rows
        while True:
            first_line = lines.lines + 1
            try:
                row = next(rows, None)
            except csv.Error:
                if text.exhausted:
                    # A quotation mark was never closed: the rest of the file is one cell.
                    raise truncated(name, first_line) from None
                self._reject(Reason.UNREADABLE_LINE, name, first_line)
                continue
            if row is None:
                break
            if not row:
                continue
            if len(row) != len(header):
                if not lines.complete and len(row) < len(header):
                    raise truncated(name, first_line)
                self._reject(Reason.WRONG_COLUMN_COUNT, name, first_line)
                continue
            self.rows += 1
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
        if self.rows == rows_before:
            raise empty(name)
        self.files.append(lines.result)
        self._lines_before += lines.lines

    def _reject(self, reason: Reason, name: str, line: int) -> None:
        self.rows += 1
        self.unreadable += 1
        self._set_aside(reason, name, line)

    def _set_aside(self, reason: Reason, name: str, line: int) -> None:
        self.set_aside.append(SetAside(reason, f"{name}:{line}"))


class _Decoded:
    """Lines as text; ``exhausted`` once all have been handed out."""

    def __init__(self, lines: LineReader, encoding: str) -> None:
        self._lines = lines
        self._encoding = encoding
        self.exhausted = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            try:
                yield line.decode(self._encoding)
            except UnicodeDecodeError:
                raise wrong_encoding(self._lines.name, self._lines.lines) from None
        self.exhausted = True


def _find(header: list[str], column: str, name: str) -> int:
    if header.count(column) > 1:
        raise WardroundError(
            "WR-DATA-015",
            f"The column {column!r} stands twice in the header.",
            "Rename or remove one of them; which one is meant would be a guess.",
            path=name,
        )
    try:
        return header.index(column)
    except ValueError:
        raise WardroundError(
            "WR-DATA-014",
            f"The mapped column {column!r} is not in the file's header.",
            "If it was renamed, mend the mapping and have it approved again; "
            "also check the delimiter and that the first line is the header.",
            path=name,
        ) from None


def _bad_header(name: str) -> WardroundError:
    return WardroundError(
        "WR-DATA-015",
        "The header can't be read.",
        "Check the delimiter, the quotation marks and the line ends of the first line.",
        path=f"{name}:1",
    )
