"""All checks together: never a crash, never a record, and the four heart hospitals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quality_records import (
    BOOLEAN,
    DATE,
    HOSPITALS,
    concept,
    facts,
    heart,
    heart_rows,
    material,
)
from wardround.clinical import Reason
from wardround.clinical.quality import Check, Federation, Histogram, Level, check

NUMBERS = st.floats(allow_nan=True, allow_infinity=False, width=64)
PILES = st.sampled_from([0.0, -1.0, -9.0, 99.0, 999.0, 1e300, -1e300, 5e-324, float("nan")])
EDGES = np.array([-1.0, 0.0, 0.5, 100.0])


@st.composite
def anything(draw: st.DrawFn) -> object:
    """A material of any size whose columns hold any number that harmonisation could hand over."""
    size = draw(st.integers(0, 40))

    def column(elements: st.SearchStrategy[float]) -> np.ndarray:
        return draw(arrays.arrays(np.float64, size, elements=elements))

    days = st.one_of(st.integers(1, 3_652_059).map(float), st.just(float("nan")))
    yes_or_no = st.sampled_from([0.0, 1.0, float("nan")])
    aside = draw(st.dictionaries(st.sampled_from(Reason), st.integers(0, 50), max_size=4))
    return material(
        column(yes_or_no),
        facts(concept("a", plausible=(1.0, 100.0)), column(st.one_of(NUMBERS, PILES))),
        facts(concept("b"), column(PILES), aside),
        facts(concept("c", BOOLEAN), column(yes_or_no)),
        others=(
            facts(concept("born", DATE), column(days)),
            facts(concept("seen", DATE), column(days)),
        ),
        birth_date="born",
        index_date="seen",
        sex="c",
        federation=Federation({"a": Histogram(EDGES, np.array([3.0, 0.0, 9.0]))}, 0.0),
    )


@pytest.mark.filterwarnings("error")
@settings(deadline=None)
@given(anything())
def test_whatever_the_records_hold_every_check_answers(records: object) -> None:
    findings = check(records)  # type: ignore[arg-type]
    assert list(dict.fromkeys(one.check for one in findings)) == list(Check)
    for one in findings:
        public = one.public()
        assert "patient-" not in f"{one.words} {public} {one!r}"
        assert all(np.isfinite(figure) for figure in one.figures.values())
        assert (one.remedy == "") == (one.level in (Level.OK, Level.NOT_CHECKED))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_hardly_any_patient(size: int) -> None:
    levels = {
        one.check: one.level
        for one in check(material([1.0] * size, facts(concept("a"), [2.0] * size)))
    }
    assert levels[Check.COHORT_MINIMUM] is Level.BLOCK


def of(
    hospital: str, *without: str, federation: Federation | None = None
) -> set[tuple[str, str, str | None]]:
    records = heart(hospital, without=without, federation=federation)
    return {
        (one.level.value, one.check.value, one.concept)
        for one in check(records)
        if one.level in (Level.WARN, Level.BLOCK)
    }


ROUNDED = ("warn", "heaping", "resting_pressure")
"""Blood pressures are read to the nearest ten everywhere."""


def test_cleveland_is_clean() -> None:
    assert of("cleveland") == {ROUNDED}


def test_hungary_has_one_record_twice() -> None:
    # Seen only without cholesterol, which one of the two lacks.
    assert of("hungarian") == {ROUNDED}
    assert of("hungarian", "cholesterol", "high_glucose") == {
        ROUNDED,
        ("warn", "duplicate_rows", None),
    }


def test_switzerland_codes_missing_cholesterol_as_zero_in_every_row() -> None:
    assert (heart_rows("switzerland")[:, 4] == 0).all()
    assert of("switzerland") == {
        ROUNDED,
        ("block", "cohort_minimum", None),  # no record is complete
        ("block", "zero_coded", "cholesterol"),
        ("block", "missingness", "cholesterol"),
        ("block", "missingness", "high_glucose"),
        ("block", "minority_class", "outcome"),  # 8 of 123 without disease
    }
    (zeros,) = [one for one in check(heart("switzerland")) if one.check is Check.ZERO_CODED]
    assert zeros.figures == {"zeros": 123, "numbers": 123, "share": 1.0}


def test_switzerland_without_cholesterol_still_has_nearly_one_class() -> None:
    assert of("switzerland", "cholesterol", "high_glucose") == {
        ROUNDED,
        ("block", "minority_class", "outcome"),
    }


def test_the_veterans_code_a_quarter_of_cholesterol_and_one_pressure_as_zero() -> None:
    missing = {
        "resting_pressure",
        "cholesterol",
        "maximum_rate",
        "exercise_angina",
        "st_depression",
    }
    assert of("va") == {
        ROUNDED,
        ("warn", "duplicate_rows", None),
        ("warn", "zero_coded", "cholesterol"),
        ("warn", "zero_coded", "resting_pressure"),
        *(("warn", "missingness", name) for name in missing),
    }
    zeros = [one for one in check(heart("va")) if one.check is Check.ZERO_CODED]
    assert {one.concept: one.figures["zeros"] for one in zeros} == {
        "cholesterol": 49,
        "resting_pressure": 1,
    }


def test_against_the_federation_the_swiss_outcome_stands_out() -> None:
    rows = np.vstack([heart_rows(hospital) for hospital in HOSPITALS])
    ages = rows[:, 0]
    edges = np.linspace(20, 90, 15)
    federation = Federation(
        {"age_years": Histogram(edges, np.histogram(ages, edges)[0].astype(float))},
        float((rows[:, 13] > 0).mean()),
    )
    found = {hospital: of(hospital, federation=federation) for hospital in HOSPITALS}
    assert {h for h in HOSPITALS if ("warn", "prevalence", "outcome") in found[h]} == {
        "switzerland",
        "va",
    }
    drifted = {h for h in HOSPITALS if any(check == "drift" for _, check, _ in found[h])}
    assert drifted == {"hungarian", "va"}  # the youngest and the oldest patients
