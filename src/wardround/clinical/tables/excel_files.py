"""One sheet of an Excel or OpenDocument workbook as a table (the extra ``[excel]``)."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path

from wardround.clinical.lines import empty, unreadable
from wardround.clinical.provenance import FileRead
from wardround.clinical.tables.account import Accounted
from wardround.clinical.tables.cells import as_text, from_objects
from wardround.clinical.tables.reading import Reading, kinds_of
from wardround.clinical.tables.rows import find_column
from wardround.clinical.tables.table import (
    BATCH_ROWS,
    MISSING,
    Batch,
    ColumnarRead,
    ColumnInfo,
    ColumnKind,
)
from wardround.errors import WardroundError
from wardround.ids import Digest

MAXIMUM_WORKBOOK_BYTES = 256 * 2**20

# Excel encrypts a whole .xlsx into one stream of an OLE compound file ([MS-OFFCRYPTO] 2.3.4.4);
# the reader takes such a file for a damaged .xls.
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def excel_table(
    name: str,
    path: Path,
    *,
    sheet: str | None = None,
    header_row: int = 1,
    missing: Collection[str] = MISSING,
) -> ExcelTable:
    """Return the table of one sheet.

    ``sheet`` may be left out where the workbook has one sheet; ``header_row`` is counted from 1.
    A column whose present cells are all dates, all numbers or all truth values is of that kind,
    any other is TEXT. Nothing is opened yet.
    """
    return ExcelTable(name, path, sheet, header_row, missing)


class ExcelTable(Accounted):
    """A :class:`~wardround.clinical.tables.table.Table` over one sheet, which is held in memory.

    Raises (while read):
        WardroundError: ``WR-DATA-050`` where the package is not installed, ``-010`` where the
            file isn't there, ``-051`` where it can't be read as a workbook or the sheet is
            missing, ``-011`` where there is no row, ``-014`` and ``-015`` for columns.
    """

    def __init__(
        self, name: str, path: Path, sheet: str | None, header_row: int, missing: Collection[str]
    ) -> None:
        super().__init__(name)
        self._path = path
        self._sheet = sheet
        self._header_row = header_row
        self._missing = frozenset(missing)

    def describe(self) -> tuple[ColumnInfo, ...]:
        """Return the columns; a sheet has no schema, so all its cells are looked at."""
        return _schema(*self._load()[:2], self._missing)

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the named columns."""
        self._read, self._rejected = None, ()
        header, rows, digest, size = self._load()
        at = {column: find_column(header, column, self._path.name) for column in columns}
        kinds = kinds_of(_schema(header, rows, self._missing), columns, text, self._path.name)
        reading = Reading(self._name, kinds)
        if not rows:
            raise empty(self._path.name)
        for start in range(0, len(rows), batch_rows):
            part = rows[start : start + batch_rows]
            cells = {
                column: from_objects(kind, [row[at[column]] for row in part], self._missing)
                for column, kind in kinds.items()
            }
            batch = reading.batch(cells, len(part))
            yield Batch(batch.places + self._header_row, batch.columns)
        lines = self._header_row + len(rows)
        file = FileRead(self._path.name, digest, lines)
        self._rejected = tuple(reading.rejected)
        self._read = ColumnarRead(self._name, None, (file,), reading.rows, digest, size)

    def where(self, place: int) -> str:
        """Return a place of a batch as ``file:row``, the row as the sheet numbers it."""
        return f"{self._path.name}:{place}"

    def _load(self) -> tuple[list[str], list[list[object]], Digest, int]:
        """Return the header, the rows below it, and the file's digest and size."""
        content = _content(self._path)
        sheet = _sheet(content, self._path.name, self._sheet)
        # Without `skip_empty_area=False` a sheet that begins lower would shift its row numbers.
        grid: list[list[object]] = [
            [None if cell == "" else cell for cell in row]
            for row in sheet.to_python(skip_empty_area=False)  # type: ignore[attr-defined]
        ]
        while grid and all(cell is None for cell in grid[-1]):
            grid.pop()
        if len(grid) < self._header_row:
            raise empty(self._path.name)
        header = [as_text(cell).strip() for cell in grid[self._header_row - 1]]
        digest = Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
        return header, grid[self._header_row :], digest, len(content)


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise unreadable(path.name)
    try:
        if path.stat().st_size > MAXIMUM_WORKBOOK_BYTES:
            raise _refused(path.name, "The workbook is too large.", "Export it as CSV.")
        content = path.read_bytes()
    except OSError:
        raise unreadable(path.name) from None
    if not content:
        raise empty(path.name)
    return content


def _sheet(content: bytes, name: str, wanted: str | None) -> object:
    try:
        import python_calamine as calamine
    except ImportError:
        raise WardroundError(
            "WR-DATA-050",
            "Reading Excel workbooks needs a package that is not installed.",
            'Install it with pip install "wardround[excel]".',
            path=name,
        ) from None
    if content.startswith(_COMPOUND_FILE) and _ENCRYPTED in content:
        raise _protected(name)
    try:
        workbook = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        sheets = workbook.sheet_names
        if wanted is None and len(sheets) == 1:
            wanted = sheets[0]
        if wanted in sheets:
            return workbook.get_sheet_by_name(wanted)
    except calamine.PasswordError:
        raise _protected(name) from None
    except calamine.CalamineError:
        raise _refused(
            name,
            "The file is no workbook that can be read, or is damaged.",
            "Open it in a spreadsheet program and save it as .xlsx.",
        ) from None
    raise _refused(
        name,
        f"The workbook has no sheet {wanted!r}." if wanted else "The workbook has several sheets.",
        "Name one of its sheets in the mapping (key `sheet`).",
    )


def _protected(name: str) -> WardroundError:
    return _refused(name, "The workbook is protected by a password.", "Save it without one.")


def _refused(name: str, problem: str, remedy: str) -> WardroundError:
    return WardroundError("WR-DATA-051", problem, remedy, path=name)


def _schema(
    header: Sequence[str], rows: Sequence[Sequence[object]], markers: Collection[str]
) -> tuple[ColumnInfo, ...]:
    found = []
    for at, name in enumerate(header):
        if name and header.count(name) < 2:
            kind, declared = _kind([row[at] for row in rows], markers)
            found.append(ColumnInfo(name, kind, declared))
    return tuple(found)


def _kind(cells: Sequence[object], markers: Collection[str]) -> tuple[ColumnKind, str]:
    types = {
        type(cell)
        for cell in cells
        if cell is not None and not (isinstance(cell, str) and cell.strip() in markers)
    }
    if types and types <= {int, float}:
        return ColumnKind.NUMBER, "number"
    if types == {bool}:
        return ColumnKind.BOOLEAN, "truth value"
    if types and all(issubclass(kind, date) for kind in types):
        return ColumnKind.DATE, "date"
    return ColumnKind.TEXT, "text" if types <= {str} else "mixed"
