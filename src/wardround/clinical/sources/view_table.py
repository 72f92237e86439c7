"""FHIR resources seen through a ViewDefinition: a table like any other.

What the fixed elements of a FHIR field don't reach, a view does; its columns are then mapped as
those of a CSV file are. A resource that the view can't be evaluated on is set aside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from wardround.clinical.fhir import FileStream
from wardround.clinical.lines import check_unreadable_share
from wardround.clinical.quarantine import Reason, SetAside, garbled
from wardround.clinical.sources.fhir_lines import NOT_JSON, decoded, why_unreadable
from wardround.clinical.tables import (
    BATCH_ROWS,
    Batch,
    ColumnarRead,
    ColumnInfo,
    ColumnKind,
)
from wardround.clinical.tables.cells import from_objects
from wardround.clinical.tables.table import MISSING
from wardround.clinical.views import View, ViewColumn
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON, digest

_NUMBERS = frozenset({"integer", "decimal", "positiveInt", "unsignedInt", "integer64"})
_DATES = frozenset({"date", "dateTime", "instant"})


class ViewTable:
    """The rows of ``view`` over the resources of ``stream``; a `Table`, to be read once."""

    def __init__(
        self,
        view: View,
        stream: FileStream,
        missing: Collection[str] = MISSING,
        maximum_unreadable_share: float = 1.0,
    ) -> None:
        self.name = stream.name
        self._view = view
        self._stream = stream
        self._missing = missing
        self._share = maximum_unreadable_share
        self._rejected: list[SetAside] = []
        self._rows = 0

    def describe(self) -> tuple[ColumnInfo, ...]:
        """The view's columns; nothing is read."""
        return tuple(
            ColumnInfo(column.name, _kind(column), column.type or "")
            for column in self._view.columns
        )

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the rows of all resources of the view's type.

        Raises WR-DATA-014 for a column that the view does not have, and what the stream raises.
        """
        index = {column.name: number for number, column in enumerate(self._view.columns)}
        for name in columns:
            if name not in index:
                raise WardroundError(
                    "WR-DATA-014",
                    f"The mapped column {name!r} is not in the view.",
                    "If it was renamed, mend the mapping and have it approved again.",
                    path=self.name,
                )
        kinds = {
            name: ColumnKind.TEXT if name in text else _kind(self._view.columns[index[name]])
            for name in columns
        }
        places: list[int] = []
        rows: list[tuple[object, ...]] = []
        for place, row in self._all_rows():
            places.append(place)
            rows.append(row)
            if len(rows) >= batch_rows:
                yield self._batch(places, rows, index, kinds)
                places, rows = [], []
        if rows:
            yield self._batch(places, rows, index, kinds)
        no_text = garbled(self._rejected)
        unreadable = sum(one.reason is Reason.UNREADABLE_LINE for one in self._rejected)
        check_unreadable_share(
            self.name,
            unreadable + len(no_text),
            self._stream.read.resources,
            self._share,
            no_text,
        )

    @property
    def read(self) -> ColumnarRead:
        """The files, as far as they were read."""
        read = self._stream.read
        content = "".join(file.digest for file in read.parts)
        return ColumnarRead(self.name, None, read.parts, self._rows, digest(content.encode()), None)

    @property
    def rejected(self) -> tuple[SetAside, ...]:
        """Lines that are no resources, and resources that the view can't be evaluated on."""
        return tuple(self._rejected)

    def where(self, place: int) -> str:
        """Return a place as ``file:line``."""
        return self._stream.where(place)

    def _all_rows(self) -> Iterator[tuple[int, tuple[object, ...]]]:
        for body, place in self._stream:
            try:
                resource: JSON = decoded(body) if isinstance(body, bytes) else body
            except NOT_JSON:
                self._stream.refuse()
                self._reject(why_unreadable(body if isinstance(body, bytes) else b""), place)
                continue
            if not isinstance(resource, dict) or "resourceType" not in resource:
                self._reject(Reason.UNREADABLE_LINE, place)
                continue
            if resource["resourceType"] != self._view.resource_type:
                continue
            try:
                found = self._view.rows(resource)
            except WardroundError:
                self._reject(Reason.VIEW_FAILED, place)
                continue
            for row in found:
                self._rows += 1
                yield place, row

    def _batch(
        self,
        places: list[int],
        rows: list[tuple[object, ...]],
        index: dict[str, int],
        kinds: dict[str, ColumnKind],
    ) -> Batch:
        columns = {}
        for name, kind in kinds.items():
            written = [row[index[name]] for row in rows]
            if kind is ColumnKind.TEXT:
                written = [None if cell is None else _text(cell) for cell in written]
            found = from_objects(kind, written, self._missing)
            for at, reason in found.bad:
                self._reject(reason, places[at])
            columns[name] = found.column
        return Batch(np.array(places, np.int64), columns)

    def _reject(self, reason: Reason, place: int) -> None:
        self._rejected.append(SetAside(reason, self.where(place), record=False))


def _kind(column: ViewColumn) -> ColumnKind:
    if column.collection:
        return ColumnKind.TEXT
    if column.type in _NUMBERS:
        return ColumnKind.NUMBER
    if column.type in _DATES:
        return ColumnKind.DATE
    return ColumnKind.BOOLEAN if column.type == "boolean" else ColumnKind.TEXT


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    return cell if isinstance(cell, str) else str(cell)
