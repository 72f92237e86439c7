"""Routes are the shortest that deserve trust, say in words what they do, and do it."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import Column, ConceptGraph
from wardround.clinical.concept import ConceptType
from wardround.errors import WardroundError

GRAPH = ConceptGraph.load()


def column(*values: float | None) -> Column:
    return Column(
        np.array([0.0 if value is None else value for value in values]),
        np.array([value is not None for value in values]),
    )


def day(year: int, month: int, number: int) -> float:
    return float(date(year, month, number).toordinal())


def test_another_unit_reads_as_a_sentence() -> None:
    route = GRAPH.route("total_cholesterol", {"total_cholesterol": "mg/dL"})
    assert route.words() == (
        "Total cholesterol in mg/dL -> mmol/L (/ 38.665, molar mass of cholesterol 386.65 g/mol)"
    )
    found = route.compute({"total_cholesterol": column(193.325, None)})
    np.testing.assert_allclose(found.values, [5.0, 0.0])
    assert found.valid.tolist() == [True, False]


def test_derivations_chain() -> None:
    route = GRAPH.route("obesity_by_bmi", {"body_weight": "lbs", "body_height": "inches"})
    assert route.fields == ("body_weight", "body_height")
    assert route.words() == (
        "Body weight in lbs -> kg (x 0.45359237); Body height in inches -> cm (x 2.54); "
        "Body mass index = body weight over the square of body height (Quetelet); "
        "Body mass index of 30 or more = whether the body mass index is 30 kg/m2 or more (WHO)"
    )
    found = route.compute(
        {"body_weight": column(220, 150, None), "body_height": column(70, 70, 70)}
    )
    assert found.values.tolist() == [1.0, 0.0, 0.0]
    assert found.valid.tolist() == [True, True, False]


def test_kidney_function_from_what_an_ehr_has() -> None:
    have = {"creatinine": "mg/dL", "birth_date": None, "sex": "fhir"}
    assert GRAPH.find_route("egfr", have) is None
    route = GRAPH.route("egfr", have, index_date=True)
    assert "Sex, from the codes of fhir" in route.words()
    assert route.words().endswith("(Inker et al. 2021, an estimate)")
    found = route.compute(
        {
            "creatinine": column(1.2),
            "birth_date": column(day(1969, 5, 1)),
            "sex": column(1.0),
        },
        index_date=column(day(2024, 5, 1)),
    )
    assert found.values.round().tolist() == [71.0]


def test_the_thing_itself_is_better_than_a_way_to_it() -> None:
    have = {"egfr": None, "creatinine": "umol/L", "age_years": "a", "sex": None}
    route = GRAPH.route("egfr", have)
    assert (route.cost, route.words()) == (0, "Estimated glomerular filtration rate")


def test_what_is_exact_is_better_than_an_estimate() -> None:
    """Measured LDL with a change of unit, rather than Friedewald's formula without one."""
    have = {
        "ldl_cholesterol": "mg/dL",
        "total_cholesterol": "mmol/L",
        "hdl_cholesterol": "mmol/L",
        "triglycerides": "mmol/L",
    }
    assert GRAPH.route("ldl_cholesterol", have).fields == ("ldl_cholesterol",)
    del have["ldl_cholesterol"]
    assert "an estimate" in GRAPH.route("ldl_cholesterol", have).words()


def test_a_special_case_counts_where_it_is_true() -> None:
    route = GRAPH.route("diabetes", {"diabetes_type_2": None})
    assert route.words() == (
        "Type 2 diabetes; Type 2 diabetes is a kind of diabetes mellitus, where it is true"
    )
    found = route.compute({"diabetes_type_2": column(1, 0, None)})
    assert found.valid.tolist() == [True, False, False]


KINDS = [
    (special.id, general.id)
    for special in GRAPH.concepts
    for general in GRAPH.concepts
    if GRAPH.is_kind_of(special.id, general.id)
]


@pytest.mark.parametrize(("special", "general"), KINDS)
def test_no_special_case_says_no_of_the_general_one(special: str, general: str) -> None:
    """And the general one says nothing of the special case."""
    found = GRAPH.route(general, {special: None}).compute({special: column(1, 0, None)})
    boolean = GRAPH.concept(special).type is ConceptType.BOOLEAN
    assert found.valid.tolist() == [True, not boolean, False]
    assert GRAPH.find_route(special, {general: None}) is None


def test_a_special_case_of_a_number_is_the_number() -> None:
    route = GRAPH.route("glucose", {"fasting_glucose": "mg/dL"})
    found = route.compute({"fasting_glucose": column(90.078)})
    np.testing.assert_allclose(found.values, [5.0])


def test_a_field_in_a_unit_of_something_else_leads_nowhere() -> None:
    assert GRAPH.find_route("total_cholesterol", {"total_cholesterol": "kg"}) is None
    assert GRAPH.find_route("sex", {"sex": "no such coding"}) is None


def test_the_heart_study_of_uci_can_be_reached() -> None:
    have = {
        "age_years": "years", "sex": "uci", "chest_pain": "uci",
        "resting_systolic_pressure": "mmHg",
        "total_cholesterol": "mg/dl", "fasting_blood_sugar_high": "uci", "resting_ecg": "uci",
        "maximum_heart_rate": "bpm", "exercise_angina": "uci", "st_depression": "mm",
        "st_slope": "uci", "vessels_coloured": "1", "thallium_scan": "uci",
        "angiographic_coronary_disease": "uci",
    }  # fmt: skip
    for concept in (*have, "male", "systolic_blood_pressure", "coronary_artery_disease"):
        assert GRAPH.find_route(concept, have) is not None, concept


@pytest.mark.parametrize(
    ("target", "index_date", "remedy"),
    [
        ("body_mass_index", False, "Map a field to body_mass_index; or to body_weight and body_"),
        ("age_years", False, "or to birth_date with an index date"),
        ("diabetes", False, "or to diabetes_type_1; or to diabetes_type_2"),
    ],
)
def test_where_nothing_leads_the_error_says_what_would(
    target: str, index_date: bool, remedy: str
) -> None:
    with pytest.raises(WardroundError) as caught:
        GRAPH.route(target, {"sodium": None}, index_date=index_date)
    assert caught.value.code == "WR-DATA-040"
    assert remedy in caught.value.remedy


def test_an_unknown_concept_is_an_error() -> None:
    for target, have in (("egrf", {"creatinine": None}), ("egfr", {"creatinin": None})):
        with pytest.raises(WardroundError) as caught:
            GRAPH.route(target, have)
        assert caught.value.code == "WR-DATA-001"


NAMES = [concept.id for concept in GRAPH.concepts]


@given(
    have=st.lists(st.sampled_from(NAMES), max_size=25, unique=True),
    target=st.sampled_from(NAMES),
    index_date=st.booleans(),
)
def test_a_route_needs_only_what_there_is_and_does_not_depend_on_order(
    have: list[str], target: str, index_date: bool
) -> None:
    route = GRAPH.find_route(target, dict.fromkeys(have), index_date=index_date)
    again = GRAPH.find_route(target, dict.fromkeys(reversed(have)), index_date=index_date)
    assert route == again
    if target in have:
        assert route is not None
        assert route.cost == 0
    if route is None:
        return
    assert set(route.fields) <= set(have)
    assert route.steps[-1].target == target
    columns = {name: column(1.0, None) for name in have}
    found = route.compute(columns, column(750000.0, 750000.0))
    assert not found.valid[1]
    assert np.isfinite(found.values).all()


@given(
    have=st.lists(st.sampled_from(NAMES), max_size=10, unique=True),
    more=st.sampled_from(NAMES),
    target=st.sampled_from(NAMES),
)
def test_more_fields_never_make_a_route_worse(have: list[str], more: str, target: str) -> None:
    before = GRAPH.find_route(target, dict.fromkeys(have))
    after = GRAPH.find_route(target, dict.fromkeys([*have, more]))
    if before is not None:
        assert after is not None
        assert after.cost <= before.cost
