"""The tables behind suggestions say nothing that the concept graph contradicts."""

from __future__ import annotations

import numpy as np
import pytest

from wardround.clinical.graph import ConceptGraph
from wardround.clinical.suggest.hints import LEVEL_WORDS, typical_ranges

GRAPH = ConceptGraph.load()


@pytest.mark.parametrize("concept", typical_ranges())
def test_the_usual_range_lies_within_the_plausible_one(concept: str) -> None:
    hint, known = typical_ranges()[concept], GRAPH.concept(concept)
    assert known.unit is not None
    assert known.plausible is not None
    path = GRAPH.path(hint.unit, known.unit, concept)
    low, high = path.apply(np.array([hint.low, hint.high]))
    assert known.plausible[0] <= low < high <= known.plausible[1]


def test_words_stand_for_levels_that_exist() -> None:
    levels = {level for concept in GRAPH.concepts for level in concept.levels}
    assert set(LEVEL_WORDS) <= levels
