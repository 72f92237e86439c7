"""The benchmark harness: what it prints, and what it refuses."""

import json

import benchmarks.__main__ as harness
import pytest
from benchmarks.report import Report

import requires

REPORT = Report([{"size": 10, "s": 0.5}, {"size": 20, "s": None}], {"s_10": 0.5}, ["a note"])


@pytest.fixture
def canned(monkeypatch):
    monkeypatch.setattr(harness, "find", lambda _name: lambda: REPORT)


def test_json_is_the_last_line_and_complete(canned, capsys):
    assert harness.main(["glm_exact", "--json"]) == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document.keys() == {"name", "machine", "results", "figures"}
    assert document["name"] == "glm_exact"
    assert document["results"] == REPORT.results
    assert document["figures"] == {"s_10": 0.5}


def test_a_table_shows_rows_figures_and_notes(canned, capsys):
    assert harness.main(["glm_exact"]) == 0
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("size", "s_10 = 0.5", "a note", "cores"))


def test_benchmarks_are_found_by_name(capsys):
    assert harness.main(["--list"]) == 0
    names = capsys.readouterr().out.split()
    assert "glm_exact" in names
    assert "report" not in names
    assert all(callable(harness.find(name)) for name in names)


def test_an_unknown_name_is_refused(capsys):
    assert harness.main(["nonesuch"]) == 2
    assert "glm_exact" in capsys.readouterr().err


def test_a_study_over_the_real_protocol_equals_scikit_learn(monkeypatch):
    requires.package("sklearn")
    from benchmarks import glm_exact

    monkeypatch.setattr(glm_exact, "CASES", glm_exact.CASES[:1])
    report = glm_exact.run()
    assert report.figures["max_relative_difference"] <= glm_exact.TARGET
