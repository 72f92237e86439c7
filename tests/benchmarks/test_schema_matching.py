"""The labelled fields behind the benchmark of suggestions, and its target."""

from __future__ import annotations

import tomllib

import pytest
from benchmarks._labelled_fields import LABELS, PARTS, labelled_fields

import requires
from benchmarks import schema_matching
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.profile import FieldKind
from wardround.clinical.suggest import Suggester

SOURCES = tomllib.loads(LABELS.read_text("utf-8"))["sources"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_labels_name_concepts_that_exist(source):
    graph = ConceptGraph.load()
    assert source["part"] in PARTS
    for field in source["fields"]:
        for concept in [field["c"]] if isinstance(field["c"], str) else field["c"]:
            assert concept in graph, f"{field['f']}: {concept}"


def test_the_set_is_large_and_half_of_it_is_held_out():
    sizes = dict.fromkeys(PARTS, 0)
    for source in SOURCES:
        sizes[source["part"]] += len(source["fields"])
    assert min(sizes.values()) >= 150
    assert len({source["name"] for source in SOURCES}) == len(SOURCES)


def test_every_labelled_field_has_a_profile():
    requires.shared("data")
    requires.package("sklearn")
    fields = labelled_fields()
    assert len(fields) == sum(len(source["fields"]) for source in SOURCES)
    assert all(field.profile.rows for field in fields if field.profile.source != "omop_tables")


def test_what_is_suggested_stands_in_the_order_of_its_score_in_every_tuning_source():
    requires.shared("data")
    requires.package("sklearn")
    suggester = Suggester(ConceptGraph.load())
    fields = [one for one in labelled_fields() if one.part == "tuning"]
    for source in dict.fromkeys(one.profile.source for one in fields):
        mine = [one for one in fields if one.profile.source == source]
        wanted = [concept for one in mine for concept in one.gold]
        found = suggester.find([one.profile for one in mine], wanted)
        for concept, some in found.items():
            shown = [(-one.shown_score, one.field) for one in some]
            assert shown == sorted(shown), f"{source}: {concept}"
            assert len(some) <= 5
            assert all(one.main_reasons for one in some)


SMALL = """
[[sources]]
name = "{part}"
part = "{part}"
fields = [
  {{ f = "Alter", c = "age_years", n = [20, 50, 80] }},
  {{ f = "Creatinine", c = "creatinine" }},
]
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "labels.toml"
    path.write_text("".join(SMALL.format(part=part) for part in PARTS), "utf-8")
    return path


def test_a_field_without_stated_values_is_a_name_only(small):
    with_values, without = labelled_fields(small, parts=["fresh"])
    assert (with_values.part, without.part) == ("fresh", "fresh")
    assert with_values.profile.kind is FieldKind.NUMBER
    assert without.profile.kind is FieldKind.EMPTY
    assert without.profile.missing == without.profile.rows > 0


def test_the_fresh_part_has_figures_of_its_own(small, monkeypatch):
    def labelled(parts):
        return labelled_fields(small, parts=parts)

    monkeypatch.setattr(schema_matching, "labelled_fields", labelled)
    figures = schema_matching.run().figures
    assert figures["fresh_fields"] == figures["fields"] == 2
    for name in ("mrr", "baseline_mrr", "recall_1", "recall_5"):
        assert figures[f"fresh_{name}"] == figures[name]
    assert "fresh_mrr" not in schema_matching.run(["held-out", "tuning"]).figures


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_suggestions_beat_fuzzy_names_on_what_was_held_out():
    requires.shared("data")
    requires.package("sklearn")
    figures = schema_matching.run(["held-out", "tuning"]).figures
    assert figures["mrr"] >= schema_matching.TARGET * figures["baseline_mrr"]
    assert figures["recall_5"] >= 0.85
