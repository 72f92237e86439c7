"""FHIR through a ViewDefinition: what the mapping's fixed elements don't reach."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from wardround.clinical import ConceptGraph, FeatureTable, Mapping, harmonise
from wardround.errors import WardroundError

GRAPH = ConceptGraph.load()
VIEW = {
    "resourceType": "ViewDefinition",
    "resource": "Patient",
    "status": "active",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()", "type": "string"},
                {"name": "born", "path": "birthDate", "type": "date"},
                {"name": "dead", "path": "deceased.ofType(boolean)", "type": "boolean"},
                {"name": "births", "path": "multipleBirth.ofType(integer)", "type": "integer"},
            ]
        }
    ],
}
MAPPING = """
version = 1
index_date = "birth_date"
[[sources]]
name = "people"
kind = "fhir-view"
files = ["people.ndjson"]
view = "view.json"
patient = "id"
maximum_unreadable_share = 0.5
[[sources.fields]]
concept = "birth_date"
column = "born"
[[sources.fields]]
concept = "death"
column = "dead"
value_map = { true = true, false = false }
"""


def person(number: int, **more: object) -> dict[str, object]:
    plain = {"resourceType": "Patient", "id": f"p{number}", "birthDate": "1961-05-17"}
    return {**plain, "deceasedBoolean": number % 2 == 0, **more}


def read(folder: Path, *resources: object, mapping: str = MAPPING) -> FeatureTable:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in resources]
    (folder / "people.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "view.json").write_text(json.dumps(VIEW), encoding="utf-8")
    parsed = Mapping.parse(mapping.replace('index_date = "birth_date"', "").encode(), GRAPH)
    return harmonise(parsed, folder, GRAPH, ["birth_date"], "death", (), today=date(2026, 1, 1))


def test_a_views_columns_are_mapped_like_a_tables(tmp_path: Path) -> None:
    table = read(tmp_path, person(1), person(2), {"resourceType": "Encounter", "id": "e"})
    assert table.patient_ids == ("Patient/p1", "Patient/p2")
    assert table.columns["death"].tolist() == [0.0, 1.0]
    assert table.columns["birth_date"].tolist() == [float(date(1961, 5, 17).toordinal())] * 2


def test_what_a_view_cannot_be_evaluated_on_is_set_aside(tmp_path: Path) -> None:
    odd = person(3, birthDate=["1961", "1962"])
    nul = json.dumps(person(4)).replace("p4", "\0")
    table = read(tmp_path, person(1), odd, "{no json", nul, person(2, birthDate="1961"))
    assert table.patient_ids == ("Patient/p1",)
    assert table.quarantine.resources() == {
        "incomplete_date": 1,
        "unreadable_line": 1,
        "view_failed": 1,
        "wrong_encoding": 1,
    }
    assert table.quarantine.summary() == {"missing_value": 1}


def test_a_column_that_the_view_lacks(tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as refused:
        read(tmp_path, person(1), mapping=MAPPING.replace('"born"', '"birth"'))
    assert refused.value.code == "WR-DATA-014"
