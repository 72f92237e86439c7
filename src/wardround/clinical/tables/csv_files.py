"""CSV files as a table of text."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from wardround.clinical.lines import LineReader, check_unreadable_share
from wardround.clinical.provenance import FileRead, locate
from wardround.clinical.quarantine import SetAside, garbled
from wardround.clinical.tables.account import Accounted
from wardround.clinical.tables.cells import texts
from wardround.clinical.tables.rows import Row, RowReader, find_column
from wardround.clinical.tables.table import (
    BATCH_ROWS,
    MISSING,
    Batch,
    ColumnarRead,
    ColumnInfo,
    ColumnKind,
)
from wardround.ids import Digest


def csv_table(
    name: str,
    folder: Path | zipfile.Path,
    files: Sequence[str],
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    missing: Collection[str] = MISSING,
    maximum_unreadable_share: float = 0.05,
    quotes: bool = True,
    header: Sequence[str] = (),
) -> CsvTable:
    """Return the table of ``files`` in ``folder``, each with the same header line.

    Files that have none are given one by ``header``.

    ``folder`` may be the inside of a ZIP file. Every cell is TEXT, stripped; those in ``missing``
    are missing. Nothing is opened yet.
    """
    form = CsvForm(encoding, delimiter, quotes, tuple(header))
    return CsvTable(name, folder, files, form, missing, maximum_unreadable_share)


@dataclass(frozen=True)
class CsvForm:
    """How text is written; without ``quotes`` a quotation mark is an ordinary character."""

    encoding: str
    delimiter: str
    quotes: bool
    header: tuple[str, ...] = ()


class CsvTable(Accounted):
    """A :class:`~wardround.clinical.tables.table.Table` over CSV files.

    Raises (while read):
        WardroundError: ``WR-DATA-010`` to ``-013`` and ``-017`` for a file that can't be read,
            ``-014`` for a column that vanished, ``-015`` for an unusable header, ``-016`` where
            too many rows can't be read.
    """

    def __init__(
        self,
        name: str,
        folder: Path | zipfile.Path,
        files: Sequence[str],
        form: CsvForm,
        missing: Collection[str],
        maximum_unreadable_share: float,
    ) -> None:
        super().__init__(name)
        self._folder = folder
        self._names = tuple(files)
        self._form = form
        self._missing = frozenset(missing)
        self._share = maximum_unreadable_share
        self._files: tuple[FileRead, ...] = ()

    def describe(self) -> tuple[ColumnInfo, ...]:
        """Return the first file's header, less names that stand there twice; read no other line."""
        header = self._open(self._names[0])[1].header
        return tuple(
            ColumnInfo(column, ColumnKind.TEXT, "") for column in header if header.count(column) < 2
        )

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the named columns; ``text`` changes nothing, since all is text."""
        self._read, self._rejected, self._files = None, (), ()
        rejected: list[SetAside] = []
        files: list[FileRead] = []
        used = found = unreadable = lines_before = size = 0
        for name in self._names:
            lines, rows = self._open(name)
            wanted = {column: find_column(rows.header, column, name) for column in columns}
            numbered, width = iter(rows), len(rows.header)
            while part := _part(numbered, batch_rows):
                # A place must be sayable before the file is read to its end.
                self._files = (*files, lines.result)
                places, cells = part
                yield Batch(
                    np.array(places, dtype=np.int64) + lines_before,
                    {
                        column: texts(cells[at::width], None, self._missing).column
                        for column, at in wanted.items()
                    },
                )
                used += len(places)
            rejected += rows.rejected
            found += rows.rows
            unreadable += rows.unreadable
            lines_before += lines.lines
            size += lines.size_bytes
            files.append(lines.result)
        self._files, self._rejected = tuple(files), tuple(rejected)
        check_unreadable_share(self._name, unreadable, found, self._share, garbled(rejected))
        digest = digest_of(self._files)
        self._read = ColumnarRead(self._name, None, self._files, used, digest, size)

    def where(self, place: int) -> str:
        """Return a place of a batch as ``file:line``."""
        return locate(self._files, place)

    def _open(self, name: str) -> tuple[LineReader, RowReader]:
        lines = LineReader(self._folder / name, name)
        form = self._form
        rows = RowReader(
            lines, form.encoding, form.delimiter, quotes=form.quotes, header=form.header
        )
        return lines, rows


def _part(rows: Iterator[Row], limit: int) -> tuple[list[int], list[str]] | None:
    """Return the lines and the cells, row after row, of the next rows.

    One flat list of cells: the collector of garbage would look through 65,536 small lists again
    and again, and take as long as all else together.
    """
    places: list[int] = []
    cells: list[str] = []
    for line, row in islice(rows, limit):
        places.append(line)
        cells += row
    return (places, cells) if places else None


def digest_of(files: Sequence[FileRead]) -> Digest:
    """Return one file's digest, or of several the SHA-256 over theirs, in order."""
    if len(files) == 1:
        return files[0].digest
    return Digest(f"sha256:{hashlib.sha256(''.join(f.digest for f in files).encode()).hexdigest()}")
