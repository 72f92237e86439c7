"""``wardround site``: what its commands print, and what they suggest next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Command
from steward import ME, Steward
from ward import SITES
from wardround.simulation.inprocess import Keys
from wardround.site import tables
from wardround.site.memory import open_memory
from wardround.store.journalled import JournalledDatabase


@pytest.fixture
def steward(tmp_path: Path) -> Steward:
    one = Steward(tmp_path)
    one.ready()
    return one


def test_show_prints_the_block_again(steward: Steward, command: Command) -> None:
    result = command("site", "show", steward.folder)
    key = steward.keys.sites[ME].public
    assert result.out == f'[[sites]]\nname = "{ME}"\nsigning_key = "{key.text}"\n'
    assert key.fingerprint in result.err
    answer = json.loads(command("site", "show", steward.folder, "--json").out)
    assert answer == {"name": ME, "signing_key": key.text, "fingerprint": key.fingerprint}


@pytest.mark.parametrize("enrolled", [True, False, None])
def test_approving_suggests_what_comes_next(
    tmp_path: Path, command: Command, enrolled: bool | None
) -> None:
    steward = Steward(tmp_path)
    if enrolled is not None:  # None: not at all
        steward.enrol(keys=None if enrolled else Keys.generate(SITES))
    words = ("site", "approve", steward.folder, steward.study_path, "--mapping", steward.mapping)
    result = command(*words, "--yes")
    assert result.code == 0
    assert ("site run" in result.err) is bool(enrolled)
    assert ("site enrol" in result.err) is not bool(enrolled)


def test_the_journal_says_what_was_refused_and_why(steward: Steward, command: Command) -> None:
    assert json.loads(command("site", "journal", steward.folder, "--json").out) == {
        "errors": [
            {
                "code": "WR-SITE-063",
                "problem": "No agent has run in this folder yet, so there is no journal.",
                "remedy": "It begins when the agent is started with `wardround site run`.",
                "path": str(steward.folder / "state.db"),
            }
        ]
    }
    database = open_memory(steward.home)
    state = JournalledDatabase(database, tables.journal, "here")
    with state.transaction() as transaction:
        transaction.record("refused", run="run", scope="round", code="WR-STUDY-080")
    root = state.journal.checkpoint().root.hex()
    shown = command("site", "journal", steward.folder)  # also while the agent has it open
    assert "refused" in shown.out and "code WR-STUDY-080" in shown.out and root in shown.err
    answer = json.loads(command("site", "journal", steward.folder, "--json").out)
    assert answer == {
        "size": 1,
        "root": root,
        "entries": [
            {
                "index": 0,
                "kind": "refused",
                "facts": {"run": "run", "scope": "round", "code": "WR-STUDY-080"},
            }
        ],
    }
    database.close()
