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


def test_without_its_data_a_benchmark_says_so_and_claims_nothing(monkeypatch, tmp_path):
    from benchmarks import sql_on_fhir

    monkeypatch.setenv("WARDROUND_SHARED", str(tmp_path))
    report = sql_on_fhir.run()
    assert report.figures == {}
    assert "WARDROUND_SHARED" in report.notes[0]


def test_the_published_views_are_counted_and_timed(monkeypatch):
    requires.shared("data/sql_on_fhir_v2")
    requires.shared("data/fhir_bulk10")
    from benchmarks import sql_on_fhir

    monkeypatch.setattr(sql_on_fhir, "MINIMUM_S", 0.001)
    report = sql_on_fhir.run()
    assert report.figures == {"passed": 134, "total": 134}
    assert [row["rows"] for row in report.results] == [13, 555, 1215]


def test_a_case_that_comes_out_otherwise_is_not_counted():
    from benchmarks.sql_on_fhir import Case

    view = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    patient = ({"resourceType": "Patient", "id": "1"},)
    assert Case("", view, patient, {"expect": [{"id": "1"}]}).passes()
    assert not Case("", view, patient, {"expect": [{"id": "2"}]}).passes()
    assert not Case("", view, patient, {"expect": [{"id": "1"}, {"id": "1"}]}).passes()
    assert not Case("", view, patient, {"expectError": True}).passes()
    assert not Case("", view, patient, {"expectCount": 2}).passes()
    assert not Case("", view, patient, {"expectColumns": ["ID"]}).passes()
    assert not Case("", {}, patient, {"expect": [{"id": "1"}]}).passes()


def test_the_heart_study_equals_the_pooled_fit_on_all_254_test_records(monkeypatch):
    requires.package("sklearn")
    requires.shared("data/heart")
    from benchmarks import heart

    monkeypatch.setattr(heart, "data_folder", lambda: requires.shared("data/heart"))
    figures = heart.run().figures
    assert figures["test_records"] == 254
    assert figures["federated_accuracy"] == figures["pooled_accuracy"] >= heart.TARGET
    assert figures["federated_ridge"] == figures["pooled_ridge"]
    assert figures["disagreements"] == 0
    assert figures["largest_loss_difference"] < 1e-9


@pytest.mark.slow
def test_idle_agents_are_woken_and_counted(monkeypatch):
    from benchmarks import idle

    monkeypatch.setattr(idle, "CONNECTIONS", 20)
    monkeypatch.setattr(idle, "WAKES", 3)
    figures = idle.run().figures
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["coordinator_mb"] > 0


@pytest.mark.slow
def test_each_condition_of_contention_is_measured(monkeypatch):
    from benchmarks import contention

    monkeypatch.setattr(contention, "CYCLES", 1)
    monkeypatch.setattr(contention, "SLICE_S", 0.5)
    report = contention.run()
    assert [row["requests"] for row in report.results] == [100] * 4
    assert report.figures.keys() == {
        "p99_ratio",
        "p99_ratio_default",
        "p99_ratio_uncapped",
        "processors_used_capped",
    }
