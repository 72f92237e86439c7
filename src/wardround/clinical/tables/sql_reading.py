"""From what a database's driver hands over, batches of Arrow or rows, to columns of cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from wardround.clinical.lines import wrong_encoding
from wardround.clinical.tables.arrow import Mistyped, parts, read_batch
from wardround.clinical.tables.cells import Cells, from_objects
from wardround.clinical.tables.sql_errors import refused
from wardround.clinical.tables.table import ColumnKind

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray

Batch: TypeAlias = tuple[int, dict[str, Cells]]
"""A number of rows, and their cells by column."""


def from_arrow(
    arrays: Iterable[CArray],
    kinds: Mapping[str, ColumnKind],
    batch_rows: int,
    markers: Collection[str],
    shown: str,
) -> Iterator[Batch]:
    """Yield the cells of record batches whose columns are those of ``kinds``, in their order.

    Raises:
        WardroundError: ``WR-DATA-056`` where a column is of another type than was asked for.
    """
    formats: dict[str, str] = {}
    for array in arrays:
        if not formats:
            fields = array.schema.children
            formats = dict(zip(kinds, (field.format for field in fields), strict=True))
        for part in parts(array, batch_rows):
            try:
                cells = read_batch(array, part, formats, kinds, markers, where=shown)
            except Mistyped:
                raise refused(shown, None) from None
            yield len(part), cells


def from_rows(
    fetch: Callable[[int], Sequence[Iterable[object]]],
    kinds: Mapping[str, ColumnKind],
    batch_rows: int,
    markers: Collection[str],
    shown: str,
) -> Iterator[Batch]:
    """Yield the cells of rows that a cursor's ``fetch`` hands over, until it gives none.

    Raises:
        WardroundError: ``WR-DATA-012`` where text is no text.
    """
    while rows := fetch(batch_rows):
        columns = zip(*rows, strict=True)
        try:
            cells = {
                name: from_objects(kind, column, markers)
                for (name, kind), column in zip(kinds.items(), columns, strict=True)
            }
        except UnicodeDecodeError:
            raise wrong_encoding(shown, 1) from None
        yield len(rows), cells
