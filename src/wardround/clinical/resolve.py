"""From facts to one value per patient: units, plausible ranges, and which of several counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.facts import CODE_OF, NO_UNIT, REASONS, Facts
from wardround.clinical.fields import AnyField, Choice, FhirField, OmopField, as_number
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.quarantine import Reason, SetAside

NOWHERE: Final = -1

_SAME: Final = 1e-9
"""Two numbers agree within this share of them: 0.0147 mm and 14.7 um differ by a rounding."""

_NAMED: Final = 12
"""How many written values a step names: a long value map stands in the mapping."""


@dataclass(repr=False)
class Values:
    """One concept's value of each patient, or why there is none; arrays have shape (patients,).

    Where ``valid`` is set there is a value. Elsewhere ``reasons`` holds the code of why not (0:
    nothing was found), and ``places`` where the cause stands, for ``where`` to put into words;
    for a computed concept ``causes`` are what its inputs lack.
    ``dropped`` are single facts that were not used although their patient has a value.
    """

    concept: str
    values: NDArray[np.float64]
    valid: NDArray[np.bool_]
    reasons: NDArray[np.int8]
    places: NDArray[np.int64]
    where: Callable[[int], str]
    steps: tuple[str, ...] = ()
    found: int = 0
    zeros: int = 0
    units: dict[str, int] = field(default_factory=dict)
    dropped: tuple[SetAside, ...] = ()
    causes: dict[int, SetAside] = field(default_factory=dict)

    def failure(self, patient: int, otherwise: str) -> SetAside:
        """Why a patient has no value; ``otherwise`` is where the patient was first seen."""
        if patient in self.causes:
            return self.causes[patient]
        code, place = int(self.reasons[patient]), int(self.places[patient])
        if not code:
            return SetAside(Reason.MISSING_VALUE, otherwise, self.concept)
        where = otherwise if place == NOWHERE else self.where(place)
        return SetAside(REASONS[code - 1], where, self.concept)


def resolve(
    facts: Facts,
    patients: int,
    mapped: AnyField,
    graph: ConceptGraph,
    where: Callable[[int], str],
) -> Values:
    """Give each of ``patients`` patients the value that the facts about them come to.

    The facts' patients are numbers below ``patients`` already. Who has no fact gets the field's
    ``absent`` value, if the steward gave one: a list of diagnoses names only the ill.
    """
    concept = graph.concept(mapped.concept)
    values, reasons, units = _in_unit(facts, mapped, concept, graph)
    low, high = concept.plausible or (-math.inf, math.inf)
    outside = (reasons == 0) & ~((values >= low) & (values <= high))
    reasons[outside] = CODE_OF[Reason.OUTSIDE_PLAUSIBLE_RANGE]
    choose = mapped.choose
    dated = choose in (Choice.LATEST, Choice.EARLIEST)
    if dated:
        reasons[(reasons == 0) & np.isnan(facts.days)] = CODE_OF[Reason.NO_DATE]
    select = _only if choose is Choice.ONLY else _among
    chosen = select(facts, values, reasons, patients, choose)
    chosen.concept, chosen.where = concept.id, where
    chosen.found, chosen.units = len(facts), units.counts
    chosen.zeros = int(np.count_nonzero((facts.values == 0.0) & (facts.reasons == 0)))
    if choose is not Choice.ONLY:
        used = chosen.valid[facts.patients] & (reasons > 0)
        chosen.dropped = tuple(
            SetAside(REASONS[code - 1], where(place), concept.id, record=False)
            for code, place in zip(reasons[used].tolist(), facts.places[used].tolist(), strict=True)
        )
    steps = [mapped.words(), *_map_words(mapped, concept, graph), *units.words]
    if mapped.absent is not None:
        nothing = ~chosen.valid & (chosen.reasons == 0)
        chosen.values[nothing] = as_number(mapped.absent, concept)
        chosen.valid |= nothing
        steps.append(f"{_said(mapped.absent)} where the source has none")
    if choose is not Choice.ONLY:
        steps.append(f"the {choose.value} of a patient's values")
    chosen.steps = (*steps, *_range_words(concept))
    return chosen


@dataclass
class _Units:
    words: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def _in_unit(
    facts: Facts, mapped: AnyField, concept: Concept, graph: ConceptGraph
) -> tuple[NDArray[np.float64], NDArray[np.int8], _Units]:
    """The values in the concept's unit, each converted from the unit that it states."""
    values, reasons = facts.values.copy(), facts.reasons.copy()
    if concept.type is not ConceptType.NUMERIC or concept.unit is None:
        return values, reasons, _Units()
    stated = mapped.unit if isinstance(mapped, FhirField | OmopField) else None
    # Of those that have a value: where there is none, what unit it would have had says nothing.
    counted = np.bincount(facts.units[reasons == 0] + 1, minlength=len(facts.unit_names) + 1)
    words: list[str] = []
    counts: dict[str, int] = {}
    for number, count in enumerate(counted.tolist(), NO_UNIT):
        if not count:
            continue
        unit = stated if number == NO_UNIT else facts.unit_names[number]
        rows = (facts.units == number) & (reasons == 0)
        path = None if unit is None else graph.find_path(unit, concept.unit, concept.id)
        if path is None:
            reasons[rows] = CODE_OF[Reason.UNKNOWN_UNIT]
            counts["unknown"] = counts.get("unknown", 0) + count
            continue
        counts[path.source] = counts.get(path.source, 0) + count
        if path.steps:
            values[rows] = path.apply(values[rows])
        said = "no unit" if path.words() == "1" else path.words()
        words.append(f"{said}, {count} value{'' if count == 1 else 's'}")
    return values, reasons, _Units(tuple(sorted(words)), counts)


def _only(
    facts: Facts,
    values: NDArray[np.float64],
    reasons: NDArray[np.int8],
    patients: int,
    _choose: Choice,
) -> Values:
    """All of a patient's values must be usable and agree: to choose one would be a guess."""
    order = np.arange(len(facts))
    never = len(facts)
    first_good = np.full(patients, never)
    good = reasons == 0
    np.minimum.at(first_good, facts.patients[good], order[good])
    known = first_good < never
    chosen = np.zeros(patients)
    chosen[known] = values[first_good[known]]
    conflicting = good & _differ(values, chosen[facts.patients])
    reasons[conflicting] = CODE_OF[Reason.CONFLICTING_VALUES]
    bad = reasons > 0
    first_bad = np.full(patients, never)
    np.minimum.at(first_bad, facts.patients[bad], order[bad])
    failed = first_bad < never
    codes = np.zeros(patients, np.int8)
    places = np.full(patients, NOWHERE)
    codes[failed] = reasons[first_bad[failed]]
    places[failed] = facts.places[first_bad[failed]]
    return Values("", chosen, known & ~failed, codes, places, str)


def _among(
    facts: Facts,
    values: NDArray[np.float64],
    reasons: NDArray[np.int8],
    patients: int,
    choose: Choice,
) -> Values:
    """One of a patient's usable values, or what they come to; the others were not used."""
    good = np.flatnonzero(reasons == 0)
    who, given = facts.patients[good], values[good]
    chosen = np.zeros(patients)
    valid = np.zeros(patients, np.bool_)
    codes = np.zeros(patients, np.int8)
    places = np.full(patients, NOWHERE)
    valid[who] = True
    match choose:
        case Choice.MEAN:
            counts = np.bincount(who, minlength=patients)
            sums = np.bincount(who, given, minlength=patients)
            np.divide(sums, counts, out=chosen, where=counts > 0)
        case Choice.MINIMUM | Choice.MAXIMUM:
            extreme = np.minimum if choose is Choice.MINIMUM else np.maximum
            chosen[:] = math.inf if choose is Choice.MINIMUM else -math.inf
            extreme.at(chosen, who, given)
            chosen[~valid] = 0.0
        case _:
            days = facts.days[good] if choose is Choice.LATEST else -facts.days[good]
            order = np.lexsort((days, who))
            last = np.flatnonzero(np.diff(who[order], append=-1))
            chosen[who[order[last]]] = given[order[last]]
            newest = np.full(patients, -math.inf)
            newest[who[order[last]]] = days[order[last]]
            # Two different values of the same moment: to choose one would be a guess.
            torn = (days == newest[who]) & _differ(given, chosen[who])
            codes[who[torn]] = CODE_OF[Reason.CONFLICTING_VALUES]
            places[who[torn]] = facts.places[good][torn]
            valid[who[torn]] = False
    bad = np.flatnonzero(reasons > 0)[::-1]  # the first of several comes last, and stays
    bad = bad[~valid[facts.patients[bad]] & (codes[facts.patients[bad]] == 0)]
    codes[facts.patients[bad]] = reasons[bad]
    places[facts.patients[bad]] = facts.places[bad]
    return Values("", chosen, valid, codes, places, str)


def _differ(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.abs(left - right) > _SAME * np.maximum(np.abs(left), np.abs(right))


def _map_words(mapped: AnyField, concept: Concept, graph: ConceptGraph) -> list[str]:
    """What each written value means, such as *0 = no, 1 = yes*."""
    codes = list(mapped.codes(graph).items())
    words = [f"{written} = {concept.said(value)}" for written, value in codes[:_NAMED]]
    if len(codes) > _NAMED:
        words.append(f"and {len(codes) - _NAMED} more")
    return [", ".join(words)] if words else []


def _said(value: bool | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range_words(concept: Concept) -> list[str]:
    if concept.plausible is None or concept.type is not ConceptType.NUMERIC:
        return []
    low, high = concept.plausible
    unit = "" if concept.unit in (None, "1") else f" {concept.unit}"
    return [f"kept within {low:g} to {high:g}{unit}"]
