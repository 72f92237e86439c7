"""What the checks look at: one hospital's harmonised records for one study, before the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import Concept, ConceptType
from wardround.clinical.quarantine import Reason
from wardround.clinical.table import FeatureTable


@dataclass(frozen=True, eq=False, repr=False)
class ConceptMaterial:
    """What the sources gave for one concept.

    ``found`` counts the values read, usable or not; ``missing`` the patients without any;
    ``set_aside`` the values that can't be used, by reason (none of them is in ``missing``).
    ``units`` counts the unit texts as the source states them. ``values``, shape ``(patients,)``,
    is each patient's usable value in the concept's unit, NaN where there is none, in the order
    that all concepts of a :class:`Material` share. ``raw``, shape ``(any,)``, are the readable
    numbers as the source writes them: before conversion, and before the plausible range is
    applied. It is empty for what is no number.
    """

    concept: Concept
    found: int
    missing: int
    set_aside: Mapping[Reason, int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    raw: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def aside(self, *reasons: Reason) -> int:
        """How many values were set aside for any of these reasons."""
        return sum(self.set_aside.get(reason, 0) for reason in reasons)

    @property
    def usable(self) -> NDArray[np.float64]:
        """The usable values, without gaps."""
        return self.values[np.isfinite(self.values)]

    @property
    def numeric(self) -> bool:
        """Whether the concept is a number (and not a yes or no, a category or a date)."""
        return self.concept.type is ConceptType.NUMERIC


@dataclass(frozen=True, eq=False)
class Histogram:
    """A concept's values over the whole federation: ``edges`` (bins + 1,), ``counts`` (bins,).

    Bins are closed on the left, the last one on both sides. Values outside the edges count to the
    outer bins. These are opened sums, so every hospital may see them. ``noise`` is the standard
    deviation of the noise that each count carries in a private study.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    noise: float = 0.0


@dataclass(frozen=True, eq=False)
class Federation:
    """What the federation has opened so far: histograms by concept, and the outcome's share."""

    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    prevalence: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Material:
    """Everything that the checks need; nothing of it leaves the hospital.

    ``table`` holds the complete cases and may have no row (the concepts still tell why).
    ``concepts`` covers ``features``, ``outcome`` and whatever they are derived from; each one's
    ``values`` are aligned with the others'. ``birth_date``, ``index_date`` and ``sex`` name the
    concepts in it that play these parts, where the mapping has them. ``today`` is a proleptic
    Gregorian ordinal, as every date here.
    """

    table: FeatureTable
    concepts: Mapping[str, ConceptMaterial]
    features: tuple[str, ...]
    outcome: str
    today: int
    birth_date: str | None = None
    index_date: str | None = None
    sex: str | None = None
    federation: Federation | None = None

    def __post_init__(self) -> None:
        lengths = {len(facts.values) for facts in self.concepts.values()}
        named = {*self.features, self.outcome, self.birth_date, self.index_date, self.sex} - {None}
        if len(lengths) > 1 or not named <= set(self.concepts):
            raise ValueError("the concepts of a material cover what it names, and are aligned")

    @property
    def patients(self) -> int:
        """How many patients the sources name, used or not."""
        return max((len(facts.values) for facts in self.concepts.values()), default=0)

    def values(self, concept: str | None) -> NDArray[np.float64] | None:
        """The aligned values of a concept that the mapping may lack."""
        return None if concept is None else self.concepts[concept].values

    def complete(self) -> NDArray[np.bool_]:
        """Which patients have every feature and the outcome, shape ``(patients,)``."""
        wanted = (*self.features, self.outcome)
        columns = np.vstack([self.concepts[concept].values for concept in wanted])
        return np.asarray(np.isfinite(columns).all(axis=0), dtype=np.bool_)

    def outcomes(self) -> NDArray[np.float64]:
        """The outcomes of the complete cases; of every patient who has one, if none is complete."""
        complete = self.complete()
        facts = self.concepts[self.outcome]
        return facts.values[complete] if complete.any() else facts.usable
