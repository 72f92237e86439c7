"""The one form in which every columnar source is seen: named, typed columns, batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import SetAside
from wardround.ids import Digest

BATCH_ROWS = 65_536
"""Rows of a batch unless said otherwise: a few megabytes, and the overhead of a batch is lost."""

MISSING = ("",)
"""Text that stands for *no value* unless the steward names more."""


class ColumnKind(StrEnum):
    """What a column's cells are, whatever the source calls its type."""

    NUMBER = "number"
    TEXT = "text"
    DATE = "date"
    BOOLEAN = "boolean"


@dataclass(frozen=True)
class ColumnInfo:
    """One column of a source's schema.

    ``declared`` is the type as the source writes it (empty where it states none), ``description``
    the comment that the source keeps on the column.
    """

    name: str
    kind: ColumnKind
    declared: str
    description: str | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Column:
    """The cells of one column in one batch, shape ``(rows,)``; never printed.

    ``values`` is float64 (finite), an object array of ``str`` (stripped), int64 (proleptic
    Gregorian ordinals, as ``date.toordinal``) or bool, after the column's kind. Where ``missing``
    is set the value is a harmless 0, empty text or False.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.missing)


@dataclass(frozen=True, repr=False, eq=False)
class Batch:
    """Some consecutive rows of a table; never printed.

    ``places`` holds for each row its place in the source, counted from 1 through all its files
    (a line for text, a row otherwise); :meth:`Table.where` puts it into words.
    """

    places: NDArray[np.int64]
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def first_row(self) -> int:
        """The place of the first row."""
        return int(self.places[0])


@dataclass(frozen=True)
class ColumnarRead:
    """What was read, for provenance.

    ``query`` is the statement that a database was given, ``files`` the files with the SHA-256 of
    their bytes. ``rows`` counts the rows handed over. ``digest`` is, for files, their digest (of
    several, the SHA-256 over theirs in order); for a database it is taken over the content as
    handed over, see :mod:`wardround.clinical.tables.fingerprint`.
    """

    name: str
    query: str | None
    files: tuple[FileRead, ...]
    rows: int
    digest: Digest
    size_bytes: int | None


class Table(Protocol):
    """A table of a source. Reading it again reads the source again."""

    @property
    def name(self) -> str:
        """How the source is called in reports and errors."""

    def describe(self) -> tuple[ColumnInfo, ...]:
        """Return the schema, in the source's order; rows are read only where there is none."""

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the named columns, batch by batch.

        Columns named in ``text`` come as TEXT whatever their kind: an identifier of 19 digits
        does not survive as a float.

        Raises:
            WardroundError: ``WR-DATA-014`` where a column vanished, ``-011`` where there is no
                row; each kind of source adds its own.
        """

    @property
    def read(self) -> ColumnarRead:
        """What the last whole iteration of :meth:`batches` read."""

    @property
    def rejected(self) -> tuple[SetAside, ...]:
        """What the last iteration could not use.

        Rows that are no rows (``record`` is True; they are in no batch), and single cells that
        are not what their column says (``record`` is False; they are missing in the batch).
        """

    def where(self, place: int) -> str:
        """Return a place as ``file:line`` or ``table:row``."""


Columns: TypeAlias = dict[str, Column]
