"""Ranking concepts for fields and fields for concepts: order, reasons, readings, silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.clinical.graph import ConceptGraph
from wardround.clinical.profile import FieldProfile, profile_column
from wardround.clinical.suggest import LIKELY, Signal, Suggester, Suggestion
from wardround.errors import WardroundError


@dataclass
class Cells:
    values: NDArray[Any]
    missing: NDArray[np.bool_]


def field(name: str, values: Sequence[object] = (), **said: Any) -> FieldProfile:
    texts = np.array([str(value) for value in values], dtype=object)
    return profile_column("src", name, Cells(texts, np.zeros(len(texts), np.bool_)), **said)


def spread(low: float, high: float) -> list[str]:
    return [f"{n:.2f}" for n in np.linspace(low, high, 60)]


GRAPH = ConceptGraph.load()
SUGGESTER = Suggester(GRAPH)


def first(profile: FieldProfile) -> Suggestion:
    return SUGGESTER.rank(profile)[0]


@pytest.mark.parametrize(
    ("profile", "concept"),
    [
        (field("serumKreatinin", spread(0.6, 1.8)), "creatinine"),
        (field("VS_SYST_BP", spread(95, 170)), "systolic_blood_pressure"),
        (field("Größe [cm]", spread(150, 190)), "body_height"),
        (field("GEBDATUM", ["01.02.1960", "24.12.1985"]), "birth_date"),
        (field("Geschlecht", ["m", "w"] * 20), "sex"),
        (field("tension artérielle systolique", spread(95, 170)), "systolic_blood_pressure"),
        (field("hemoglobina", spread(9, 16), unit_text="g/dL"), "hemoglobin"),
        (field("Thrombozytn", spread(120, 380), unit_text="10^9/L"), "platelets"),
        (field("col_17", spread(78, 101), unit_text="fL"), "mcv"),
        (field("x", codes=[("http://loinc.org", "2093-3")]), "total_cholesterol"),
        (field("x", codes=[("http://hl7.org/fhir/sid/icd-10", "E11.9")]), "diabetes_type_2"),
    ],
)
def test_the_right_concept_comes_first(profile: FieldProfile, concept: str) -> None:
    assert first(profile).concept == concept


def test_a_suggestion_says_why() -> None:
    profile = field("Cholesterin", spread(120, 280), unit_text="mg/dL")
    reasons = first(profile).reasons
    assert "the name is the synonym 'Cholesterin'" in reasons
    assert "the unit mg/dL can be converted to mmol/L" in reasons
    assert any(
        "100% of the values lie in the plausible range 0.3 to 40 mmol/L" in r for r in reasons
    )
    coded = first(field("x", codes=[("http://loinc.org", "2093-3")]))
    assert coded.reasons[0] == "the LOINC code 2093-3 is this concept's"
    assert any("the values m/w match" in r for r in first(field("Sex", ["m", "w"] * 9)).reasons)


def test_what_speaks_against_a_concept_is_said_last() -> None:
    as_length = SUGGESTER.rank(field("weight", spread(50, 90), unit_text="cm"), least=0.0, top=999)
    weight = next(one for one in as_length if one.concept == "body_weight")
    assert weight.reasons[-1] == "but the unit cm can't be converted to kg"
    assert not weight.reasons[0].startswith("but")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (10, 12, "but the values lie otherwise than they usually do (3"),
        (3, 90, "but only "),
    ],
)
def test_numbers_that_are_possible_but_unusual_do_not_contradict_themselves(
    low: float, high: float, said: str
) -> None:
    potassium = field("K", spread(low, high), unit_text="mmol/L")
    ranked = SUGGESTER.rank(potassium, least=0.0, top=999)
    found = next(one for one in ranked if one.concept == "potassium")
    assert any(reason.startswith(said) for reason in found.reasons), found.reasons
    assert not any(reason.startswith("but 100%") for one in ranked for reason in one.reasons)


def test_the_score_is_the_sum_of_its_points() -> None:
    for suggestion in SUGGESTER.rank(field("Chol", spread(120, 280), unit_text="mg/dL")):
        total = sum(one.points for one in suggestion.evidence)
        odds = suggestion.score / (1 - suggestion.score)
        empty = SUGGESTER.rank(field(""), least=0.0)[-1]
        start = np.log(empty.score / (1 - empty.score)) - sum(e.points for e in empty.evidence)
        assert np.log(odds) == pytest.approx(total + start)


def test_a_unit_that_measures_something_else_speaks_against_a_concept() -> None:
    as_length = SUGGESTER.rank(field("weight", spread(50, 90), unit_text="cm"), least=0.0, top=999)
    as_mass = SUGGESTER.rank(field("weight", spread(50, 90), unit_text="kg"), least=0.0, top=999)
    score = {s.concept: s.score for s in as_length}["body_weight"]
    assert score < {s.concept: s.score for s in as_mass}["body_weight"]


def test_the_reading_is_proposed() -> None:
    stated = first(field("Kreatinin", spread(0.6, 1.8), unit_text="mg/dL")).reading
    assert (stated.unit, stated.unit_stated, stated.units_vary) == ("mg/dL", True, False)
    guessed = first(field("Kreatinin", spread(0.6, 1.8))).reading
    assert (guessed.unit, guessed.unit_stated) == ("mg/dL", False)
    several = ["mg/dL", "umol/L"] * 30
    assert first(field("Kreatinin", spread(0.6, 1.8), unit_text=several)).reading.units_vary
    born = first(field("birth date", ["01/02/1960", "03/04/1961"])).reading
    assert (born.date_format, born.other_date_formats) == ("DD/MM/YYYY", ("MM/DD/YYYY",))
    assert first(field("sex", ["m", "w"] * 9)).reading.value_map == {"m": "male", "w": "female"}
    assert first(field("Diabetes", ["ja", "nein"] * 9)).reading.value_map == {
        "ja": True,
        "nein": False,
    }
    assert first(field("Kalium", ["4,1", "3,9", "5,2"])).reading.decimal_mark == ","


def test_an_unknown_text_is_left_out_of_the_value_map() -> None:
    reading = first(field("sex", ["m", "w", "m", "w", "u"] * 5)).reading
    assert reading.value_map == {"m": "male", "w": "female"}


def test_only_what_is_wanted_and_what_it_is_computed_from_is_suggested() -> None:
    born = field("birth date", ["01.02.1960", "24.12.1985"])
    concepts = [s.concept for s in SUGGESTER.rank(born, wanted=["age_years"], least=0.0)]
    assert concepts[0] == "birth_date"
    assert set(concepts) <= {"age_years", "birth_date"}
    with pytest.raises(WardroundError, match="is unknown"):
        SUGGESTER.rank(born, wanted=["agee"])


def test_what_resembles_nothing_is_not_suggested() -> None:
    assert SUGGESTER.rank(field("payer_code", [f"K{n}ZZ" for n in range(60)])) == ()
    assert SUGGESTER.rank(field("")) == ()


def test_the_best_fields_for_each_concept_are_found_over_all_sources() -> None:
    profiles = [
        field("patient_no", [str(100_000 + n) for n in range(60)]),
        field("HDL", spread(30, 80), unit_text="mg/dL"),
        field("Cholesterin gesamt", spread(120, 280), unit_text="mg/dL"),
        field("Geb.-Datum", ["01.02.1960", "24.12.1985"]),
    ]
    found = SUGGESTER.find(profiles, ["total_cholesterol", "hdl_cholesterol", "birth_date"])
    assert list(found) == ["total_cholesterol", "hdl_cholesterol", "birth_date"]
    assert [found[c][0].field for c in found] == ["Cholesterin gesamt", "HDL", "Geb.-Datum"]
    assert SUGGESTER.find([], ["sex"]) == {"sex": ()}


DIABETES = field("Diabetes", ["ja", "nein"] * 20)
TYPE_2 = field("type 2 diabetes", ["yes", "no"] * 20)


def test_a_special_case_is_suggested_as_what_it_is_with_what_its_no_cannot_say() -> None:
    (only,) = SUGGESTER.find([TYPE_2], ["diabetes"])["diabetes"]
    assert (only.field, only.concept) == ("type 2 diabetes", "diabetes_type_2")
    words = "Type 2 diabetes is a kind of diabetes mellitus: yes is certain, no is not"
    assert only.reasons[0] == only.main_reasons[0] == words
    assert only.score < LIKELY
    assert GRAPH.find_route("diabetes", {only.concept: None}) is not None
    coded = field("x", codes=[("http://hl7.org/fhir/sid/icd-10", "E11.9")])
    assert SUGGESTER.find([coded], ["diabetes"])["diabetes"][0].concept == "diabetes_type_2"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_special_case_stands_below_the_concept_itself(reverse: bool) -> None:
    glucose = field("Blutzucker", spread(70, 180))
    fasting = field("fasting glucose", spread(70, 110), unit_text="mg/dL")
    profiles = [DIABETES, TYPE_2, glucose, fasting]
    found = SUGGESTER.find(profiles[::-1] if reverse else profiles, ["diabetes", "glucose"])
    assert [one.field for one in found["diabetes"][:2]] == ["Diabetes", "type 2 diabetes"]
    assert [one.field for one in found["glucose"][:2]] == ["Blutzucker", "fasting glucose"]


def test_a_special_case_of_a_number_is_likely_and_without_a_caution() -> None:
    fasting = field("fasting glucose", spread(70, 110), unit_text="mg/dL")
    (only,) = SUGGESTER.find([fasting], ["glucose"])["glucose"]
    assert only.concept == "fasting_glucose"
    assert only.reasons[0] == "Fasting glucose is a kind of glucose"
    assert only.score >= LIKELY


def test_a_general_field_is_no_way_to_a_special_case() -> None:
    found = SUGGESTER.find([DIABETES, TYPE_2], ["diabetes_type_2"])["diabetes_type_2"]
    assert found[0].field == "type 2 diabetes" and found[0].score >= LIKELY
    (alone,) = SUGGESTER.find([DIABETES], ["diabetes_type_2"], least=0.0)["diabetes_type_2"]
    assert alone.score < LIKELY
    words = "Diabetes mellitus, as the field says, may be another kind than type 2 diabetes"
    assert alone.reasons[0].startswith(words)


def test_special_cases_are_ranked_for_what_is_wanted() -> None:
    ranked = SUGGESTER.rank(TYPE_2, wanted=["diabetes"])
    assert ranked[0].concept == "diabetes_type_2"


def test_a_field_that_something_else_fits_better_says_what() -> None:
    hdl = field("HDL Cholesterol", spread(30, 80), unit_text="mg/dL")
    (one,) = SUGGESTER.find([hdl], ["total_cholesterol"], least=0.0)["total_cholesterol"]
    assert "but HDL cholesterol fits this field better" in one.main_reasons
    ranked = SUGGESTER.rank(hdl, top=999, least=0.0)
    plain = next(other for other in ranked if other.concept == "total_cholesterol")
    assert one.score == pytest.approx(plain.score**2 / ranked[0].score)
    added = sum(e.points for e in one.evidence) - sum(e.points for e in plain.evidence)
    odds = [s.score / (1 - s.score) for s in (one, plain)]
    assert np.log(odds[0]) - np.log(odds[1]) == pytest.approx(added)


def test_fields_with_one_score_stand_in_the_order_of_their_names() -> None:
    names = ["kalium", "Kalium", "KALIUM"]
    twins = [field(name, spread(3.5, 5.2), unit_text="mmol/L") for name in names]
    found = SUGGESTER.find(twins, ["potassium"])["potassium"]
    assert len({one.shown_score for one in found}) == 1
    assert [one.field for one in found] == sorted(names)


def test_the_order_is_the_same_each_time() -> None:
    profile = field("Chol", spread(120, 280))
    once = [(s.concept, s.score) for s in SUGGESTER.rank(profile, least=0.0, top=999)]
    again = [(s.concept, s.score) for s in Suggester(GRAPH).rank(profile, least=0.0, top=999)]
    assert once == again
    assert once == sorted(once, key=lambda pair: -pair[1])


def test_a_signal_left_out_says_nothing() -> None:
    without = Suggester(GRAPH, without={Signal.NAME})
    assert Signal.NAME not in without.signals
    ranked = without.rank(field("Kreatinin", spread(0.6, 1.8), unit_text="mg/dL"), least=0.0)
    assert all(one.signal is not Signal.NAME for s in ranked for one in s.evidence)


def test_the_embedding_is_absent_unless_it_is_given() -> None:
    assert Signal.EMBEDDING not in SUGGESTER.signals


def test_no_value_shows_in_a_repr() -> None:
    for suggestion in SUGGESTER.rank(field("sex", ["Weiblich", "männlich"] * 9)):
        shown = repr(suggestion) + repr(suggestion.reading) + repr(suggestion.evidence)
        assert "eiblich" not in shown


@settings(max_examples=40)
@given(
    st.text(max_size=30),
    st.text(max_size=60),
    st.lists(st.text(max_size=6), max_size=8),
    st.text(max_size=8),
)
def test_no_field_is_too_strange_to_be_ranked(
    name: str, description: str, values: list[str], unit: str
) -> None:
    profile = field(name, values, description=description, unit_text=unit)
    ranked = SUGGESTER.rank(profile, least=0.0, top=999)
    assert len(ranked) == len(GRAPH.concepts)
    assert all(0 < one.score < 1 for one in ranked)
