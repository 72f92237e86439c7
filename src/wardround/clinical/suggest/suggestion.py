"""What a suggestion says: a concept, how well it fits, why, and how the field would be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardround.clinical.numbers import DecimalMark

LIKELY: Final = 0.5
"""A suggestion with such a score is worth a look before anything else."""


class Signal(StrEnum):
    """Where evidence for or against a concept comes from.

    The last two are heard where fields are sought for a concept: the field says a special case or
    a general one of it, or something else fits the field better.
    """

    CODE = "code"
    NAME = "name"
    DESCRIPTION = "description"
    UNIT = "unit"
    VALUES = "values"
    CATEGORIES = "categories"
    TYPE = "type"
    EMBEDDING = "embedding"
    HIERARCHY = "hierarchy"
    RIVAL = "rival"


@dataclass(frozen=True, repr=False)
class Evidence:
    """One signal's say about a field and a concept.

    ``strength`` is from -1 (speaks against it) to 1; ``points`` is what it adds to the sum behind
    the score; ``words`` may quote values of the field and stay in the hospital.
    """

    signal: Signal
    strength: float
    words: str
    points: float = 0.0

    def __repr__(self) -> str:
        return f"Evidence({self.signal}, {self.strength:+.2f}, {self.points:+.2f} points)"


@dataclass(frozen=True, repr=False)
class Reading:
    """How the field would be read as the concept: a proposal, for the steward to confirm.

    ``unit`` is the unit of the field's numbers (None where the concept has none or where nothing
    tells); ``unit_stated`` says whether the source states it or the values only look like it;
    ``units_vary`` that the source states several, so that each row's own must be read.
    ``value_map`` leads from texts of the source to a level, or to True or False; texts that are
    not in it stay unmapped.
    """

    unit: str | None = None
    unit_stated: bool = False
    units_vary: bool = False
    date_format: str | None = None
    other_date_formats: tuple[str, ...] = ()
    decimal_mark: DecimalMark | None = None
    value_map: Mapping[str, str | bool] | None = None

    def __repr__(self) -> str:
        mapped = None if self.value_map is None else len(self.value_map)
        return f"Reading(unit={self.unit!r}, date_format={self.date_format!r}, {mapped} texts)"


@dataclass(frozen=True, repr=False)
class Suggestion:
    """One concept that a field may be, with a score from 0 to 1 and the evidence, strongest first.

    Where a field is sought for a concept, ``concept`` may be a special case of it: that is what
    the field says, and as which it should be mapped.
    Nothing is mapped by it: a person reads ``reasons`` and ``reading`` and decides. Both may quote
    values, so neither shows in the repr.
    """

    source: str
    field: str
    concept: str
    score: float
    evidence: tuple[Evidence, ...]
    reading: Reading

    def __repr__(self) -> str:
        return f"Suggestion({self.source!r}, {self.field!r}, {self.concept!r}, {self.score:.3f})"

    @property
    def shown_score(self) -> float:
        """The score as people see it, and as which suggestions are put in order."""
        return round(self.score, 3)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in words: what speaks for the concept, then, after *but*, what speaks against it.

        What the hierarchy says comes first: it is what the suggestion can and can't be used for.
        """
        return self._pro + self._contra

    @property
    def main_reasons(self) -> tuple[str, ...]:
        """The three reasons that say most; what speaks most against the concept is among them."""
        contra = self._contra[:1]
        return self._pro[: 3 - len(contra)] + contra

    @property
    def _pro(self) -> tuple[str, ...]:
        kin = tuple(one.words for one in self.evidence if one.signal is Signal.HIERARCHY)
        others = (one for one in self.evidence if one.signal is not Signal.HIERARCHY)
        return kin + tuple(one.words for one in others if one.strength >= 0)

    @property
    def _contra(self) -> tuple[str, ...]:
        others = (one for one in self.evidence if one.signal is not Signal.HIERARCHY)
        return tuple(f"but {one.words}" for one in others if one.strength < 0)
