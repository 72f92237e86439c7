"""From Arrow record batches to columns.

Numbers are views of the driver's own buffers; text is decoded once per batch and cut by offsets.
The Arrow C data interface (Apache Arrow, "The Arrow C data interface", 2020) is read through
nanoarrow, since PyArrow weighs more than the rest of this package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.lines import wrong_encoding
from wardround.clinical.tables.cells import Cells, booleans, days, numbers, texts, written_days
from wardround.clinical.tables.table import ColumnKind

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray

_EPOCH = date(1970, 1, 1).toordinal()
_NUMBERS = {
    "c": np.int8,
    "C": np.uint8,
    "s": np.int16,
    "S": np.uint16,
    "i": np.int32,
    "I": np.uint32,
    "l": np.int64,
    "L": np.uint64,
    "f": np.float32,
    "g": np.float64,
}


class Mistyped(Exception):
    """A column came in another Arrow type than its kind; it holds no value."""


def read_batch(
    array: CArray,
    part: range,
    formats: Mapping[str, str],
    kinds: Mapping[str, ColumnKind],
    markers: Collection[str],
    *,
    where: str,
) -> dict[str, Cells]:
    """Return the columns of some rows of one record batch.

    ``formats`` are the Arrow formats of its fields in order, named as in ``kinds``. Text in a
    DATE column is read as ISO 8601, integers in a BOOLEAN column as 0 and 1.

    Raises:
        Mistyped: where a format can't become the kind.
        WardroundError: ``WR-DATA-012`` for text that is not UTF-8; ``where`` names the source.
    """
    # A slice of a record batch leaves its children whole.
    rows = range(array.offset + part.start, array.offset + part.stop)
    return {
        name: _read(array.child(at), rows, formats[name], kinds[name], markers, where)
        for at, name in enumerate(formats)
    }


def parts(array: CArray, rows: int) -> Iterator[range]:
    """Cut a record batch's rows into parts of at most ``rows``."""
    for start in range(0, array.length, rows):
        yield range(start, min(start + rows, array.length))


def _read(
    array: CArray, part: range, form: str, kind: ColumnKind, markers: Collection[str], where: str
) -> Cells:
    view = array.view()
    rows, start = len(part), view.offset + part.start
    if form == "n":
        return _nothing(kind, rows)
    missing = np.zeros(rows, dtype=np.bool_)
    if view.null_count:
        bits = np.frombuffer(view.buffer(0), dtype=np.uint8)
        missing = np.unpackbits(bits, count=start + rows, bitorder="little")[start:] == 0
    if form in "uU":
        cells = texts(_text(view, rows, start, form, where), missing, markers)
        if kind is ColumnKind.TEXT:
            return cells
        if kind is ColumnKind.DATE:
            return written_days(cells)
    elif form in _NUMBERS:
        values = np.frombuffer(view.buffer(1), dtype=_NUMBERS[form])[start : start + rows]
        if kind is ColumnKind.NUMBER:
            return numbers(_harmless(values.astype(np.float64), missing), missing)
        if kind is ColumnKind.BOOLEAN:
            return booleans(_harmless(values, missing), missing)
    elif form == "tdD" and kind is ColumnKind.DATE:
        values = np.frombuffer(view.buffer(1), dtype=np.int32)[start : start + rows]
        return days(_harmless(values.astype(np.int64) + _EPOCH, missing), missing)
    elif form == "b" and kind is ColumnKind.BOOLEAN:
        bits = np.frombuffer(view.buffer(1), dtype=np.uint8)
        truth = np.unpackbits(bits, count=start + rows, bitorder="little")[start:]
        return booleans(_harmless(truth, missing), missing)
    raise Mistyped(form)


def _text(view: object, rows: int, start: int, form: str, where: str) -> list[str]:
    buffer = view.buffer  # type: ignore[attr-defined]
    width = np.int32 if form == "u" else np.int64
    offsets = np.frombuffer(buffer(1), dtype=width)[start : start + rows + 1].astype(np.int64)
    if rows == 0 or offsets[-1] == offsets[0]:
        return [""] * rows
    raw = np.frombuffer(buffer(2), dtype=np.uint8)[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    try:
        text = raw.tobytes().decode()
    except UnicodeDecodeError:
        raise wrong_encoding(where, 1) from None
    if len(text) < len(raw):
        # Cells begin where characters begin, so a byte's place becomes its character's place.
        characters = np.zeros(len(raw) + 1, dtype=np.int64)
        np.cumsum((raw & 0xC0) != 0x80, out=characters[1:])
        offsets = characters[offsets]
    cuts = offsets.tolist()
    return [text[a:b] for a, b in pairwise(cuts)]


def _harmless(values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    return np.where(missing, np.zeros((), dtype=values.dtype), values) if missing.any() else values


def _nothing(kind: ColumnKind, rows: int) -> Cells:
    missing = np.ones(rows, dtype=np.bool_)
    if kind is ColumnKind.TEXT:
        return texts([""] * rows, missing, ())
    if kind is ColumnKind.NUMBER:
        return numbers(np.zeros(rows), missing)
    if kind is ColumnKind.DATE:
        return days(np.zeros(rows, dtype=np.int64), missing)
    return booleans(np.zeros(rows, dtype=np.bool_), missing)
