"""Facts from a table: the columns that a mapping names, batch by batch, read as their concepts.

In the words of the compliance policy these are FHIR resources handed over as typed columns: each
row is an Observation (or the Patient) whose code is the field's concept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.facts import NO_UNIT, Extract, FactList
from wardround.clinical.fields import Choice, ColumnField
from wardround.clinical.graph import ConceptGraph, ConceptType
from wardround.clinical.numbers import DecimalMark, read_number
from wardround.clinical.provenance import SourceRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.reading import ReadMany, TextReader, check_days, dates, mapped, numbers
from wardround.clinical.tables import Batch, Column, ColumnKind, Table
from wardround.errors import WardroundError


@dataclass(frozen=True)
class Shape:
    """How a table is to be read: whose rows they are, and what a number looks like in text.

    ``wide`` says that each patient has one row, so that a second one is a mistake.
    """

    patient: str | None
    decimal: DecimalMark
    today: int
    wide: bool


def read_table(
    table: Table, fields: Sequence[ColumnField], shape: Shape, graph: ConceptGraph
) -> Extract:
    """Read ``fields`` from ``table``. Raises what the table raises, and ``WR-DATA-005`` where a
    column is not what its field says.
    """
    reading = _Reading(table, fields, shape, graph)
    for batch in table.batches(reading.columns, text=reading.text):
        reading.take(batch)
    return reading.extract()


def is_wide(fields: Collection[ColumnField]) -> bool:
    """Whether a table has one row per patient: none of its fields picks rows or values."""
    return all(not field.where and field.choose is Choice.ONLY for field in fields)


class _Reading:
    """What has been read so far."""

    def __init__(
        self, table: Table, fields: Sequence[ColumnField], shape: Shape, graph: ConceptGraph
    ) -> None:
        self._table = table
        self._shape = shape
        self._wide = shape.wide
        self._fields = [_Field(field, shape, graph) for field in fields]
        self._patients: dict[str, int] = {}
        self._first_places: list[NDArray[np.int64]] = []
        self._set_aside: list[SetAside] = []
        named = [name for field in fields for name in field.columns]
        own = [] if shape.patient is None else [shape.patient]
        self.columns = list(dict.fromkeys((*own, *named)))
        self.text = {*own, *(name for field in self._fields for name in field.text)}
        shared = [field for field in self._fields if field.field.column in self.text]
        if any(field.reads_cells for field in shared):
            # A typed cell that another field wants as text is written in a form of its own.
            kinds = {column.name: column.kind for column in table.describe()}
            for field in shared:
                field.written_by_source(kinds.get(field.field.column))

    def take(self, batch: Batch) -> None:
        """Read one batch."""
        places = batch.places
        patients, named = self._who(batch)
        if not named.all():
            self._reject(Reason.NO_PATIENT_ID, places[~named])
            places, patients = places[named], patients[named]
        before = sum(map(len, self._first_places))
        who, at = np.unique(patients, return_index=True)
        new = who >= before
        self._first_places.append(places[at[new]])
        if self._wide and len(who) - np.count_nonzero(~new) < len(patients):
            again = np.ones(len(patients), np.bool_)
            again[at[new]] = False
            self._reject(Reason.DUPLICATE_RECORD, places[again])
        for field in self._fields:
            field.take(batch, named, patients, places)

    def extract(self) -> Extract:
        """Everything that was read."""
        read = self._table.read
        return Extract(
            source=self._table.name,
            read=SourceRead(
                self._table.name,
                read.query or ", ".join(file.name for file in read.files),
                read.rows,
                read.files,
            ),
            patients=tuple(self._patients),
            first_places=np.concatenate([np.empty(0, np.int64), *self._first_places]),
            facts={field.field.concept: field.found.facts() for field in self._fields},
            set_aside=(*self._table.rejected, *self._set_aside),
            where=self._table.where,
        )

    def _who(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The number of each row's patient, and which rows name one."""
        index = self._patients
        if self._shape.patient is None:
            texts = [f"row {place}" for place in batch.places.tolist()]
            missing = np.zeros(len(texts), np.bool_)
        else:
            column = batch.columns[self._shape.patient]
            texts, missing = column.values.tolist(), column.missing
            if missing.any():
                texts = [
                    text for text, gone in zip(texts, missing.tolist(), strict=True) if not gone
                ]
        found = np.fromiter((index.setdefault(one, len(index)) for one in texts), np.int64)
        patients = np.zeros(len(missing), np.int64)
        patients[~missing] = found
        return patients, ~missing

    def _reject(self, reason: Reason, places: NDArray[np.int64]) -> None:
        self._set_aside += [SetAside(reason, self._table.where(place)) for place in places.tolist()]


class _Field:
    """One field and the facts found for it."""

    def __init__(self, field: ColumnField, shape: Shape, graph: ConceptGraph) -> None:
        self.field = field
        self.found = FactList()
        self._shape = shape
        self._type = graph.concept(field.concept).type
        self._unit = NO_UNIT if field.unit is None else self.found.unit(field.unit)
        coded = self._type in (ConceptType.BOOLEAN, ConceptType.CATEGORY)
        codes = field.codes(graph) if coded else {}
        self._codes = TextReader(lambda _: 1.0) if field.present else mapped(codes)
        self._numbers = numbers(shape.decimal)
        self._dates = dates(field.date_format, shape.today)
        self._dated = field.date_format is not None
        self._moments = dates(field.date_column_format, shape.today)
        self._marks = frozenset(field.missing)
        read = [read_number(mark, shape.decimal) for mark in field.missing]
        self._numbers_for_none = (
            [one for one in read if not isinstance(one, Reason)]
            if self._type is ConceptType.NUMERIC
            else []
        )
        more = [name for name in (field.unit_column, *field.where) if name is not None]
        self.text = [field.column, *more] if coded else more

    @property
    def reads_cells(self) -> bool:
        """Whether cells are read as numbers or days, and not as text."""
        return self._type in (ConceptType.NUMERIC, ConceptType.DATE)

    def written_by_source(self, kind: ColumnKind | None) -> None:
        """Say that text is how a column of this kind is written where text is asked for."""
        if kind is ColumnKind.NUMBER:
            self._numbers = numbers(".")
        elif kind is ColumnKind.DATE:
            self._dates, self._dated = dates(None, self._shape.today), True

    def take(
        self,
        batch: Batch,
        named: NDArray[np.bool_],
        patients: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> None:
        """Read this field's values from a batch; ``named`` are the rows with a patient."""
        column = batch.columns[self.field.column]
        rows = named & ~column.missing
        if self._marks and column.values.dtype == object:
            rows &= ~np.isin(column.values, list(self._marks))
        for name, wanted in self.field.where.items():
            where = batch.columns[name]
            among = [wanted] if isinstance(wanted, str) else list(wanted)
            rows &= ~where.missing & np.isin(where.values.astype(object), among)
        if not rows.any():
            return
        values, reasons = self._read(column.values[rows])
        if self._numbers_for_none:  # "0", "0.0" and "0,0" are one mark
            there = ~((reasons == 0) & np.isin(values, self._numbers_for_none))
            rows[rows] = there
            values, reasons = values[there], reasons[there]
        kept = rows[named]
        self.found.add_many(
            patients[kept],
            values,
            reasons,
            self._units(batch, rows),
            self._days(batch, rows),
            places[kept],
        )

    def _read(self, values: NDArray[np.generic]) -> ReadMany:
        texts = values.dtype == object
        match self._type:
            case ConceptType.NUMERIC if texts:
                return self._numbers.read_many(values)  # type: ignore[arg-type]
            case ConceptType.NUMERIC if values.dtype == np.float64:
                return values.astype(np.float64), np.zeros(len(values), np.int8)
            case ConceptType.DATE if texts and self._dated:
                return self._dates.read_many(values)  # type: ignore[arg-type]
            case ConceptType.DATE if values.dtype == np.int64:
                return check_days(values.astype(np.int64), self._shape.today)
            case ConceptType.BOOLEAN | ConceptType.CATEGORY if texts:
                return self._codes.read_many(values)  # type: ignore[arg-type]
        raise WardroundError(
            "WR-DATA-005",
            f"The column {self.field.column!r} does not hold what {self.field.concept!r} is.",
            "A number is read from numbers or text, a date from dates or, with date_format, text.",
            path=self.field.column,
        )

    def _units(self, batch: Batch, rows: NDArray[np.bool_]) -> NDArray[np.int32] | int:
        if self.field.unit_column is None:
            return self._unit
        column = batch.columns[self.field.unit_column]
        texts, missing = column.values[rows].tolist(), column.missing[rows]
        units = np.fromiter(map(self.found.unit, texts), np.int32, len(texts))
        units[missing] = NO_UNIT
        return units

    def _days(self, batch: Batch, rows: NDArray[np.bool_]) -> NDArray[np.float64] | float:
        if self.field.date_column is None:
            return np.nan
        column: Column = batch.columns[self.field.date_column]
        values = column.values[rows]
        if values.dtype == object:
            days, reasons = self._moments.read_many(values)
        else:
            days, reasons = check_days(values.astype(np.int64), self._shape.today)
        return np.where((reasons > 0) | column.missing[rows], np.nan, days)
