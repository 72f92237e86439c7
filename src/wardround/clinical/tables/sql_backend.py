"""What is asked of each kind of database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from wardround.clinical.provenance import FileRead
from wardround.clinical.tables.cells import Cells
from wardround.clinical.tables.sql_text import QuerySource, TableSource
from wardround.clinical.tables.table import ColumnInfo, ColumnKind

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray

Source: TypeAlias = TableSource | QuerySource


@dataclass(frozen=True)
class CatalogueEntry:
    """One table or view of a database.

    ``rows_estimated`` is the database's own estimate or a count, None where there is neither.
    """

    name: str
    schema: str | None
    is_view: bool
    description: str | None
    rows_estimated: int | None
    columns: tuple[ColumnInfo, ...]


class Session(Protocol):
    """One read-only connection. Its errors hold no value, password or driver's message."""

    def describe(self, source: Source) -> tuple[ColumnInfo, ...]:
        """Return the columns of a table or query."""

    def statement(self, source: Source, kinds: Mapping[str, ColumnKind]) -> str:
        """Return the SELECT that :meth:`draw` runs, for provenance."""

    def draw(
        self,
        source: Source,
        kinds: Mapping[str, ColumnKind],
        batch_rows: int,
        markers: Collection[str],
    ) -> Iterator[tuple[int, dict[str, Cells]]]:
        """Yield rows and cells, a batch at a time, from one snapshot."""

    def arrow(
        self, source: Source, kinds: Mapping[str, ColumnKind], batch_rows: int
    ) -> Iterator[CArray]:
        """Yield Arrow record batches, typed as the database types them."""

    def catalogue(self) -> Iterator[CatalogueEntry]:
        """Yield all tables and views that the user may see, without the database's own."""


class Backend(Protocol):
    """One database."""

    @property
    def shown(self) -> str:
        """The address without secrets."""

    @property
    def files(self) -> tuple[FileRead, ...]:
        """The files that were loaded into it, none for a database of its own."""

    def session(self) -> AbstractContextManager[Session]:
        """Open a read-only connection."""
