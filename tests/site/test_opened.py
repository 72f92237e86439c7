"""The count of opened numbers, and what it remembers of studies without noise."""

from contextlib import closing
from datetime import UTC, datetime

import pytest

from private_study import private
from studies import document
from wardround.errors import WardroundError
from wardround.site import opened, tables
from wardround.store import Database
from wardround.study import Study

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def database():
    with closing(Database("sqlite://", tables.MIGRATIONS)) as made:
        yield made


def test_no_later_version_with_noise_is_answered_after_one_without(database):
    with database.begin() as connection:
        opened.refuse_after_exact(connection, private())
        opened.note_exact(connection, Study.parse(document()), NOON)
        opened.note_exact(connection, Study.parse(document(version=2)), NOON)
        opened.refuse_after_exact(connection, Study.parse(document(version=3)))
        with pytest.raises(WardroundError) as refused:
            opened.refuse_after_exact(connection, private(version=3))
    assert refused.value.code == "WR-SITE-110"
    assert Study.parse(document()).digest in refused.value.problem
    with database.begin() as connection:
        opened.refuse_after_exact(connection, Study.parse(document(id="another")))
