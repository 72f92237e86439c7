"""Rows of delimited text: which cells belong together, and which lines are no row at all.

What a cell means is not known here. No error shows a cell, nor a column that was not asked for:
where the header is missing, the first row is a patient.

A line that is no row is set aside by its number, and the next one is read. What RFC 4180 allows is
read as it stands, a quoted cell over several lines too. But a quotation that runs over a line end
was never closed if it meets a stray quotation mark, the end of the file, more than 131,072
characters in a cell (the `csv` module's limit) or `LONGEST_RECORD` in a record; or if it leads to
no row, and holds one; or if the lines inside it are rows, with twelve delimiters or more in all.
Then the line where its record begins is set aside, and each line after it is read by itself up to
where this was seen. So no line is lost, and the work stays proportional to the file. What can't be
told from valid CSV is a quotation that was opened by one slip and closed by another just behind.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import count as _count
from typing import Any, Final, TypeAlias

from wardround.clinical.lines import LineReader, empty, truncated, wrong_encoding
from wardround.clinical.numbers import read_number
from wardround.clinical.quarantine import Reason, SetAside
from wardround.errors import WardroundError

Row: TypeAlias = tuple[int, list[str]]
"""The line at which a row begins, and its cells, as many as the header has."""

LONGEST_RECORD: Final = 1024 * 1024
"""Characters of a record over several lines; so much, and a block of lines, is held in memory."""

_NO_CHANCE: Final = 12
"""So many delimiters don't stand by chance where rows have them."""

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
        self._blocks = lines.blocks()
        self._encoding = encoding
        self._parsed: Callable[..., Any] = partial(
            csv.reader,
            delimiter=delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        )
        mark = re.escape(delimiter)
        cell = rf'(?:"(?:[^"]|"")*+"|[^"{mark}\r\n]*+)'
        self._well_formed = re.compile(rf"{cell}(?:{mark}{cell})*+\r?\n?")
        self._text = ""  # the lines from the `_first`th on that are held and not yet read
        self._first = 1
        self._garbled: set[int] = set()  # those lines that hold a byte that is no text
        self.rows = 0
        self.unreadable = 0
        self.rejected: list[SetAside] = []
        self.header = tuple(header) or self._read_header()

    def __iter__(self) -> Iterator[Row]:
        while self._text or self._more():
            yield from self._held()
        if self.rows == 0:
            raise empty(self._lines.name)

    def _more(self) -> bool:
        """Hold the next lines too; False, and nothing done, at the end of the file."""
        block, count = next(self._blocks, (b"", 0))
        try:
            if b"\0" in block:
                raise UnicodeError
            self._text += block.decode(self._encoding)
        except UnicodeError:
            number = self._lines.lines - count + 1
            self._text += "\n".join(map(self._salvaged, block.split(b"\n"), _count(number)))
        return count > 0

    def _salvaged(self, line: bytes, number: int) -> str:
        """The line as text, with its delimiters and quotation marks, even if it is garbled."""
        try:
            if b"\0" in line:
                raise UnicodeError
            return line.decode(self._encoding)
        except UnicodeError:
            self._garbled.add(number)
            return line.decode(self._encoding, "replace").replace("\0", "\ufffd")

    def _read_header(self) -> tuple[str, ...]:
        name = self._lines.name
        self._more()
        source = io.StringIO(self._text, newline="\n")
        reader = self._parsed(source)
        try:
            header = tuple(cell.strip() for cell in next(reader))
        except StopIteration:
            raise empty(name) from None
        except csv.Error:
            raise _bad_header(name) from None
        self._first += reader.line_num
        self._text = self._text[source.tell() :]
        if not self._garbled.isdisjoint(range(1, self._first)):
            raise wrong_encoding(name, 1)
        if _looks_like_a_record(header):
            raise WardroundError(
                "WR-DATA-015",
                "The first line looks like a record, not like a header: it has dates or numbers.",
                "Put a line with the columns' names above it, or state their names "
                "(--header, or header in the mapping).",
                path=f"{name}:1",
            )
        return header

    def _held(self) -> Iterator[Row]:
        """Read the lines that are held, less a record at their end that may go on behind them."""
        width, garbled, first = len(self.header), self._garbled, self._first
        text, self._text = self._text, ""
        self._first = self._lines.lines + 1
        reader, before = self._parsed(io.StringIO(text, newline="\n")), first - 1
        last, lines = before, list[str]()
        while True:
            try:
                for row in reader:
                    start, last = last + 1, before + reader.line_num
                    if start == last and len(row) == width and start not in garbled:
                        self.rows += 1
                        yield start, row
                    elif start == last:
                        yield from self._single(row, start)
                    else:
                        lines = lines or _split(text)
                        record = lines[start - first : last - first + 1]
                        yield from self._several(row, start, record)
                break
            except csv.Error:
                start, last = last + 1, before + reader.line_num
            lines = lines or _split(text)
            record = lines[start - first : last - first + 1]
            if last == self._lines.lines and sum(map(len, record)) <= LONGEST_RECORD:
                self._text, self._first = "".join(record), start
                if self._more():
                    break
                self._text = ""
            if start < last:
                self._reject(Reason.UNREADABLE_LINE, start)
                yield from self._one_by_one(start + 1, record[1:-1])
                # Seen from here, the last line may be the beginning of another record.
                before = last = last - 1
                reader = self._parsed(_from(lines, last - first + 1))
            else:
                yield from self._one_by_one(start, record)
        self._garbled = {number for number in garbled if number >= self._first}

    def _single(self, row: list[str], line: int) -> Iterator[Row]:
        """A record of one line."""
        if not row:
            return
        if len(row) != len(self.header) or line in self._garbled:
            self._check_not_cut(row, line)
            self._reject(Reason.WRONG_COLUMN_COUNT, line)
            return
        self.rows += 1
        yield line, row

    def _several(self, row: list[str], start: int, record: list[str]) -> Iterator[Row]:
        """A record of several lines, unless what made it one is a quotation that was not closed."""
        width, last = len(self.header), start + len(record) - 1
        garbled = not self._garbled.isdisjoint(range(start, last + 1))
        sound = len(row) == width and not garbled
        if sum(map(len, record)) <= LONGEST_RECORD and self._well_formed.fullmatch("".join(record)):
            inside = record[1:-1]
            if sound and (
                len(inside) * (width - 1) < _NO_CHANCE or not all(map(self._is_row, inside))
            ):
                self.rows += 1
                yield start, row
                return
            if not sound and not any(map(self._is_row, record[1:])):
                self._check_not_cut(row, last)
                self._reject(Reason.WRONG_ENCODING if garbled else Reason.WRONG_COLUMN_COUNT, start)
                return
        self._reject(Reason.UNREADABLE_LINE, start)
        yield from self._one_by_one(start + 1, record[1:])

    def _one_by_one(self, start: int, lines: list[str]) -> Iterator[Row]:
        """Each line as a record of its own."""
        for number, line in enumerate(lines, start):
            try:
                row: list[str] = next(self._parsed([line]), [])
            except csv.Error:
                if _is_open(self._parsed, line):
                    self._check_not_cut([], number)
                self._reject(Reason.UNREADABLE_LINE, number)
            else:
                yield from self._single(row, number)

    def _is_row(self, line: str) -> bool:
        try:
            return len(next(self._parsed([line]), [])) == len(self.header)
        except csv.Error:
            return False

    def _check_not_cut(self, row: list[str], line: int) -> None:
        """Refuse the file where it ends before its last row does: more of it may be missing."""
        lines = self._lines
        if line == lines.lines and not lines.complete and len(row) < len(self.header):
            raise truncated(lines.name, line)

    def _reject(self, reason: Reason, line: int) -> None:
        if line in self._garbled:
            reason = Reason.WRONG_ENCODING
        self.rows += 1
        self.unreadable += 1
        self.rejected.append(SetAside(reason, f"{self._lines.name}:{line}"))


def _split(text: str) -> list[str]:
    """Return the lines with their ends; `str.splitlines` knows other ends too."""
    return io.StringIO(text, newline="\n").readlines()


def _from(lines: list[str], at: int) -> Iterator[str]:
    """Iterate from a line on without passing over those before."""
    return (lines[number] for number in range(at, len(lines)))


def _is_open(parsed: Callable[..., Any], line: str) -> bool:
    """Whether nothing is wrong with a line but that its last quotation is not closed."""
    try:
        return bool(next(parsed([line.rstrip("\r\n") + '"']), []))
    except csv.Error:
        return False


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
