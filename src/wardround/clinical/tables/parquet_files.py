"""Parquet files as a table, read by DuckDB's built-in reader."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from wardround.clinical.lines import changed, empty, unreadable
from wardround.clinical.provenance import FileRead, locate
from wardround.clinical.tables import duck
from wardround.clinical.tables.account import Accounted
from wardround.clinical.tables.csv_files import digest_of
from wardround.clinical.tables.reading import Reading, kinds_of
from wardround.clinical.tables.table import (
    BATCH_ROWS,
    MISSING,
    Batch,
    ColumnarRead,
    ColumnInfo,
)
from wardround.errors import WardroundError
from wardround.ids import Digest

_BLOCK = 1 << 20


def parquet_table(
    name: str, folder: Path, files: Sequence[str], *, missing: Collection[str] = MISSING
) -> ParquetTable:
    """Return the table of ``files`` in ``folder``, all of one schema. Nothing is opened yet."""
    return ParquetTable(name, folder, files, missing)


class ParquetTable(Accounted):
    """A :class:`~wardround.clinical.tables.table.Table` over Parquet files.

    Raises (while read):
        WardroundError: ``WR-DATA-010`` for a file that isn't there, ``-011`` where there is no
            row, ``-014`` for a column that vanished, ``-052`` for a file that is no whole
            Parquet, ``-059`` for one that changed while it was read.
    """

    def __init__(
        self, name: str, folder: Path, files: Sequence[str], missing: Collection[str]
    ) -> None:
        super().__init__(name)
        self._folder = folder
        self._names = tuple(files)
        self._missing = missing
        self._files: tuple[FileRead, ...] = ()

    def describe(self) -> tuple[ColumnInfo, ...]:
        """Return the first file's schema, from its footer."""
        return self._describe(self._names[0])

    def batches(
        self,
        columns: Sequence[str],
        batch_rows: int = BATCH_ROWS,
        *,
        text: Collection[str] = (),
    ) -> Iterator[Batch]:
        """Yield the named columns, file by file."""
        self._read, self._rejected, self._files = None, (), ()
        reading: Reading | None = None
        size = 0
        for name in self._names:
            kinds = kinds_of(self._describe(name), columns, text, name)
            reading = reading or Reading(self._name, kinds)
            path, before = self._folder / name, reading.rows
            stamp, digest = _stamp(path), _digest(path)
            with _whole(name), duck.open_duckdb() as connection:
                source = f"read_parquet({duck.literal(path)})"
                for rows, cells in duck.draw(
                    connection, source, kinds, batch_rows, self._missing, where=name
                ):
                    # A place must be sayable before the file is read to its end.
                    lines = reading.rows + rows - before
                    files, self._files = self._files, (*self._files, FileRead(name, digest, lines))
                    yield reading.batch(cells, rows)
                    self._files = files
            if _stamp(path) != stamp:
                raise changed(name)
            if reading.rows == before:
                raise empty(name)
            self._files = (*self._files, FileRead(name, digest, reading.rows - before))
            size += path.stat().st_size
        rows = reading.rows if reading else 0
        self._rejected = tuple(reading.rejected) if reading else ()
        self._read = ColumnarRead(self._name, None, self._files, rows, digest_of(self._files), size)

    def where(self, place: int) -> str:
        """Return a place of a batch as ``file:row``."""
        return locate(self._files, place)

    def _describe(self, name: str) -> tuple[ColumnInfo, ...]:
        path = self._folder / name
        if not path.is_file():
            raise unreadable(name)
        if path.stat().st_size == 0:
            raise empty(name)
        with _whole(name), duck.open_duckdb() as connection:
            return duck.describe(connection, f"read_parquet({duck.literal(path)})")


class _whole:  # noqa: N801
    """Turn whatever DuckDB says about a file into one error that shows none of its content."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        import duckdb

        if isinstance(error, duckdb.Error | RuntimeError):
            raise WardroundError(
                "WR-DATA-052",
                "The file is no whole Parquet file, or is encrypted.",
                "Copy or export it again, and compare its size with the original.",
                path=self._name,
            ) from None


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _digest(path: Path) -> Digest:
    whole = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                whole.update(block)
    except OSError:
        raise unreadable(path.name) from None
    return Digest(f"sha256:{whole.hexdigest()}")
