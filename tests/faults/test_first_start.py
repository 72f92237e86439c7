"""A first start, found by the enumeration: a power cut there left a log without a database."""

from __future__ import annotations

from pathlib import Path

from faults.points import Hooks, Party, Place
from wardround.store import Database


def test_a_new_database_has_its_name_for_good_before_its_log_is_begun(tmp_path: Path) -> None:
    """A log alone is refused, since somebody may have deleted the database beside it."""
    party = Party("site", tmp_path / "site")
    party.folder.mkdir()
    with Hooks(party).installed():
        Database.file(party.folder / "state.db", ()).close()
    (opened,) = (one for one in party.points if one.place == Place("statement", "BEGIN", 2))
    assert not opened.unsynced
