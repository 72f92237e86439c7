"""How much a name or a description resembles what a concept is called, in any language.

Words are compared by their letters (shared trigrams, Dice 1945) and weighted by how rare they are
among all concepts' names (inverse document frequency, Spaerck Jones 1972): *cholesterol* says less
about *HDL cholesterol* than *HDL* does. A label fits well if its words are found in the name
(recall) and the name has few other words (precision); the two are combined as F (van Rijsbergen
1979).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import Concept
from wardround.clinical.suggest.words import Tokenizer, abbreviations, fold, readings

_NOISE: Final = 0.12
"""The weight of a word that says nothing: enough to prefer a label that has it too."""

_NUMBER: Final = 0.3
"""The weight of a number: it tells type 1 from type 2, but a seventh column is not GAD-7."""

_UNKNOWN: Final = 0.55
"""Of a rare word's weight, that of one which is in no label: perhaps a ward, perhaps the point."""

_ALIKE: Final = 0.55
"""Below it two words only share a syllable."""

_SPELT_OUT: Final = 0.97
"""What spelling out an abbreviation costs: the name as it stands goes first."""

_LETTERS: Final = 0.75
"""What the likeness of the bare letters of two names is worth beside that of their words."""

_MOST_WORDS: Final = 24
"""Words of a description that are read; what it is stands at its beginning."""


@dataclass(frozen=True)
class NameMatch:
    """How well a label fits, from 0 to 1."""

    score: float
    label: str


@dataclass(frozen=True)
class _Label:
    concept: int
    text: str


class NameIndex:
    """Every name and synonym of every concept, ready to be compared with a column's name."""

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self._concepts = tuple(concepts)
        texts = [
            dict.fromkeys((concept.name, concept.id, *concept.synonyms))
            for concept in self._concepts
        ]
        first = Tokenizer(abbreviations().meanings)
        short = {
            fold(label)
            for labels in texts
            for label in labels
            if label.isalnum() and (len(label) < 9 or label.isalpha())
        }
        short |= {word for labels in texts for label in labels for word in _joined(label)}
        plain = {word for labels in texts for label in labels for word in first.tokens(label)}
        self._tokenizer = Tokenizer(
            {w for w in plain | short if len(w) > 2} | set(abbreviations().meanings)
        )
        self._labels: list[_Label] = []
        words: list[tuple[str, ...]] = []
        for number, labels in enumerate(texts):
            for label in labels:
                ways = (self._tokenizer.tokens(label), first.tokens(label), _joined(label))
                for tokens in dict.fromkeys(ways):
                    if tokens:
                        self._labels.append(_Label(number, label))
                        words.append(tokens)
        self._build(words)

    def _build(self, words: list[tuple[str, ...]]) -> None:
        self._vocabulary = sorted({word for label in words for word in label})
        at = {word: index for index, word in enumerate(self._vocabulary)}
        self._at: Mapping[str, int] = at
        concepts_with: dict[int, set[int]] = defaultdict(set)
        for label, tokens in zip(self._labels, words, strict=True):
            for token in tokens:
                concepts_with[at[token]].add(label.concept)
        self._most = math.log(1 + len(self._concepts))
        noise = abbreviations().noise
        self._weights = np.array(
            [
                _NOISE
                if word in noise
                else _NUMBER
                if word.isdigit()
                else math.log(1 + len(self._concepts) / len(concepts_with[index])) / self._most
                for index, word in enumerate(self._vocabulary)
            ]
        )
        self._flat = np.array([at[token] for tokens in words for token in tokens], dtype=np.intp)
        self._starts = np.cumsum([0] + [len(tokens) for tokens in words[:-1]])
        self._whole = np.add.reduceat(self._weights[self._flat], self._starts)
        self._of = np.array([label.concept for label in self._labels], dtype=np.intp)
        squeezed = [_bigrams(label.text) for label in self._labels]
        pairs: dict[str, list[int]] = defaultdict(list)
        for number, found in enumerate(squeezed):
            for pair in found:
                pairs[pair].append(number)
        self._pairs = {pair: np.array(found) for pair, found in pairs.items()}
        self._pair_counts = np.array([len(found) for found in squeezed])
        grams: dict[str, list[int]] = defaultdict(list)
        for index, word in enumerate(self._vocabulary):
            for gram in _trigrams(word):
                grams[gram].append(index)
        self._grams = {gram: np.array(found) for gram, found in grams.items()}
        self._sizes = np.array([len(_trigrams(word)) for word in self._vocabulary])
        self._lengths = np.array([len(word) for word in self._vocabulary])

    def match_name(self, name: str) -> dict[int, NameMatch]:
        """Return, by the concept's number, its label that a column's name resembles most."""
        tokens = self._tokenizer.tokens(name)
        best: dict[int, NameMatch] = {}
        for number, reading in enumerate(readings(tokens, self._tokenizer.inside)):
            scores = self._scores(reading, beta=1.0) * (_SPELT_OUT if number else 1.0)
            self._keep(best, scores)
        saying = [token for token in tokens if token not in abbreviations().noise]
        self._keep(best, _LETTERS * self._shared_letters("".join(saying)))
        return best

    def match_text(self, text: str) -> dict[int, NameMatch]:
        """Return the same for a description: other words in it count less against a label."""
        best: dict[int, NameMatch] = {}
        tokens = self._tokenizer.tokens(text)[:_MOST_WORDS]
        if tokens:
            self._keep(best, self._scores(tokens, beta=2.0))
        return best

    def _shared_letters(self, name: str) -> NDArray[np.float64]:
        """Dice of the pairs of neighbouring letters, marks and word borders left out."""
        mine = _bigrams(name)
        shared = np.zeros(len(self._labels))
        for pair in mine & self._pairs.keys():
            shared[self._pairs[pair]] += 1
        dice = 2 * shared / np.maximum(len(mine) + self._pair_counts, 1)
        return np.asarray(dice, dtype=np.float64)

    def _keep(self, best: dict[int, NameMatch], scores: NDArray[np.float64]) -> None:
        top = np.zeros(len(self._concepts))
        np.maximum.at(top, self._of, scores)
        for label in np.flatnonzero((scores > 0.1) & (scores >= top[self._of])).tolist():
            concept = self._labels[label].concept
            known = best.get(concept)
            score = float(scores[label])
            if known is None or score > known.score:
                best[concept] = NameMatch(score, self._labels[label].text)

    def _scores(self, tokens: tuple[str, ...], beta: float) -> NDArray[np.float64]:
        """F of every label, shape ``(labels,)``."""
        if not tokens:
            return np.zeros(len(self._labels))
        alike = np.stack([self._alike(token) for token in tokens])
        found = alike[:, self._flat]
        recall = np.add.reduceat(self._weights[self._flat] * found.max(axis=0), self._starts)
        recall = recall / self._whole
        best = np.maximum.reduceat(found, self._starts, axis=1)
        weights = np.array([self._weight(token) for token in tokens])
        precision = (weights @ best) / weights.sum()
        down = beta**2 * precision + recall
        with np.errstate(invalid="ignore"):
            score = np.where(down > 0, (1 + beta**2) * precision * recall / down, 0.0)
        return np.asarray(score, dtype=np.float64)

    def _weight(self, token: str) -> float:
        if token in abbreviations().noise:
            return _NOISE
        if token.isdigit() and token not in self._at:
            return _NOISE
        index = self._at.get(token)
        if index is not None:
            return float(self._weights[index])
        # What is spelt nearly like a known word weighs as much as that word.
        alike = self._alike(token)
        near = int(alike.argmax()) if len(alike) else 0
        return max(_UNKNOWN, float(alike[near] * self._weights[near]))

    @lru_cache(maxsize=4096)  # noqa: B019 - an index lives as long as the process
    def _alike(self, token: str) -> NDArray[np.float64]:
        """How alike a word is to each word of the vocabulary, 0 to 1."""
        mine = _trigrams(token)
        shared = np.zeros(len(self._vocabulary))
        for gram in mine:
            if gram in self._grams:
                shared[self._grams[gram]] += 1
        dice = 2 * shared / (len(mine) + self._sizes)
        dice[dice < _ALIKE] = 0.0
        dice *= 0.95
        if len(token) >= 3:
            for index in np.flatnonzero((shared > 0) & (dice < 0.9)).tolist():
                dice[index] = max(dice[index], _begins(token, self._vocabulary[index]))
        if len(token) >= 4:
            near = (np.abs(self._lengths - len(token)) <= 2) & (self._lengths >= 4)
            for index in np.flatnonzero(near & (shared > 0) & (dice < 0.9)).tolist():
                dice[index] = max(dice[index], _misspelt(token, self._vocabulary[index]))
        if token in self._at:
            dice[self._at[token]] = 1.0
        dice.flags.writeable = False
        return np.asarray(dice, dtype=np.float64)


def _joined(label: str) -> tuple[str, ...]:
    """A short label as one word: ``CA 19-9`` is often written CA199."""
    whole = fold("".join(mark for mark in label if mark.isalnum()))
    return (whole,) if 3 <= len(whole) <= 8 and not label.isalnum() else ()


def _begins(one: str, other: str) -> float:
    """Abbreviations cut words off (*diast*, *creat*); compounds hold them (*serumkreatinin*)."""
    short, long = sorted((one, other), key=len)
    if len(short) >= 3 and long.startswith(short):
        return 0.55 + 0.4 * len(short) / len(long)
    if len(short) >= 5 and short in long:
        return 0.4 + 0.5 * len(short) / len(long)
    return 0.0


def _misspelt(one: str, other: str) -> float:
    """A letter left out or two exchanged leave few trigrams whole: compare letter by letter."""
    ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
    exchanged = sorted(one) == sorted(other) and ratio >= 0.75
    return 0.95 * ratio if ratio >= 0.83 or exchanged else 0.0


def _bigrams(text: str) -> frozenset[str]:
    letters = fold("".join(mark for mark in text if mark.isalnum()))
    return frozenset(letters[at : at + 2] for at in range(len(letters) - 1))


@lru_cache(maxsize=65536)
def _trigrams(word: str) -> frozenset[str]:
    edged = f"^{word}$"
    return frozenset(edged[at : at + 3] for at in range(max(1, len(edged) - 2)))
