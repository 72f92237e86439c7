"""Missing values, openly or in disguise, and features that say nothing."""

from collections.abc import Sequence

import numpy as np
import pytest

from quality_records import BOOLEAN, concept, facts, fired, material
from wardround.clinical import Reason
from wardround.clinical.quality import Check, ConceptMaterial, Finding, Level, Thresholds

GEN = np.random.default_rng(7)
LAB = concept("lab", plausible=(20.0, 1500.0))
DEPRESSION = concept("st_depression", plausible=(-10.0, 20.0))
AGE = concept("age", plausible=(0.0, 120.0))
PRESSURES = GEN.normal(220, 40, 200).round()


def found(column: ConceptMaterial, wanted: Check, **limits: float) -> list[Finding]:
    records = material(np.arange(len(column.values)) % 2, column)
    return fired(records, wanted, Thresholds(**limits))


def levels(column: ConceptMaterial, wanted: Check, **limits: float) -> list[Level]:
    return [one.level for one in found(column, wanted, **limits)]


def gaps(count: int, of: int = 100) -> np.ndarray:
    values = np.linspace(50, 90, of)
    values[:count] = np.nan
    return values


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (20, []), (21, [Level.WARN]), (50, [Level.WARN]), (51, [Level.BLOCK])],
)
def test_missing_values_warn_above_a_fifth_and_block_above_a_half(
    count: int, expected: list[Level]
) -> None:
    assert levels(facts(LAB, gaps(count)), Check.MISSINGNESS) == expected


def test_a_value_set_aside_is_as_good_as_missing_and_said_to_be_there() -> None:
    written = np.linspace(50, 90, 100)
    written[:30] = 5000.0
    (finding,) = found(facts(LAB, written), Check.MISSINGNESS)
    assert finding.figures["lost"] == finding.figures["aside"] == 30
    assert "set aside" in finding.words


def test_the_hospital_chooses_its_thresholds() -> None:
    column = facts(LAB, gaps(10))
    assert levels(column, Check.MISSINGNESS, missing_warn=0.05) == [Level.WARN]
    assert levels(column, Check.MISSINGNESS, missing_warn=0.05, missing_block=0.09) == [Level.BLOCK]


@pytest.mark.parametrize(("zeros", "expected"), [(0, []), (1, [Level.WARN]), (150, [Level.BLOCK])])
def test_zero_where_the_plausible_range_excludes_it(zeros: int, expected: list[Level]) -> None:
    written = PRESSURES.copy()
    written[:zeros] = 0
    assert levels(facts(LAB, written), Check.ZERO_CODED) == expected


def test_zeros_inside_the_plausible_range_count_when_they_stand_apart() -> None:
    written = PRESSURES.copy()
    written[:20] = 0
    column = facts(concept("lab", plausible=(0.0, 1500.0)), written)
    (finding,) = found(column, Check.ZERO_CODED)
    assert finding.level is Level.WARN
    assert "may stand for missing" in finding.words


@pytest.mark.parametrize(
    "written",
    [
        np.round(np.abs(GEN.normal(0, 1.2, 200)), 1),  # ST depression: 0 is its commonest value
        np.tile([0, 1, 2, 3], 50),  # vessels: a count
        np.tile([0, 40], 100),  # a dose: given or not
        np.concatenate([PRESSURES, [0, 0]]),  # two are no habit
    ],
)
def test_true_zeros_are_left_alone(written: np.ndarray) -> None:
    column = facts(concept("thing", plausible=(0.0, 1500.0)), written)
    assert found(column, Check.ZERO_CODED) == []


def test_a_yes_or_no_may_be_zero() -> None:
    assert found(facts(concept("flag", BOOLEAN), [0.0] * 50 + [1.0] * 50), Check.ZERO_CODED) == []


def with_sentinel(values: np.ndarray, sentinel: float, count: int) -> np.ndarray:
    return np.concatenate([values, np.full(count, sentinel)])


AGES = np.clip(GEN.normal(55, 12, 200).round(), 20, 89)


@pytest.mark.parametrize(
    ("about", "values", "sentinel", "count"),
    [
        (LAB, PRESSURES, 9999.0, 3),
        (LAB, PRESSURES, -9.0, 1),  # negative of something that never is
        (LAB, PRESSURES, -1.0, 1),
        (AGE, AGES, 99.0, 25),  # inside the plausible range: a spike beyond all others
        (AGE, AGES, 999.0, 3),
        (DEPRESSION, np.round(GEN.normal(0, 1, 200), 1), -99.0, 3),
        (LAB, np.empty(0), -9.0, 20),  # nothing else at all
    ],
)
def test_stand_in_numbers_are_found(
    about: object, values: np.ndarray, sentinel: float, count: int
) -> None:
    assert isinstance(about, type(LAB))
    (finding,) = found(facts(about, with_sentinel(values, sentinel, count)), Check.SENTINEL)
    assert finding.figures["count"] == count
    assert f"{sentinel:g}" in finding.words


@pytest.mark.parametrize(
    ("about", "written"),
    [
        (AGE, with_sentinel(AGES, 99.0, 1)),  # one very old patient
        (LAB, with_sentinel(GEN.uniform(50, 200, 300).round(), 99.0, 4)),  # amid the others
        (DEPRESSION, np.tile([-2.0, -1.0, 0.0, 1.0, 2.0], 40)),  # may be negative
        (concept("saturation", plausible=(30.0, 100.0)), np.tile(np.arange(90.0, 100.0), 20)),
    ],
)
def test_numbers_that_may_be_meant_are_left_alone(about: object, written: np.ndarray) -> None:
    assert isinstance(about, type(LAB))
    assert found(facts(about, written), Check.SENTINEL) == []


def test_half_stand_ins_block() -> None:
    column = facts(LAB, with_sentinel(PRESSURES, 9999.0, 250))
    assert levels(column, Check.SENTINEL) == [Level.BLOCK]


@pytest.mark.parametrize(
    ("values", "fires"), [([80.0] * 100, True), ([80.0] * 99 + [81.0], False), ([80.0], False)]
)
def test_a_feature_that_never_varies(values: Sequence[float], fires: bool) -> None:
    assert bool(found(facts(LAB, values), Check.CONSTANT)) is fires


def test_what_is_set_aside_for_a_reason_does_not_become_missing_at_all() -> None:
    column = facts(LAB, gaps(30), {Reason.UNREADABLE_NUMBER: 30})
    (finding,) = found(column, Check.MISSINGNESS)
    assert finding.figures["lost"] == 30
