"""The material of the checks: aligned, complete, and silent about its values."""

import numpy as np
import pytest

from quality_records import concept, facts, material
from wardround.clinical.quality import Material

SECRET = 73519.4242


def test_concepts_are_aligned_and_cover_what_is_named() -> None:
    about = material([0.0, 1.0], facts(concept("lab"), [1.0, 2.0]))
    shorter = {**about.concepts, "lab": facts(concept("lab"), [1.0])}
    with pytest.raises(ValueError, match="aligned"):
        Material(about.table, shorter, ("lab",), "outcome", 1)
    with pytest.raises(ValueError, match="cover"):
        Material(about.table, about.concepts, ("lab", "other"), "outcome", 1)
    with pytest.raises(ValueError, match="cover"):
        Material(about.table, about.concepts, ("lab",), "outcome", 1, birth_date="born")


def test_outcomes_are_those_of_the_complete_cases_if_there_are_any() -> None:
    lab = np.array([np.nan, 2.0, 3.0])
    outcome = np.array([0.0, 1.0, np.nan])
    assert material(outcome, facts(concept("lab"), lab)).outcomes().tolist() == [1.0]
    nothing = material(outcome, facts(concept("lab"), np.full(3, np.nan)))
    assert nothing.outcomes().tolist() == [0.0, 1.0]


def test_nothing_shows_a_value() -> None:
    column = facts(concept("lab"), [SECRET, SECRET])
    about = material([0.0, 1.0], column)
    assert "73519" not in f"{column!r} {about!r} {about.table!r}"
