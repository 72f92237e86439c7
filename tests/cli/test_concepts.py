"""``wardround concepts``: looking up what a field can mean."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from commands import Command


def test_search_finds_a_foreign_name(command: Command) -> None:
    found = command("concepts", "search", "Cholesterin")
    assert found.code == 0
    assert found.out.splitlines()[1].split()[0] == "total_cholesterol"
    assert "wardround concepts show total_cholesterol" in found.err


def test_search_as_json(command: Command) -> None:
    found = json.loads(command("concepts", "search", "2093-3", "--limit", "3", "--json").out)
    assert found == [
        {
            "id": "total_cholesterol",
            "name": "Total cholesterol",
            "type": "numeric",
            "unit": "mmol/L",
            "label": "2093-3",
            "match": "exact",
        }
    ]


def test_search_without_a_hit_fails(command: Command) -> None:
    found = command("concepts", "search", "qqqqqqqq")
    assert (found.code, found.out) == (1, "")
    assert "WR-DATA-041" in found.err


def test_show_says_how_a_concept_is_got(command: Command) -> None:
    shown = command("concepts", "show", "egfr")
    assert shown.code == 0
    assert "CKD-EPI 2021 from creatinine, age and sex (Inker et al. 2021, an estimate)" in shown.out
    shown = command("concepts", "show", "total_cholesterol")
    assert "mg/dL -> mmol/L (/ 38.665, molar mass of cholesterol 386.65 g/mol)" in shown.out
    assert "Cholesterin" in shown.out


def test_show_as_json(command: Command) -> None:
    facts = json.loads(command("concepts", "show", "sex", "--json").out)
    assert facts["levels"] == ["female", "male"]
    codings = {known["coding"]: known["values"] for known in facts["codings"]}
    assert codings["hl7v2"] == {"F": "female", "M": "male"}
    assert "egfr" in facts["used_for"]


def test_show_of_an_unknown_concept_names_the_nearest(command: Command) -> None:
    shown = command("concepts", "show", "total_colesterol")
    assert shown.code == 1
    assert "Did you mean total_cholesterol" in shown.err


def test_graph_writes_a_picture(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "bmi.svg"
    drawn = command("concepts", "graph", "body_mass_index", "--out", out)
    assert (drawn.code, drawn.out) == (0, f"{out}\n")
    assert ElementTree.parse(out).getroot().tag.endswith("svg")
    assert json.loads(command("concepts", "graph", "sex", "--out", out, "--json").out) == {
        "picture": str(out)
    }


def test_graph_that_can_t_be_written(command: Command, tmp_path: Path) -> None:
    drawn = command("concepts", "graph", "sex", "--out", tmp_path / "nowhere" / "sex.svg")
    assert drawn.code == 1
    assert "WR-DATA-042" in drawn.err
