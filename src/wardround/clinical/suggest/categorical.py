"""Texts against a concept: known codings, levels, and the words for yes and no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.profile import FieldKind, FieldProfile
from wardround.clinical.suggest.hints import LEVEL_WORDS, NO, YES
from wardround.clinical.suggest.suggestion import Evidence, Signal

_NAMED_AT_MOST = 6
"""Texts quoted in a reason."""


@dataclass(frozen=True, repr=False)
class CategoryFit:
    """How a field's texts fit a concept: the evidence, and the value map to propose."""

    evidence: tuple[Evidence, ...]
    value_map: Mapping[str, str | bool] | None


@dataclass(frozen=True)
class _Trial:
    """One way to read the texts; ``telling`` is how much a full match says, ``name`` which way."""

    values: Mapping[str, str | bool]
    telling: float
    name: str


class CategorySignals:
    """Compares profiles with booleans and categories."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._graph = graph

    def fit(self, profile: FieldProfile, concept: Concept) -> CategoryFit:
        """Compare a field's texts with the codings and levels of a concept."""
        texts = profile.categories
        if concept.type not in (ConceptType.BOOLEAN, ConceptType.CATEGORY) or not texts:
            return CategoryFit((), None)
        whole = sum(texts.values())
        best: tuple[float, float, _Trial] | None = None
        for trial in self._trials(concept, texts):
            covered = sum(texts[text] for text in trial.values) / whole
            if best is None or covered * trial.telling > best[0] + 1e-12:
                best = (covered * trial.telling, covered, trial)
        if best is None or not best[2].values:
            telling = 0.7 if profile.kind in (FieldKind.CATEGORY, FieldKind.BOOLEAN) else 0.2
            words = "none of the values is known for this concept"
            return CategoryFit((Evidence(Signal.CATEGORIES, -telling, words),), None)
        strength, covered, trial = best
        if covered < 0.5:
            words = f"only {covered:.0%} of the values match {trial.name}"
            return CategoryFit((Evidence(Signal.CATEGORIES, covered - 0.6, words),), trial.values)
        shown = "/".join(list(trial.values)[:_NAMED_AT_MOST])
        words = f"the values {shown} match {trial.name}"
        if covered < 1:
            words += f" ({covered:.0%} of the cells)"
        return CategoryFit((Evidence(Signal.CATEGORIES, strength, words),), trial.values)

    def _trials(self, concept: Concept, texts: Mapping[str, int]) -> list[_Trial]:
        found = [
            _Trial(
                _read(texts, coding.values),
                # Nearly everything is coded as 0, 1, 2 or as yes and no: a fit says little.
                0.3 if all(_says_little(code) for code in coding.values) else 1.0,
                f"the value map {coding.coding!r}",
            )
            for coding in self._graph.value_maps(concept.id)
        ]
        if concept.type is ConceptType.BOOLEAN:
            yes_and_no = {**dict.fromkeys(NO, False), **dict.fromkeys(YES, True)}
            found.append(_Trial(_read_words(texts, yes_and_no), 0.3, "yes and no"))
        else:
            words: dict[str, str | bool] = {}
            for level in concept.levels:
                words |= dict.fromkeys(LEVEL_WORDS.get(level, ()), level)
                words[level] = words[level.replace("_", " ")] = level
                words[level.replace("_", "-")] = level
            read = _read_words(texts, words)
            # Yes and no may be said of anything; a word of one's own may not.
            only_yes_and_no = all(text.strip().casefold() in YES | NO for text in read)
            found.append(_Trial(read, 0.2 if only_yes_and_no else 1.0, "the concept's levels"))
        return found


def _says_little(code: str) -> bool:
    return (len(code) == 1 and code.isdigit()) or code.casefold() in YES | NO


def _read(texts: Mapping[str, int], values: Mapping[str, str | bool]) -> Mapping[str, str | bool]:
    return {text: values[text] for text in texts if text in values}


def _read_words(
    texts: Mapping[str, int], words: Mapping[str, str | bool]
) -> Mapping[str, str | bool]:
    folded = {text: text.strip().casefold() for text in texts}
    return {text: words[word] for text, word in folded.items() if word in words}
