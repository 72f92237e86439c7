"""The least cell and cohort: nobody lowers them and nobody overrides them."""

import numpy as np
import pytest

from quality_records import BOOLEAN, concept, facts, material
from wardround.clinical.quality import Check, Level, Material, Minimums, Thresholds, check


def study(patients: int, rare: int = 10) -> Material:
    flag = (np.arange(patients) < rare).astype(float)
    return material(np.arange(patients) % 2, facts(concept("flag", BOOLEAN), flag))


def level(about: Material, wanted: Check, minimums: Minimums | None = None) -> set[Level]:
    return {one.level for one in check(about, minimums=minimums) if one.check is wanted}


@pytest.mark.parametrize(
    ("patients", "expected"), [(0, Level.BLOCK), (19, Level.BLOCK), (20, Level.OK)]
)
def test_a_cohort_below_the_minimum_blocks(patients: int, expected: Level) -> None:
    assert level(study(patients), Check.COHORT_MINIMUM) == {expected}


def test_a_stricter_term_holds() -> None:
    assert level(study(30), Check.COHORT_MINIMUM, Minimums(cohort=40)) == {Level.BLOCK}


@pytest.mark.parametrize(("rare", "expected"), [(1, Level.WARN), (4, Level.WARN), (5, Level.OK)])
def test_a_small_group_is_said_to_be_sent_as_zero(rare: int, expected: Level) -> None:
    assert level(study(60, rare), Check.CELL_MINIMUM) == {expected}


@pytest.mark.parametrize("wrong", [{"cell": 2}, {"cell": 0}, {"cohort": 4}, {"cohort": -1}])
def test_no_caller_goes_below_the_floor(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Minimums(**wrong)


def test_no_threshold_reaches_them() -> None:
    assert not [name for name in Thresholds.model_fields if "cell" in name or "cohort" in name]
