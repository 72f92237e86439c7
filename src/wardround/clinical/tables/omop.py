"""OMOP CDM 5.4: a hospital's research database in the long shape, by domain and concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wardround.clinical.quarantine import SetAside
from wardround.clinical.tables.omop_domains import (
    LONG_SHAPE,
    VOCABULARY,
    Dialect,
    OmopDomain,
    codes_query,
    columns_of,
    long_query,
)
from wardround.clinical.tables.omop_files import OmopFiles, not_omop
from wardround.clinical.tables.sql import SqlTable, open_backend
from wardround.clinical.tables.sql_backend import Backend
from wardround.clinical.tables.sql_duck import DuckBackend
from wardround.clinical.tables.sql_sqlite import SqliteBackend
from wardround.clinical.tables.sql_text import QuerySource
from wardround.clinical.tables.table import MISSING, Column, ColumnKind


@dataclass(frozen=True)
class OmopCode:
    """How often a concept occurs; for suggestions, at the hospital only.

    ``numbers`` counts the occurrences that carry a number, ``unit`` is their unit where all have
    the same. Name, vocabulary (such as LOINC) and code are None where there is no vocabulary.
    """

    concept_id: int
    occurrences: int
    patients: int
    numbers: int
    unit: str | None
    name: str | None
    vocabulary: str | None
    code: str | None


def omop_tables(source: str | Path, *, schema: str | None = None) -> Omop:
    """Return the OMOP database at an SQLAlchemy URL, or the extract in a folder or ZIP of CSVs.

    ``schema`` is where the database keeps the tables. Nothing is read yet, but for the names of
    an extract's files. A context manager; closing it frees an extract's memory.

    Raises:
        WardroundError: ``WR-DATA-058`` where there is no table ``person``, and as
            :func:`~wardround.clinical.tables.sql.sql_table`.
    """
    return Omop(source, schema)


class Omop:
    """One hospital's OMOP tables, each read when it is first asked for."""

    def __init__(self, source: str | Path, schema: str | None) -> None:
        self._files: OmopFiles | None = None
        self._backend: Backend | None = None
        self._schema = schema
        self._columns: dict[str, tuple[str, ...]] = {}
        if isinstance(source, Path):
            self._files = OmopFiles(source)
        else:
            self._backend = open_backend(source)
            self._columns = self._described(self._backend)
        if not self._has(OmopDomain.PERSON):
            raise not_omop(self.shown, "It has no table person.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def shown(self) -> str:
        """The source's name, without secrets."""
        if self._files is not None:
            return self._files.shown
        return self._backend.shown if self._backend else "OMOP"

    @property
    def rejected(self) -> tuple[SetAside, ...]:
        """Lines and cells of an extract's files that could not be used while they were loaded."""
        return tuple(self._files.rejected) if self._files else ()

    def close(self) -> None:
        """Free the memory of an extract."""
        if self._files is not None:
            self._files.connection.close()

    def table(
        self,
        domain: OmopDomain,
        concept_ids: Sequence[int] | None = None,
        *,
        descendants: bool = True,
    ) -> SqlTable:
        """Return a domain in the long shape: patient, concept_id, value, value_text, unit, day.

        With ``concept_ids`` only those concepts, and, where the vocabulary's ``concept_ancestor``
        is there, all below them. It may be empty: that no patient has a diagnosis is no error.

        Raises:
            WardroundError: ``WR-DATA-058`` where the table is missing.
        """
        query = long_query(domain, self._dialect(domain), concept_ids, descendants=descendants)
        return self._table(domain, str(domain), query, LONG_SHAPE)

    def codes(self, domain: OmopDomain) -> tuple[OmopCode, ...]:
        """Return the domain's concepts, the most frequent first; raises as :meth:`table`."""
        kinds = dict.fromkeys(("unit", "last_unit", "name", "vocabulary", "code"), ColumnKind.TEXT)
        kinds |= dict.fromkeys(
            ("concept_id", "occurrences", "patients", "numbers"), ColumnKind.NUMBER
        )
        query = codes_query(domain, self._dialect(domain))
        table = self._table(domain, f"{domain} codes", query, kinds)
        return tuple(
            _code(batch.columns, at)
            for batch in table.batches([*kinds])
            for at in range(len(batch))
        )

    def domains(self) -> tuple[OmopDomain, ...]:
        """Return the domains whose tables are there."""
        return tuple(domain for domain in OmopDomain if self._has(domain))

    def _has(self, table: str) -> bool:
        return self._files.has(table) if self._files else table in self._columns

    def _table(
        self, domain: OmopDomain, name: str, query: str, kinds: Mapping[str, ColumnKind]
    ) -> SqlTable:
        backend = self._backend
        if self._files is not None:
            read = self._files.files
            files = [file for table in (domain, *VOCABULARY) for file in read.get(table, ())]
            backend = DuckBackend(self._files.connection, self._files.shown, tuple(files))
        assert backend is not None
        return SqlTable(name, backend, QuerySource(query), kinds, MISSING, empty_allowed=True)

    def _dialect(self, domain: OmopDomain) -> Dialect:
        if not self._has(domain):
            raise not_omop(self.shown, f"It has no table {domain}.")
        if self._files is None:
            return Dialect(self._schema, self._columns, isinstance(self._backend, SqliteBackend))
        self._files.load(domain, columns_of(domain))
        for table, columns in VOCABULARY.items():
            self._files.load(table, columns)
        return Dialect(None, self._files.columns, sqlite=False)

    def _described(self, backend: Backend) -> dict[str, tuple[str, ...]]:
        with backend.session() as session:
            return {
                entry.name.lower(): tuple(column.name.lower() for column in entry.columns)
                for entry in session.catalogue()
                if self._schema is None or entry.schema in (None, self._schema)
            }


def _code(columns: Mapping[str, Column], at: int) -> OmopCode:
    def number(name: str) -> int:
        return int(columns[name].values[at])

    def text(name: str) -> str | None:
        return None if columns[name].missing[at] else str(columns[name].values[at])

    return OmopCode(
        number("concept_id"),
        number("occurrences"),
        number("patients"),
        number("numbers"),
        text("unit") if text("unit") == text("last_unit") else None,
        text("name"),
        text("vocabulary"),
        text("code"),
    )
