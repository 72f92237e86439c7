"""Formulas give their published values, hold only where they hold, and never return NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import Column, ConceptGraph
from wardround.clinical.concept import DerivationMethod
from wardround.clinical.dates import completed_years
from wardround.clinical.formulas import FORMULAS, compute, is_a
from wardround.clinical.quarantine import Reason

GRAPH = ConceptGraph.load()
EVERY = [one for concept in GRAPH.concepts for one in GRAPH.derivations(concept.id)]


def column(*values: float) -> Column:
    return Column(np.array(values, dtype=np.float64), np.ones(len(values), dtype=np.bool_))


def derived(target: str, *inputs: float) -> float | None:
    (derivation,) = GRAPH.derivations(target)
    found = compute(derivation, [column(value) for value in inputs])
    return float(found.values[0]) if found.valid[0] else None


def umol(mg_dl: float) -> float:
    return float(GRAPH.path("mg/dL", "umol/L", "creatinine").factor) * mg_dl


def mmol(concept: str, mg_dl: float) -> float:
    return float(GRAPH.path("mg/dL", "mmol/L", concept).factor) * mg_dl


def ckd_epi_by_branch(mg_dl: float, age: float, female: bool) -> float:
    """CKD-EPI 2021 as laboratories print it: a line for each sex and side of the knot."""
    if female:
        power = -0.241 if mg_dl <= 0.7 else -1.200
        return 142 * (mg_dl / 0.7) ** power * 0.9938**age * 1.012
    power = -0.302 if mg_dl <= 0.9 else -1.200
    return 142 * (mg_dl / 0.9) ** power * 0.9938**age


def test_ckd_epi_is_the_calculator_s_of_the_national_kidney_foundation() -> None:
    """kidney.org's calculator: a man of 55 with 1.2 mg/dL has 71."""
    found = derived("egfr", umol(1.2), 55, 1)
    assert found is not None
    assert round(found) == 71


@pytest.mark.parametrize("female", [True, False])
@pytest.mark.parametrize("mg_dl", [0.4, 0.7, 0.9, 1.0, 1.9, 6.0])
@pytest.mark.parametrize("age", [18, 50, 89])
def test_ckd_epi_on_both_sides_of_its_knot(mg_dl: float, age: float, female: bool) -> None:
    found = derived("egfr", umol(mg_dl), age, 0.0 if female else 1.0)
    assert found == pytest.approx(ckd_epi_by_branch(mg_dl, age, female), rel=1e-9)


def test_ckd_epi_is_for_adults() -> None:
    assert derived("egfr", umol(1.0), 17, 1) is None


@pytest.mark.parametrize(
    ("target", "inputs", "expected"),
    [
        ("body_mass_index", (70, 175), 22.857),
        ("body_surface_area", (70, 170), 1.818),
        ("mean_arterial_pressure", (120, 80), 93.333),
        ("pulse_pressure", (120, 80), 40),
        ("shock_index", (120, 80), 1.5),
        ("creatinine_clearance", (umol(1.0), 60, 72, 1), 80),
        ("creatinine_clearance", (umol(1.0), 60, 72, 0), 68),
        ("anion_gap", (140, 104, 24), 12),
        ("corrected_calcium", (2.0, 20), 2.4),
        ("osmolality_calculated", (140, 5, 5), 290),
        ("homa_ir", (5, 9), 2),
        ("fib_4", (50, 40, 40, 200), 1.5811),
        ("qtc_bazett", (400, 60), 400),
        ("qtc_bazett", (400, 100), 516.4),
        ("qtc_fridericia", (400, 100), 474.3),
        ("non_hdl_cholesterol", (5.2, 1.2), 4.0),
        ("cholesterol_hdl_ratio", (5, 1.25), 4),
        ("transferrin_saturation", (20, 60), 33.333),
        ("mcv", (45, 5), 90),
        ("mch", (15, 5), 30),
        ("mchc", (15, 45), 33.333),
        ("neutrophils", (60, 8), 4.8),
        ("albumin_creatinine_ratio", (30, 8.8402), 30.0),
        ("pao2_fio2_ratio", (80, 40), 200),
        ("fev1_fvc", (3, 4), 75),
        ("urea", (28.014,), 10),
        ("urea_nitrogen", (10,), 28.014),
        ("obesity_by_bmi", (30,), 1),
        ("obesity_by_bmi", (29.9,), 0),
        ("fever", (38,), 1),
        ("male", (1,), 1),
        ("male", (0,), 0),
        ("pack_years", (1.5, 20), 30),
        ("length_of_stay", (738000, 738007), 7),
        ("readmission_30_days", (738000, 738030), 1),
        ("readmission_30_days", (738000, 738031), 0),
        ("cha2ds2_vasc", (76, 0, 1, 1, 1, 1, 1), 9),
        ("cha2ds2_vasc", (70, 1, 0, 1, 0, 0, 0), 2),
    ],
)
def test_a_formula_gives_what_is_known(
    target: str, inputs: Sequence[float], expected: float
) -> None:
    assert derived(target, *inputs) == pytest.approx(expected, rel=1e-3)


def test_friedewald_in_mg_dl_as_published() -> None:
    """200 - 50 - 150 / 5 = 120 mg/dL; not above 400 mg/dL of triglycerides."""
    total, hdl = mmol("total_cholesterol", 200), mmol("hdl_cholesterol", 50)
    found = derived("ldl_cholesterol", total, hdl, mmol("triglycerides", 150))
    assert found == pytest.approx(mmol("ldl_cholesterol", 120), rel=1e-9)
    assert derived("ldl_cholesterol", total, hdl, mmol("triglycerides", 401)) is None


@pytest.mark.parametrize(("mg_dl", "high"), [(120, 0.0), (121, 1.0), (119, 0.0)])
def test_fasting_blood_sugar_is_high_above_120(mg_dl: float, high: float) -> None:
    found = GRAPH.path("mg/dL", "mmol/L", "fasting_glucose").apply(np.array([float(mg_dl)]))
    assert derived("fasting_blood_sugar_high", float(found[0])) == high


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        ("body_mass_index", (70, 0)),
        ("pulse_pressure", (80, 120)),
        ("cholesterol_hdl_ratio", (5, 0)),
        ("length_of_stay", (738007, 738000)),
        ("fib_4", (50, 40, 0, 200)),
    ],
)
def test_where_a_formula_does_not_hold_there_is_no_value(
    target: str, inputs: Sequence[float]
) -> None:
    assert derived(target, *inputs) is None


ORDINALS = st.integers(min_value=1, max_value=800000)


@given(birth=ORDINALS, index=ORDINALS)
def test_ages_are_those_of_the_calendar(birth: int, index: int) -> None:
    expected = completed_years(birth, index)
    found = derived("age_years", birth, index)
    assert found == (None if isinstance(expected, Reason) else expected)


def test_every_method_has_a_formula_and_is_used() -> None:
    assert set(FORMULAS) == set(DerivationMethod)
    assert {one.method for one in EVERY} == set(DerivationMethod)


ODD = st.sampled_from([0.0, -1.0, 1.0, 1e-300, 1e300, -1e300, 40.0, 750000.0])


@pytest.mark.parametrize("derivation", EVERY, ids=lambda one: f"{one.target}-{one.method}")
@given(data=st.data())
def test_no_input_brings_forth_a_nan(derivation, data) -> None:  # type: ignore[no-untyped-def]
    number = len(derivation.inputs) + derivation.at_index
    inputs = []
    for _ in range(number):
        values = data.draw(st.lists(ODD | st.floats(0.1, 500), min_size=4, max_size=4))
        valid = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
        inputs.append(Column(np.array(values), np.array(valid)))
    found = compute(derivation, inputs)
    assert np.isfinite(found.values).all()
    assert (found.values[~found.valid] == 0).all()
    every = np.logical_and.reduce([column.valid for column in inputs])
    assert not (found.valid & ~every).any()


def test_only_a_true_special_case_says_something_of_the_general() -> None:
    child = Column(np.array([1.0, 0.0, 1.0]), np.array([True, True, False]))
    general = is_a(child, boolean=True)
    assert general.valid.tolist() == [True, False, False]
    assert general.values.tolist() == [1.0, 0.0, 0.0]
    number = is_a(child, boolean=False)
    assert number.valid.tolist() == [True, True, False]


def test_a_column_does_not_show_its_values() -> None:
    assert "42" not in repr(column(42.0))
    assert math.isfinite(column(42.0).values[0])
