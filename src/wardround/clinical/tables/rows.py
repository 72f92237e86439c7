"""Rows of delimited text: which cells belong together, and which lines are no row at all.

What a cell means is not known here. No error shows a cell, nor a column that was not asked for:
where the header is missing, the first row is a patient.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, TypeAlias

from wardround.clinical.lines import LineReader, empty, truncated, wrong_encoding
from wardround.clinical.numbers import read_number
from wardround.clinical.quarantine import Reason, SetAside
from wardround.errors import WardroundError

Row: TypeAlias = tuple[int, list[str]]
"""The line at which a row begins, and its cells, as many as the header has."""

_DAY: Final = re.compile(
    r"(?:[0-9]{4}[-./][0-9]{1,2}[-./][0-9]{1,2}|[0-9]{1,2}[-./][0-9]{1,2}[-./][0-9]{4}).*"
)


class RowReader:
    """Read one file's header, then iterate over its rows.

    Without ``quotes`` a quotation mark is a character like any other. A file without a header line
    is given its ``header``. Empty lines are passed over. Lines that are no row are counted in
    ``unreadable`` and kept in ``rejected``; ``rows`` counts both kinds.

    Raises:
        WardroundError: ``WR-DATA-010`` to ``-013`` and ``-017`` for a file that can't be read,
            ``-015`` where the header can't.
    """

    def __init__(
        self,
        lines: LineReader,
        encoding: str,
        delimiter: str,
        *,
        quotes: bool = True,
        header: Sequence[str] = (),
    ) -> None:
        self._lines = lines
        self._text = _Decoded(lines, encoding)
        self._rows = csv.reader(
            self._text,
            delimiter=delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        )
        self.rows = 0
        self.unreadable = 0
        self.rejected: list[SetAside] = []
        if header:
            self.header = tuple(header)
            return
        try:
            self.header = tuple(cell.strip() for cell in next(self._rows))
        except StopIteration:
            raise empty(lines.name) from None
        except csv.Error:
            raise _bad_header(lines.name) from None
        if _looks_like_a_record(self.header):
            raise WardroundError(
                "WR-DATA-015",
                "The first line looks like a record, not like a header: it has dates or numbers.",
                "Put a line with the columns' names above it, or state their names "
                "(--header, or header in the mapping).",
                path=f"{lines.name}:1",
            )

    def __iter__(self) -> Iterator[Row]:
        lines, text, rows, width = self._lines, self._text, self._rows, len(self.header)
        while True:
            first_line = lines.lines + 1
            try:
                row = next(rows, None)
            except csv.Error:
                if text.exhausted:
                    # A quotation mark was never closed: the rest of the file is one cell.
                    raise truncated(lines.name, first_line) from None
                self._reject(Reason.UNREADABLE_LINE, first_line)
                continue
            if row is None:
                break
            if not row:
                continue
            if len(row) != width:
                if not lines.complete and len(row) < width:
                    raise truncated(lines.name, first_line)
                self._reject(Reason.WRONG_COLUMN_COUNT, first_line)
                continue
            self.rows += 1
            yield first_line, row
        if self.rows == 0:
            raise empty(lines.name)

    def _reject(self, reason: Reason, line: int) -> None:
        self.rows += 1
        self.unreadable += 1
        self.rejected.append(SetAside(reason, f"{self._lines.name}:{line}"))


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


def _looks_like_a_record(cells: Sequence[str]) -> bool:
    """Whether a day stands among the cells, or numbers fill half of them or more.

    A first record of words alone passes as a header; nothing tells it from one.
    """
    filled = [cell for cell in cells if cell]
    numbers = sum(isinstance(read_number(cell.replace(",", ".")), float) for cell in filled)
    days = any(_DAY.fullmatch(cell) for cell in filled)
    return bool(filled) and (days or 2 * numbers >= len(filled))


def find_column(header: Sequence[str], column: str, name: str) -> int:
    """Return where ``column`` stands in the header of the source ``name``.

    Raises:
        WardroundError: ``WR-DATA-014`` where it does not, ``-015`` where it stands there twice.
    """
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


def require_columns(known: Collection[str], wanted: Collection[str], name: str) -> None:
    """Refuse a typed source that lacks a column: ``WR-DATA-014``."""
    for column in wanted:
        if column not in known:
            raise WardroundError(
                "WR-DATA-014",
                f"The mapped column {column!r} is not in the source.",
                "If it was renamed, mend the mapping and have it approved again.",
                path=name,
            )


def _bad_header(name: str) -> WardroundError:
    return WardroundError(
        "WR-DATA-015",
        "The header can't be read.",
        "Check the delimiter, the quotation marks and the line ends of the first line.",
        path=f"{name}:1",
    )
