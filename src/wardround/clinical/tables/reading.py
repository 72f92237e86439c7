"""What every table keeps while it is read: rows, what was set aside, and the final account."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import SetAside
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.fingerprint import Fingerprint
from wardround.clinical.tables.rows import require_columns
from wardround.clinical.tables.table import Batch, ColumnarRead, ColumnInfo, ColumnKind


def kinds_of(
    schema: Sequence[ColumnInfo], wanted: Sequence[str], text: Collection[str], name: str
) -> dict[str, ColumnKind]:
    """Return the kinds of the wanted columns, each once, in the order asked for.

    Raises:
        WardroundError: ``WR-DATA-014`` where one is not in the schema.
    """
    known = {column.name: column.kind for column in schema}
    require_columns(known, wanted, name)
    return {
        column: ColumnKind.TEXT if column in text else known[column]
        for column in dict.fromkeys(wanted)
    }


class Reading:
    """The state of one iteration over a typed source's rows."""

    def __init__(self, name: str, kinds: Mapping[str, ColumnKind]) -> None:
        self._name = name
        self._fingerprint = Fingerprint(kinds)
        self.rows = 0
        self.rejected: list[SetAside] = []

    def batch(self, cells: Mapping[str, Cells], rows: int) -> Batch:
        """Account for the next rows and return them."""
        columns = {name: found.column for name, found in cells.items()}
        first = self.rows + 1
        for found in cells.values():
            for at, reason in found.bad:
                where = f"{self._name}:{first + at}"
                self.rejected.append(SetAside(reason, where, record=False))
        self.rows += rows
        self._fingerprint.add(columns)
        return Batch(np.arange(first, first + rows, dtype=np.int64), columns)

    def finish(self, query: str, files: tuple[FileRead, ...]) -> ColumnarRead:
        """Return the account of a query's rows."""
        return ColumnarRead(
            self._name, query, files, self.rows, self._fingerprint.digest, size_bytes=None
        )
