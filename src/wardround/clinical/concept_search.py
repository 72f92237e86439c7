"""Finding a concept by what people call it, in any of the languages, or by a code."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from wardround.clinical.concept import Concept


class Match(IntEnum):
    """How well a label fits, best first."""

    EXACT = 0
    BEGINS = 1
    WORDS = 2
    CONTAINS = 3
    SIMILAR = 4

    @property
    def words(self) -> str:
        """The match for a reader."""
        return {
            Match.EXACT: "is so called",
            Match.BEGINS: "begins so",
            Match.WORDS: "has these words",
            Match.CONTAINS: "contains it",
            Match.SIMILAR: "is spelt like it",
        }[self]


@dataclass(frozen=True)
class Hit:
    """A concept, the label by which it was found, and how well that fits."""

    concept: Concept
    label: str
    match: Match


@dataclass(frozen=True)
class _Entry:
    folded: str
    words: tuple[str, ...]
    label: str
    concept: Concept
    order: int


class SearchIndex:
    """Every label of every concept, folded: without case, accents and punctuation."""

    def __init__(self, concepts: Iterable[Concept]) -> None:
        self._entries: list[_Entry] = []
        for order, concept in enumerate(concepts):
            labels = dict.fromkeys(
                (
                    concept.name,
                    concept.id,
                    *concept.synonyms,
                    *(code.code for code in concept.codes),
                )
            )
            for label in labels:
                folded = fold(label)
                self._entries.append(_Entry(folded, tuple(folded.split()), label, concept, order))

    def search(self, text: str, limit: int) -> tuple[Hit, ...]:
        """Return at most ``limit`` concepts, each by its best label; spelling only if none fits."""
        query = fold(text)
        if not query:
            return ()
        words = query.split()
        found: dict[str, tuple[Match, int, int, Hit]] = {}
        for entry in self._entries:
            match = _match(query, words, entry)
            if match is not None:
                _keep(found, match, entry)
        if not found:
            near = difflib.get_close_matches(
                query, [entry.folded for entry in self._entries], n=2 * limit, cutoff=0.75
            )
            for entry in self._entries:
                if entry.folded in near:
                    _keep(found, Match.SIMILAR, entry, rank=near.index(entry.folded))
        ranked = sorted(found.values(), key=lambda one: one[:3])
        return tuple(hit for *_, hit in ranked[:limit])


def fold(text: str) -> str:
    """Without case, accents and punctuation: ``Tension artérielle`` becomes ``tension arterielle``.

    German umlauts written as two letters are not folded; sharp s is ``ss``.
    """
    apart = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(mark for mark in apart if not unicodedata.combining(mark))
    return " ".join(re.findall(r"[\w%+]+", letters.replace("_", " ")))


def _match(query: str, words: list[str], entry: _Entry) -> Match | None:
    if any(word not in entry.folded for word in words):
        return None  # most labels: every other kind of match needs each word somewhere
    if entry.folded == query:
        return Match.EXACT
    if entry.folded.startswith(query):
        return Match.BEGINS
    if all(any(known.startswith(word) for known in entry.words) for word in words):
        return Match.WORDS
    # Three letters: inside a word, fewer are found everywhere.
    return Match.CONTAINS if len(query) >= 3 and query in entry.folded else None


def _keep(
    found: dict[str, tuple[Match, int, int, Hit]],
    match: Match,
    entry: _Entry,
    rank: int | None = None,
) -> None:
    fit_by = len(entry.folded) if rank is None else rank
    fit = (match, fit_by, entry.order, Hit(entry.concept, entry.label, match))
    known = found.get(entry.concept.id)
    if known is None or fit[:3] < known[:3]:
        found[entry.concept.id] = fit
