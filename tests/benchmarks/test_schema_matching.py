"""The labelled fields behind the benchmark of suggestions, and its target."""

from __future__ import annotations

import tomllib

import pytest
from benchmarks._labelled_fields import LABELS, labelled_fields

import requires
from benchmarks import schema_matching
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.suggest import Suggester

SOURCES = tomllib.loads(LABELS.read_text("utf-8"))["sources"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["name"])
def test_labels_name_concepts_that_exist(source):
    graph = ConceptGraph.load()
    assert source["part"] in ("tuning", "held-out")
    for field in source["fields"]:
        for concept in [field["c"]] if isinstance(field["c"], str) else field["c"]:
            assert concept in graph, f"{field['f']}: {concept}"


def test_the_set_is_large_and_half_of_it_is_held_out():
    sizes = {"tuning": 0, "held-out": 0}
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
    fields = [one for one in labelled_fields() if not one.held_out]
    for source in dict.fromkeys(one.profile.source for one in fields):
        mine = [one for one in fields if one.profile.source == source]
        wanted = [concept for one in mine for concept in one.gold]
        found = suggester.find([one.profile for one in mine], wanted)
        for concept, some in found.items():
            shown = [(-one.shown_score, one.field) for one in some]
            assert shown == sorted(shown), f"{source}: {concept}"
            assert len(some) <= 5
            assert all(one.main_reasons for one in some)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_suggestions_beat_fuzzy_names_on_what_was_held_out():
    requires.shared("data")
    requires.package("sklearn")
    figures = schema_matching.run().figures
    assert figures["mrr"] >= schema_matching.TARGET * figures["baseline_mrr"]
    assert figures["recall_5"] >= 0.85
