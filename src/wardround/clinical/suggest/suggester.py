"""Ranking the concepts that a field may be, and the fields that a concept may be in.

Nothing is mapped here: a person confirms each reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.headers import split_header
from wardround.clinical.profile import FieldProfile
from wardround.clinical.suggest.answers import Answers
from wardround.clinical.suggest.categorical import CategorySignals
from wardround.clinical.suggest.embedding import Embedder, EmbeddingIndex
from wardround.clinical.suggest.names import NameIndex, NameMatch
from wardround.clinical.suggest.numeric import NumericSignals, StatedUnit, stated_unit
from wardround.clinical.suggest.plain import code_evidence, type_evidence
from wardround.clinical.suggest.scoring import WEIGHTS, score, weigh
from wardround.clinical.suggest.suggestion import Evidence, Reading, Signal, Suggestion

_WORTH_SAYING: Final = 0.25
"""A resemblance below it is chance; it is not shown as a reason and counts nothing."""


LEAST: Final = 0.05
"""The score that a number of the usual size has for a concept that nothing else speaks for."""


class Suggester:
    """Ranks concepts for fields by codes, names, descriptions, units, values and types.

    ``embedder`` adds the likeness of meanings (the extra ``[embed]``); without one that signal is
    absent, and :attr:`signals` says so. ``without`` leaves signals out, for comparisons.
    """

    def __init__(
        self,
        graph: ConceptGraph,
        *,
        embedder: Embedder | None = None,
        without: Collection[Signal] = (),
    ) -> None:
        self._graph = graph
        self._concepts = graph.concepts
        self._without = frozenset(without)
        self._names = NameIndex(self._concepts)
        self._numeric = NumericSignals(graph)
        self._categories = CategorySignals(graph)
        self._embedding = (
            None
            if embedder is None or Signal.EMBEDDING in self._without
            else EmbeddingIndex(self._concepts, embedder)
        )

    @property
    def signals(self) -> tuple[Signal, ...]:
        """The signals in use, of those with a weight."""
        return tuple(
            signal
            for signal in WEIGHTS
            if signal not in self._without
            and (signal is not Signal.EMBEDDING or self._embedding is not None)
        )

    def rank(
        self,
        profile: FieldProfile,
        wanted: Collection[str] | None = None,
        top: int = 5,
        *,
        least: float = LEAST,
    ) -> tuple[Suggestion, ...]:
        """Return the ``top`` concepts that a field may be, best first.

        ``wanted`` names the concepts that the study asks for: only they, their special cases and
        what they can be derived from are considered. What scores below ``least`` is left out.
        Equal scores stand in the graph's order.

        Raises:
            WardroundError: ``WR-DATA-001`` where ``wanted`` names an unknown concept.
        """
        chosen = None if wanted is None else self._ways_to(wanted)
        ranked = self._all(profile, chosen)
        return tuple(one for one in ranked[:top] if one.score >= least)

    def find(
        self,
        profiles: Sequence[FieldProfile],
        wanted: Collection[str],
        top: int = 5,
        *,
        least: float = LEAST,
    ) -> Mapping[str, tuple[Suggestion, ...]]:
        """Return, for each concept that the study wants, the fields that it may be in, best first.

        A field's score for a concept is lowered by the quotient to the field's best concept: a
        field that is surely the HDL cholesterol is no candidate for the total, although it
        resembles it. A field that says a special case is suggested as that (:class:`Answers`).
        What then scores below ``least`` is left out. Equal scores, as shown, stand in the order of
        the fields' names.

        Raises:
            WardroundError: ``WR-DATA-001`` where ``wanted`` names an unknown concept.
        """
        answers = {concept: Answers(self._graph, concept) for concept in wanted}
        for profile in profiles:
            ranked = self._all(profile, None)
            for answer in answers.values():
                answer.take(ranked)
        return {concept: answer.best(top, least) for concept, answer in answers.items()}

    def _ways_to(self, wanted: Collection[str]) -> frozenset[str]:
        """The concepts, their special cases, and whatever they can be computed from."""
        reached: set[str] = set()
        waiting = [self._graph.concept(concept).id for concept in wanted]
        while waiting:
            concept = waiting.pop()
            if concept not in reached:
                reached.add(concept)
                waiting.extend(child.id for child in self._graph.children(concept))
                for derivation in self._graph.derivations(concept):
                    waiting.extend(derivation.inputs)
        return frozenset(reached)

    def _all(self, profile: FieldProfile, chosen: Collection[str] | None) -> list[Suggestion]:
        codes = code_evidence(self._graph, profile)
        names = self._names.match_name(split_header(profile.field).name)
        texts = self._names.match_text(split_header(profile.description or "").name)
        meanings = {} if self._embedding is None else self._embedding.match(profile)
        unit = stated_unit(profile.units)
        found = []
        for number, concept in enumerate(self._concepts):
            if chosen is not None and concept.id not in chosen:
                continue
            said = [
                codes.get(concept.id),
                _resembles(Signal.NAME, "name", names.get(number), concept),
                _resembles(Signal.DESCRIPTION, "description", texts.get(number), concept),
                meanings.get(concept.id),
                type_evidence(profile, concept),
            ]
            found.append(self._suggest(profile, unit, concept, [e for e in said if e is not None]))
        # Python sorts stably: equals stay in the graph's order.
        return sorted(found, key=lambda one: -one.score)

    def _suggest(
        self,
        profile: FieldProfile,
        unit: StatedUnit | None,
        concept: Concept,
        evidence: list[Evidence],
    ) -> Suggestion:
        numeric = self._numeric.fit(profile, unit, concept)
        category = self._categories.fit(profile, concept)
        weighed = weigh([*evidence, *numeric.evidence, *category.evidence], self._without)
        first, *others = profile.date_formats or (None,)
        dated = concept.type is ConceptType.DATE
        numbers = concept.type is ConceptType.NUMERIC
        reading = Reading(
            unit=numeric.unit,
            unit_stated=numeric.stated,
            units_vary=numeric.stated and unit is not None and unit.vary,
            date_format=first if dated else None,
            other_date_formats=tuple(o for o in others if o is not None) if dated else (),
            decimal_mark=profile.decimal_marks[0] if numbers and profile.decimal_marks else None,
            value_map=category.value_map,
        )
        return Suggestion(
            profile.source, profile.field, concept.id, score(weighed), weighed, reading
        )


def _resembles(
    signal: Signal, what: str, match: NameMatch | None, concept: Concept
) -> Evidence | None:
    if match is None or match.score < _WORTH_SAYING:
        return None
    verb = "is" if match.score > 0.999 else "resembles"
    kind = "the concept's name" if match.label in (concept.name, concept.id) else "the synonym"
    return Evidence(signal, match.score, f"the {what} {verb} {kind} {match.label!r}")
