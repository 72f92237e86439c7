"""A concept is found by what people call it, in five languages, with or without accents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import ConceptGraph
from wardround.clinical.concept_search import Match, fold

GRAPH = ConceptGraph.load()


@pytest.mark.parametrize(
    ("text", "concept"),
    [
        ("Cholesterin", "total_cholesterol"),
        ("Blutdruck", "systolic_blood_pressure"),
        ("tension artérielle", "systolic_blood_pressure"),
        ("TENSION ARTERIELLE", "systolic_blood_pressure"),
        ("créatinine", "creatinine"),
        ("Kreatinin", "creatinine"),
        ("glucemia", "glucose"),
        ("Blutzucker", "glucose"),
        ("emoglobina", "hemoglobin"),
        ("Geschlecht", "sex"),
        ("gender", "sex"),
        ("DOB", "birth_date"),
        ("heart attack", "myocardial_infarction"),
        ("insuffisance cardiaque", "heart_failure"),
        ("oldpeak", "st_depression"),
        ("thalach", "maximum_heart_rate"),
        ("trestbps", "resting_systolic_pressure"),
        ("2093-3", "total_cholesterol"),
        ("E11.9", "diabetes_type_2"),
        ("C10AA05", "statin"),
        ("total_cholesterol", "total_cholesterol"),
        ("cholesterol serum", "total_cholesterol"),
        ("hemoglobine", "hemoglobin"),
    ],
)
def test_the_first_hit_is_the_one_meant(text: str, concept: str) -> None:
    assert GRAPH.search(text)[0].concept.id == concept


def test_a_misspelling_is_forgiven_only_where_nothing_else_fits() -> None:
    (first, *_) = GRAPH.search("cholestrol")
    assert "cholesterol" in first.concept.id
    assert first.match is Match.SIMILAR
    assert all(hit.match is not Match.SIMILAR for hit in GRAPH.search("cholesterol"))


def test_hits_come_best_first_and_each_concept_once() -> None:
    hits = GRAPH.search("cholesterol", 20)
    assert [hit.match for hit in hits] == sorted(hit.match for hit in hits)
    assert len({hit.concept.id for hit in hits}) == len(hits)


@pytest.mark.parametrize("text", ["", " ", "???", "qqqqqqqqqq"])
def test_nothing_is_found_for_nothing(text: str) -> None:
    assert GRAPH.search(text) == ()


@given(st.text(max_size=40))
def test_any_text_can_be_looked_for(text: str) -> None:
    assert len(GRAPH.search(text, 3)) <= 3
    assert fold(fold(text)) == fold(text)


def test_a_concept_is_found_by_each_of_its_names() -> None:
    for concept in GRAPH.concepts[::9]:
        for text in (concept.id, concept.name, *concept.synonyms):
            hits = GRAPH.search(text, 100)
            assert concept.id in [hit.concept.id for hit in hits], text
