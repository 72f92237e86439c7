"""From evidence to a score: a weighted sum that anybody can redo by hand.

Each signal's strength, from -1 to 1, is multiplied by its weight; the points are summed, and the
logistic function brings the sum to between 0 and 1. What a signal can't say counts nothing. The
weights are fixed; they were tuned by hand on the tuning part of ``schema_matching.toml`` and never
on what is held out. Nothing is learned from a hospital's data.

Where fields are sought for a concept, a score may be lowered to a share of itself; the points that
this takes stand among the others, so that the sum still gives the score.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from wardround.clinical.suggest.suggestion import Evidence, Signal, Suggestion

WEIGHTS: Final[Mapping[Signal, float]] = {
    Signal.CODE: 8.0,
    Signal.NAME: 5.0,
    Signal.DESCRIPTION: 3.0,
    Signal.EMBEDDING: 2.0,
    Signal.UNIT: 1.5,
    Signal.VALUES: 1.2,
    Signal.CATEGORIES: 1.5,
    Signal.TYPE: 2.0,
}
"""Points for a signal of full strength."""

START: Final = -5.5
"""The sum without evidence: a concept taken at random is nearly surely the wrong one."""


def weigh(evidence: Iterable[Evidence], without: Collection[Signal] = ()) -> tuple[Evidence, ...]:
    """Give each piece of evidence its points and put what counts most first."""
    weighed = [
        replace(one, points=WEIGHTS[one.signal] * one.strength)
        for one in evidence
        if one.signal not in without
    ]
    return _strongest_first(weighed)


def _strongest_first(weighed: Iterable[Evidence]) -> tuple[Evidence, ...]:
    return tuple(sorted(weighed, key=lambda one: (-abs(one.points), one.signal)))


def lowered(suggestion: Suggestion, share: float, signal: Signal, words: str) -> Suggestion:
    """Return a suggestion with a share of its score (above 0, below 1), and why in words."""
    before, after = suggestion.score, suggestion.score * share
    points = _log_odds(after) - _log_odds(before)
    reason = Evidence(signal, share - 1.0, words, points)
    return replace(
        suggestion, score=after, evidence=_strongest_first((*suggestion.evidence, reason))
    )


def _log_odds(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def score(weighed: Iterable[Evidence]) -> float:
    """Return the score, between 0 and 1."""
    return 1.0 / (1.0 + math.exp(-START - sum(one.points for one in weighed)))
