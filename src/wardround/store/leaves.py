"""The journal's leaves as rows, appended inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    func,
    insert,
    select,
)

from wardround.store.database import Database

_PAGE = 1000
"""So many leaves are in memory at a time."""


def leaf_table(metadata: MetaData) -> Table:
    """The table that holds a journal; the primary key makes a fork impossible."""
    return Table(
        "journal",
        metadata,
        Column("index", Integer, primary_key=True, autoincrement=False),
        Column("leaf", LargeBinary, nullable=False),
    )


class SqlLeafStore:
    """Leaves of one journal (see ``wardround.trust.journal.LeafStore``).

    ``append`` writes through the connection given to ``inside``: the leaf and the decision that
    it records are one transaction.
    """

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table
        self._connection: Connection | None = None
        # Built once: building a statement costs more than running it.
        self._insert = insert(table)
        self._last = select(func.max(table.c.index))
        with database.begin() as connection:
            self._size = connection.scalar(select(func.count()).select_from(table)) or 0

    def inside(self, connection: Connection | None) -> None:
        """Append through this connection from now on; ``None`` ends it."""
        self._connection = connection

    def refresh(self) -> int:
        """Count again, inside the transaction that is under way."""
        if self._connection is None:
            raise RuntimeError("leaves are counted inside a transaction")
        last = self._connection.scalar(self._last)
        self._size = 0 if last is None else last + 1
        return self._size

    def append(self, leaf: bytes) -> int:
        """Add a leaf and return its index."""
        if self._connection is None:
            raise RuntimeError("a leaf is appended inside a transaction")
        index = self._size
        self._connection.execute(self._insert, {"index": index, "leaf": leaf})
        self._size += 1
        return index

    def leaves(self, start: int, stop: int) -> Iterator[bytes]:
        """The leaves with ``start <= index < stop``."""
        column = self._table.c
        for first in range(start, stop, _PAGE):
            query = (
                select(column.leaf)
                .where(column.index >= first, column.index < min(first + _PAGE, stop))
                .order_by(column.index)
            )
            # Never handed on in the middle of a transaction: whoever stops reading leaves it open.
            if self._connection is not None:
                yield from self._connection.scalars(query).all()
                continue
            with self._database.begin() as connection:
                page = connection.scalars(query).all()
            yield from page

    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    def forget_after(self, size: int) -> None:
        """Match a transaction that was undone: the rows are gone already."""
        self._size = size
