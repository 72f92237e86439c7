"""Numbers against a concept: its units, its plausible range, and where values usually lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.profile import FieldProfile
from wardround.clinical.suggest.hints import typical_ranges
from wardround.clinical.suggest.suggestion import Evidence, Signal
from wardround.clinical.units import UnitPath, find_unit

_NEARLY_ALL: Final = 0.95
"""With fewer of its values in the plausible range, a field's numbers speak against a concept."""


@dataclass(frozen=True)
class StatedUnit:
    """The unit that most of a field's rows state, and whether others are stated as well."""

    text: str
    vary: bool


def stated_unit(units: Mapping[str, int]) -> StatedUnit | None:
    """Return the most frequent unit that is a unit at all, or None."""
    known = [unit for unit in units if find_unit(unit) is not None]
    if not known:
        return None
    most = max(known, key=lambda unit: (units[unit], unit))
    return StatedUnit(most, len(known) > 1)


@dataclass(frozen=True, repr=False)
class NumericFit:
    """How a field's numbers fit a concept: the evidence, and the unit that they were read in."""

    evidence: tuple[Evidence, ...]
    unit: str | None
    stated: bool


class NumericSignals:
    """Compares profiles with numeric concepts; conversions are found once per unit."""

    def __init__(self, graph: ConceptGraph) -> None:
        self._graph = graph
        self._paths: dict[tuple[str, str], UnitPath | None] = {}
        self._guesses: dict[str, tuple[UnitPath, ...]] = {}
        self._typical = {
            concept: np.asarray(path.apply(np.array([hint.low, hint.high])))
            for concept, hint in typical_ranges().items()
            if concept in graph
            and (unit := graph.concept(concept).unit) is not None
            and (path := graph.find_path(hint.unit, unit, concept)) is not None
        }

    def fit(self, profile: FieldProfile, unit: StatedUnit | None, concept: Concept) -> NumericFit:
        """Compare a field with a concept; ``unit`` is what :func:`stated_unit` found."""
        numbers = np.array(profile.quantiles) if profile.quantiles else np.empty(0)
        if concept.type is not ConceptType.NUMERIC:
            return NumericFit(_no_unit_expected(unit), None, False)
        if unit is None or concept.unit is None:
            return self._guess(numbers, concept)
        path = self._path(unit.text, concept)
        if path is None:
            words = f"the unit {unit.text} can't be converted to {concept.unit}"
            return NumericFit((Evidence(Signal.UNIT, -1.0, words),), None, False)
        same = not path.steps
        words = (
            f"the unit {unit.text} is this concept's"
            if same
            else f"the unit {unit.text} can be converted to {concept.unit}"
        )
        of_unit = Evidence(Signal.UNIT, _worth(unit.text, same), words)
        of_values = self._values(path.apply(numbers), concept, "")
        return NumericFit((of_unit, *of_values), unit.text, True)

    def _guess(self, numbers: NDArray[np.float64], concept: Concept) -> NumericFit:
        """Try the units that records often use; the concept's own goes first."""
        if concept.unit is None or not len(numbers):
            return NumericFit(self._values(numbers, concept, ""), concept.unit, False)
        best: tuple[float, NumericFit] | None = None
        for path in self._common(concept):
            said = f" if they are {path.source}" if path.steps else ""
            evidence = self._values(path.apply(numbers), concept, said)
            strength = sum(one.strength for one in evidence) - (0.15 if path.steps else 0.0)
            if best is None or strength > best[0] + 1e-12:
                best = (strength, NumericFit(evidence, path.source, False))
        assert best is not None
        return best[1]

    def _common(self, concept: Concept) -> Sequence[UnitPath]:
        if concept.id not in self._guesses:
            own = self._graph.find_path(concept.unit or "1", concept.unit or "1", concept.id)
            ways = {} if own is None else {(own.factor, own.offset): own}
            for path in self._graph.common_units(concept.id):
                ways.setdefault((path.factor, path.offset), path)
            self._guesses[concept.id] = tuple(ways.values())
        return self._guesses[concept.id]

    def _path(self, unit: str, concept: Concept) -> UnitPath | None:
        key = (unit, concept.id)
        if key not in self._paths and concept.unit is not None:
            self._paths[key] = self._graph.find_path(unit, concept.unit, concept.id)
        return self._paths[key]

    def _values(
        self, numbers: NDArray[np.float64], concept: Concept, said: str
    ) -> tuple[Evidence, ...]:
        if not len(numbers) or concept.plausible is None:
            return ()
        low, high = concept.plausible
        inside = float(np.mean((numbers >= low) & (numbers <= high)))
        unit = f" {concept.unit}" if concept.unit not in (None, "1") else ""
        plausible = f"the plausible range {low:g} to {high:g}{unit}"
        words = f"{inside:.0%} of the values lie in {plausible}"
        # Half the range for nothing: nearly every number is a plausible something.
        strength = 2.0 * inside - 1.9 if inside < _NEARLY_ALL else 0.1
        typical = self._typical.get(concept.id)
        if typical is not None and inside >= 0.5:
            alike = _overlap(numbers, float(typical[0]), float(typical[1]))
            strength = min(strength, 0.1) + 0.9 * alike
            usual = f"{typical[0]:g} to {typical[1]:g}"
            if alike >= 0.5:
                words += f", and where they usually do ({usual})"
            elif strength < 0 and inside >= _NEARLY_ALL:
                words = (
                    f"the values lie otherwise than they usually do ({usual}), "
                    f"though {inside:.0%} in {plausible}"
                )
        if inside < _NEARLY_ALL:
            words = f"only {words}"
        return (Evidence(Signal.VALUES, max(-1.0, min(1.0, strength)), words + said),)


def _overlap(numbers: NDArray[np.float64], low: float, high: float) -> float:
    """From -1 to 1: how far the field's middle nine tenths and the usual range are the same.

    The overlap of two intervals over their union (Jaccard), on a scale on which a range half as
    wide or shifted by a third still speaks for the concept.
    """
    mine_low, mine_high = float(numbers[1]), float(numbers[-2])
    width = high - low
    mine_low, mine_high = (
        (mine_low, mine_high) if mine_high > mine_low else (mine_low, mine_low + 0.05 * width)
    )
    common = min(high, mine_high) - max(low, mine_low)
    union = max(high, mine_high) - min(low, mine_low)
    return 2.0 * min(1.0, max(0.0, common / union) / 0.6) - 1.0


def _worth(unit: str, same: bool) -> float:
    """A rare unit (fL, mm/h, mmol/mol) says more than a per cent or a pure number."""
    if unit in ("1", "ratio", "count"):
        return 0.2
    if unit == "%":
        return 0.5 if same else 0.2
    return 1.0 if same else 0.9


def _no_unit_expected(unit: StatedUnit | None) -> tuple[Evidence, ...]:
    if unit is None:
        return ()
    words = f"the unit {unit.text} is stated, and this concept has none"
    return (Evidence(Signal.UNIT, -0.6, words),)
