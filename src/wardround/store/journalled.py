"""One transaction for a decision and the journal leaf that records it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import Connection, Table

from wardround.store.database import Database
from wardround.store.leaves import SqlLeafStore
from wardround.trust.journal import Entry, Journal

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True)
class Transaction:
    """An open transaction: SQL through ``connection``, journal entries through ``record``."""

    connection: Connection
    journal: Journal

    def record(self, kind: str, **facts: JSON) -> None:
        """Write what is decided here into the journal."""
        self.journal.record(Entry(kind, facts))


class Beside(Protocol):
    """What is written down with every transaction, having none of its own."""

    def write(self, connection: Connection) -> None:
        """Write what has come together since; it may be undone."""

    def written(self) -> None:
        """What was written last is durable."""


class JournalledDatabase:
    """A database with a journal in it: a decision and its leaf are kept or undone together."""

    def __init__(
        self, database: Database, leaves: Table, origin: str, beside: Beside | None = None
    ) -> None:
        self.database = database
        self._beside = beside
        self._leaves = SqlLeafStore(database, leaves)
        self.journal = Journal(self._leaves, origin)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit everything at the end of the block, or nothing."""
        size = self._leaves.size()
        try:
            with self.database.begin(write=True) as connection:
                self._leaves.inside(connection)
                if self._leaves.refresh() != size:  # another process has written
                    size = self._leaves.size()
                    self.journal.catch_up()
                yield Transaction(connection, self.journal)
                if self._beside is not None:
                    self._beside.write(connection)
            if self._beside is not None:
                self._beside.written()
        except BaseException:
            self._leaves.forget_after(size)
            self.journal.truncate(size)
            raise
        finally:
            self._leaves.inside(None)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()
