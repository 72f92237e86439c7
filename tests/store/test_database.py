"""The database's errors, which may end up in a log."""

from __future__ import annotations

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from wardround.site import tables
from wardround.store import Database


def test_an_error_does_not_quote_what_a_statement_was_given() -> None:
    database = Database("sqlite://", tables.MIGRATIONS)
    row = {"digest": "sha256:1", "members": b"a-patient's-hash"}
    with pytest.raises(IntegrityError) as raised, database.begin() as connection:
        connection.execute(insert(tables.patient_sets), row)
        connection.execute(insert(tables.patient_sets), row)
    assert "a-patient" not in str(raised.value)
    database.close()
