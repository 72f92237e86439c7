"""Columns that a table has got since it was first made."""

from __future__ import annotations

from sqlalchemy import Connection, Table, inspect
from sqlalchemy.schema import CreateColumn


def add_columns(connection: Connection, *wanted: tuple[Table, tuple[str, ...]]) -> None:
    """Add columns that may be null, but for those that a database made since has already."""
    for table, names in wanted:
        known = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for name in names:
            if name not in known:
                column = CreateColumn(table.c[name]).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE "{table.name}" ADD COLUMN {column}')
