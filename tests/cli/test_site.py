"""``wardround site``: what its commands print, and what they suggest next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from commands import Command
from steward import ME, Steward
from ward import SITES, plan
from wardround.cli.studywords import details, summary
from wardround.simulation.inprocess import Keys
from wardround.site import tables
from wardround.site.memory import open_memory
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study


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


def approve(steward: Steward, command: Command, *more: object) -> tuple[int, str]:
    study = ("site", "approve", steward.folder, steward.study_path)
    result = command(*study, "--mapping", steward.mapping, "--yes", *more)
    return result.code, " ".join(result.err.split())


def test_approving_shows_what_the_study_shows(steward: Steward, command: Command) -> None:
    plain = plan(disclosure={"opened_numbers": 100_000, "minimum_cell": 0})
    steward.study_path.write_bytes(steward.keys.seal(plain).canonical())
    code, shown = approve(steward, command)
    assert code == 0
    study = Study.load(steward.study_path)
    for name, words in (*summary(study), *details(study)):
        assert name in shown
        assert "".join(words.split()) in "".join(shown.split()), words
    assert "NOBODY is kept out" in shown and "No differential privacy" in shown
    assert "test set" in shown and "logistic" in shown


def test_approving_says_what_the_mapping_comes_to(
    steward: Steward, command: Command, tmp_path: Path
) -> None:
    code, shown = approve(steward, command)
    assert code == 0
    for words in ("version 2 of this hospital's", "60 of 61", "everything that the study needs"):
        assert words in shown
    refusals = tmp_path / "refusals.txt"
    refusals.write_text("harbour-1\nharbour-2\nharbour-3\n", encoding="utf-8")
    assert "57 of 61" in approve(steward, command, "--exclude", refusals)[1]
    steward.write_records(6)  # too few
    code, shown = approve(steward, command)
    assert code == 0 and re.search(r"\d BLOCKS? \(.*cohort_minimum", shown)
    text = steward.mapping.read_text(encoding="utf-8")
    steward.mapping.write_text(text.replace("texture_mean", "smoothness_mean"), encoding="utf-8")
    code, shown = approve(steward, command)
    assert code == 0 and "LACKS texture_mean" in shown
    steward.mapping.write_text(text, encoding="utf-8")
    (steward.records / "biopsies.csv").write_text("id,radius\n1,2\n", encoding="utf-8")
    code, shown = approve(steward, command)
    assert code == 0 and "NOT KNOWN, the records can't be looked at" in shown


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
