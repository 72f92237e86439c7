"""``wardround verify`` tells an auditor what held, and fails when something did not."""

import io
import json

import pytest
from rich.console import Console

from recorded_run import finished
from wardround.cli.verify import _table
from wardround.governance import Trust
from wardround.governance import verify as examine


@pytest.fixture
def evidence(tmp_path):
    path = tmp_path / "evidence.json"
    finished()[1].save(path)
    return path


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.json"
    good = finished()[1]
    good.model_copy(update={"witnesses": {}}).save(path)
    return path


def test_a_good_file(command, evidence):
    shown = command("verify", evidence)
    assert shown.code == 0
    assert "Replay" in shown.out
    assert "What no check could show" in shown.out
    assert "all 11 checks hold" in shown.err
    assert "--study" in shown.err


def test_json_is_one_document(command, evidence):
    shown = command("verify", evidence, "--json", "--study", finished()[0].study.digest)
    report = json.loads(shown.out)
    assert shown.code == 0
    assert report["verified"] is True
    assert report["level"] == "E0"
    assert len(report["not_checked"]) == 6


def test_a_broken_file_fails(command, broken):
    shown = command("verify", broken)
    assert shown.code == 1
    assert "FAILED" in shown.out
    assert "WR-GOV-020" in shown.err
    shown = command("verify", broken, "--json")
    assert shown.code == 1
    assert json.loads(shown.out)["verified"] is False


def test_what_was_given_wrongly_has_a_code(command, evidence, tmp_path):
    assert "WR-GOV-001" in command("verify", tmp_path / "none.json").err
    wrong = command("verify", evidence, "--study", "8b1f")
    assert wrong.code == 1
    assert "--study" in wrong.err


def test_a_digest_is_never_cut_on_a_narrow_terminal(evidence):
    report = examine(evidence, Trust())
    screen = Console(width=60, file=io.StringIO())
    with screen.capture() as captured:
        screen.print(_table(report))
    assert "…" not in captured.get()
