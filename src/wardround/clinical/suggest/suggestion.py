"""What a suggestion says: a concept, how well it fits, why, and how the field would be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wardround.clinical.numbers import DecimalMark


class Signal(StrEnum):
    """Where evidence for or against a concept comes from."""

    CODE = "code"
    NAME = "name"
    DESCRIPTION = "description"
    UNIT = "unit"
    VALUES = "values"
    CATEGORIES = "categories"
    TYPE = "type"
    EMBEDDING = "embedding"


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
    def reasons(self) -> tuple[str, ...]:
        """Why, in words: what speaks for the concept, then, after *but*, what speaks against it."""
        against = tuple(f"but {one.words}" for one in self.evidence if one.strength < 0)
        return tuple(one.words for one in self.evidence if one.strength >= 0) + against
