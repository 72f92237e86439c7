"""OMOP tables from CSV files, in a folder or a ZIP file, loaded into memory and nowhere else."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from wardround.clinical.lines import LineReader, unreadable
from wardround.clinical.provenance import FileRead
from wardround.clinical.quarantine import Reason, SetAside
from wardround.clinical.tables.csv_files import csv_table
from wardround.clinical.tables.duck import open_duckdb
from wardround.clinical.tables.table import Batch
from wardround.errors import WardroundError

_DOUBLES = ("value_as_number", "quantity")
_REASONS = {
    "BIGINT": Reason.UNREADABLE_NUMBER,
    "DOUBLE": Reason.UNREADABLE_NUMBER,
    "DATE": Reason.IMPOSSIBLE_DATE,
}


class OmopFiles:
    """The tables of one extract; ``rejected`` holds what could not be used while loading."""

    def __init__(self, source: Path) -> None:
        self.shown = source.name
        self._source = source
        self._folder: Path | zipfile.Path = source
        self._names = self._find(source)
        self.connection = open_duckdb()
        self.columns: dict[str, tuple[str, ...]] = {}
        self.files: dict[str, tuple[FileRead, ...]] = {}
        self.rejected: list[SetAside] = []

    def load(self, table: str, wanted: Sequence[str]) -> bool:
        """Load the wanted columns of one table; False where the extract has no such file.

        Raises:
            WardroundError: as a CSV file does.
        """
        if table in self.columns:
            return True
        name = self._names.get(table)
        if name is None:
            return False
        tabs = self._has_tabs(name)
        # The vocabulary comes from OHDSI's Athena with tabs and without quotation.
        rows = csv_table(
            table, self._folder, [name], delimiter="\t" if tabs else ",", quotes=not tabs
        )
        written = {column.name.lower(): column.name for column in rows.describe()}
        present = {column: written[column] for column in wanted if column in written}
        types = {column: _type(column) for column in present}
        declared = ", ".join(f"{column} {kind}" for column, kind in types.items())
        self.connection.execute(f"CREATE TABLE {table} ({declared})").fetchall()
        try:
            for batch in rows.batches([*present.values()]):
                self._insert(table, types, batch, present, name)
        except WardroundError as error:
            # The specification has all tables, and an unused one is exported as a header alone.
            if error.code != "WR-DATA-011" or not types:
                raise
        else:
            self.files[table] = rows.read.files
            self.rejected += rows.rejected
        self.columns[table] = tuple(types)
        return True

    def has(self, table: str) -> bool:
        """Tell whether there is a file for the table."""
        return table in self._names

    def _insert(
        self,
        table: str,
        types: Mapping[str, str],
        batch: Batch,
        written: Mapping[str, str],
        name: str,
    ) -> None:
        cells = {f"c{at}": batch.columns[written[c]].values for at, c in enumerate(types)}
        self.connection.register("cells", {"line": batch.places, **cells})
        read = [_read(f"NULLIF(c{at}, '')", kind) for at, kind in enumerate(types.values())]
        self.connection.execute(
            f"INSERT INTO {table} SELECT {', '.join(read)} FROM cells"  # noqa: S608
        ).fetchall()
        for at, kind in enumerate(types.values()):
            if kind in _REASONS:
                lines = self.connection.execute(
                    f"SELECT line FROM cells WHERE c{at} <> '' AND ({read[at]}) IS NULL"  # noqa: S608
                ).fetchall()
                self.rejected += [
                    SetAside(_REASONS[kind], f"{name}:{line}", record=False) for (line,) in lines
                ]
        self.connection.unregister("cells")

    def _has_tabs(self, name: str) -> bool:
        return b"\t" in next(iter(LineReader(self._folder / name, name)), b"")

    def _find(self, source: Path) -> dict[str, str]:
        """Return the CSV files by table, whatever the case of their names."""
        if source.is_dir():
            names = sorted(path.name for path in source.iterdir() if path.is_file())
        else:
            names = self._open_zip(source)
        found: dict[str, str] = {}
        for name in names:
            # A Mac's archiver adds a shadow of each file.
            base = name.rpartition("/")[2]
            if not base.lower().endswith(".csv") or base.startswith("._"):
                continue
            table = base[:-4].lower()
            if table in found:
                raise not_omop(self.shown, f"It holds the table {table} twice.")
            found[table] = name
        return found

    def _open_zip(self, source: Path) -> list[str]:
        if not source.is_file():
            raise unreadable(source.name)
        try:
            # Held open as long as the extract: its members are read one by one.
            archive = zipfile.ZipFile(source)
        except (OSError, NotImplementedError, ValueError, zipfile.BadZipFile):
            raise not_omop(source.name, "It is no folder and no whole ZIP file.") from None
        self._folder = zipfile.Path(archive)
        return archive.namelist()


def not_omop(name: str, problem: str) -> WardroundError:
    """Return the error for what is no OMOP database or extract."""
    return WardroundError(
        "WR-DATA-058",
        f"This is no usable OMOP common data model. {problem}",
        "Point to a database, folder or ZIP file with the tables of CDM 5.4, such as person.",
        path=name,
    )


def _type(column: str) -> str:
    if column in _DOUBLES:
        return "DOUBLE"
    if column.endswith("_date"):
        return "DATE"
    return (
        "BIGINT"
        if column.endswith(("_id", "_of_birth")) and column != "vocabulary_id"
        else "VARCHAR"
    )


def _read(cell: str, kind: str) -> str:
    if kind == "BIGINT":
        # 12.0 is 12, as some programs write whole numbers; 12.5 is no identifier.
        return (
            f"CASE WHEN TRY_CAST({cell} AS DOUBLE) = TRY_CAST({cell} AS BIGINT)"
            f" THEN TRY_CAST({cell} AS BIGINT) END"
        )
    return cell if kind == "VARCHAR" else f"TRY_CAST({cell} AS {kind})"
