"""Whether there is something to learn, and whether a feature gives it away."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality_records import NUMBER, concept, facts, fired, material
from wardround.clinical.quality import Check, ConceptMaterial, Level, Material, check
from wardround.clinical.quality.outcome import auc

GEN = np.random.default_rng(2)
OUTCOME = np.repeat([0.0, 1.0], [120, 80])
NOISE = GEN.normal(0, 1, 200)


def study(outcome: np.ndarray = OUTCOME, *features: np.ndarray) -> Material:
    columns: list[ConceptMaterial] = [
        facts(concept(f"feature_{place}"), values[: len(outcome)])
        for place, values in enumerate(features or (NOISE,))
    ]
    return material(outcome, *columns)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_only_blocks(value: float) -> None:
    (finding,) = fired(study(np.full(50, value)), Check.ONE_CLASS)
    assert finding.level is Level.BLOCK
    assert fired(study(np.full(50, value)), Check.MINORITY_CLASS) == []


@pytest.mark.parametrize(("rarer", "blocks"), [(1, True), (9, True), (10, False), (60, False)])
def test_a_rare_outcome_blocks_below_ten(rarer: int, blocks: bool) -> None:
    for first, second in ((0.0, 1.0), (1.0, 0.0)):
        about = study(np.repeat([first, second], [120, rarer]))
        assert bool(fired(about, Check.MINORITY_CLASS)) is blocks
        assert fired(about, Check.ONE_CLASS) == []


def test_an_outcome_that_is_a_number_has_no_classes() -> None:
    about = material(OUTCOME, facts(concept("x"), NOISE))
    number = facts(concept("outcome", NUMBER), OUTCOME)
    about = Material(about.table, {**about.concepts, "outcome": number}, ("x",), "outcome", 1)
    levels = {one.check: one.level for one in check(about)}
    assert levels[Check.ONE_CLASS] is levels[Check.LEAKAGE] is Level.NOT_CHECKED


@pytest.mark.parametrize(
    "feature",
    [
        OUTCOME,
        1.0 - OUTCOME,
        37.5 * OUTCOME + 4,
        OUTCOME + GEN.normal(0, 0.1, 200),
        np.where(OUTCOME > 0, GEN.choice([1.0, 5.0], 200), GEN.choice([3.0, 7.0], 200)),  # recoded
    ],
)
def test_a_feature_that_is_the_outcome_in_other_words(feature: np.ndarray) -> None:
    (finding,) = fired(study(OUTCOME, NOISE, feature), Check.LEAKAGE)
    assert (finding.level, finding.concept) == (Level.WARN, "feature_1")


@pytest.mark.parametrize(
    "feature",
    [
        NOISE,
        OUTCOME + GEN.normal(0, 0.6, 200),  # a good feature, AUC about .88
        np.arange(200.0) % 7,
        np.full(200, 3.0),
    ],
)
def test_a_good_feature_is_no_leak(feature: np.ndarray) -> None:
    assert fired(study(OUTCOME, feature), Check.LEAKAGE) == []


def test_with_few_cases_nothing_is_said_about_leakage() -> None:
    outcome = np.repeat([0.0, 1.0], [60, 3])
    (finding,) = [one for one in check(study(outcome, outcome)) if one.check is Check.LEAKAGE]
    assert finding.level is Level.NOT_CHECKED


def test_a_feature_in_another_unit_says_the_same() -> None:
    (finding,) = fired(study(OUTCOME, NOISE, 2.54 * NOISE + 1), Check.TWIN_FEATURES)
    assert (finding.concept, "feature_1" in finding.words) == ("feature_0", True)
    near = NOISE + GEN.normal(0, 0.05, 200)
    assert fired(study(OUTCOME, NOISE, near, np.ones(200)), Check.TWIN_FEATURES) == []


@given(
    st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({one for _, one in rows}) == 2
    )
)
def test_the_area_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    yes = [value for value, one in rows if one]
    no = [value for value, one in rows if not one]
    pairs = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
    area = auc(np.array([float(v) for v, _ in rows]), np.array([one for _, one in rows]))
    assert area == pytest.approx(sum(pairs) / len(pairs))
