"""What fields answer when a study asks for a concept: that, a special case of it, or less.

A special case is a way to the general concept (``route.py`` takes it): who has type 2 diabetes has
diabetes. Who has not may still have another kind, so of a yes or no only the yes counts. The
general concept is no way to a special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.suggest.scoring import lowered
from wardround.clinical.suggest.suggestion import LIKELY, Signal, Suggestion

_ONLY_YES: Final = 0.5
"""What a special case of a yes or no is worth: half of the answers say nothing."""

_ONE_KIND: Final = 0.8
"""What another special case is worth: its values count, but not everyone has that kind."""

_NO_WAY: Final = 0.5
"""What a resemblance is worth in a field that says the general concept."""


class Answers:
    """Gathers what fields answer to one concept that a study wants, and puts it in order.

    Raises:
        WardroundError: ``WR-DATA-001`` for an unknown concept.
    """

    def __init__(self, graph: ConceptGraph, wanted: str) -> None:
        self._graph = graph
        self._wanted = graph.concept(wanted)
        ids = [concept.id for concept in graph.concepts]
        self._below = {one for one in ids if graph.is_kind_of(one, wanted)}
        self._above = {one for one in ids if graph.is_kind_of(wanted, one)}
        self._exact: list[Suggestion] = []
        self._special: list[Suggestion] = []
        self._unfit: list[Suggestion] = []

    def take(self, ranked: Sequence[Suggestion]) -> None:
        """Take a field's answer; ``ranked`` are all concepts for it, best first."""
        direct = next(one for one in ranked if one.concept == self._wanted.id)
        kin = self._below | self._above | {direct.concept}
        nearest = next(one for one in ranked if one.concept in kin)
        if nearest.score <= direct.score:
            nearest = direct
        if nearest.concept in self._below:
            self._special.append(self._beside(ranked[0], nearest))
        elif nearest.concept in self._above:
            words = self._no_way_from(self._graph.concept(nearest.concept))
            answer = self._beside(ranked[0], direct)
            self._unfit.append(lowered(answer, _NO_WAY, Signal.HIERARCHY, words))
        else:
            self._exact.append(self._beside(ranked[0], direct))

    def best(self, top: int, least: float) -> tuple[Suggestion, ...]:
        """Return the ``top`` fields with a score of at least ``least``, best first.

        Special cases are measured by the best field that likely says the concept itself, so they
        always stand below it. Equal scores, as shown, stand in the order of the fields' names.
        """
        scores = (one.score for one in self._exact)
        beside = max((score for score in scores if score >= LIKELY), default=1.0)
        special = [self._as_kind(one, beside) for one in self._special]
        found = [one for one in (*self._exact, *special, *self._unfit) if one.score >= least]
        found.sort(key=lambda one: (-one.shown_score, one.field, one.source))
        return tuple(found[:top])

    def _beside(self, best: Suggestion, one: Suggestion) -> Suggestion:
        """Lower a score by its quotient to the field's best: HDL is no candidate for the total."""
        if one.score >= best.score:
            return one
        words = f"{self._graph.concept(best.concept).name_within} fits this field better"
        return lowered(one, one.score / best.score, Signal.RIVAL, words)

    def _as_kind(self, one: Suggestion, beside: float) -> Suggestion:
        kind = self._graph.concept(one.concept)
        boolean = kind.type is ConceptType.BOOLEAN
        words = f"{kind.name} is a kind of {self._wanted.name_within}"
        words += ": yes is certain, no is not" if boolean else ""
        share = beside * (_ONLY_YES if boolean else _ONE_KIND)
        return lowered(one, share, Signal.HIERARCHY, words)

    def _no_way_from(self, general: Concept) -> str:
        wanted = self._wanted.name_within
        return f"{general.name}, as the field says, may be another kind than {wanted}: no way there"
