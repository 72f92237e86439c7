"""The concept graph: what a field can mean, and the ways to get there.

Nodes are concepts (a code, a unit, a type, a plausible range) and units; edges are unit
conversions and derivations. A hospital's field reaches a study's feature by a path through it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from importlib import resources

from wardround.clinical.units import Conversion, UnitGraph, UnitPath
from wardround.errors import WardroundError


class ConceptType(StrEnum):
    """What kind of value a concept has; in a feature table every kind is a float64.

    Booleans are 0 and 1, dates are proleptic Gregorian ordinals (days, as ``date.toordinal``).
    """

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    DATE = "date"


class DerivationMethod(StrEnum):
    """The computations by which one concept follows from others."""

    COMPLETED_YEARS_AT_INDEX = "completed_years_at_index"


@dataclass(frozen=True)
class Concept:
    """One thing a record can say about a patient.

    ``unit`` is the UCUM unit of every value after harmonisation, None where a unit makes no
    sense. ``plausible`` is the closed range, in that unit, outside which a value is set aside; it
    also bounds what a hospital contributes. Booleans have (0, 1).
    """

    id: str
    name: str
    definition: str
    system: str
    code: str
    unit: str | None
    type: ConceptType
    plausible: tuple[float, float] | None
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Derivation:
    """An edge that computes ``target`` from ``inputs`` (and the mapping's index date)."""

    target: str
    method: DerivationMethod
    inputs: tuple[str, ...]


class ConceptGraph:
    """Concepts by id, with the unit conversions and derivations between them."""

    def __init__(
        self,
        concepts: Iterable[Concept],
        conversions: Iterable[Conversion],
        derivations: Iterable[Derivation] = (),
    ) -> None:
        self._concepts = {concept.id: concept for concept in concepts}
        self._units = UnitGraph(
            (concept.unit for concept in self._concepts.values() if concept.unit is not None),
            conversions,
        )
        self._derivations = {derivation.target: derivation for derivation in derivations}

    @staticmethod
    @cache
    def load() -> ConceptGraph:
        """Return the graph that ships with Wardround (read once per process)."""
        text = resources.files("wardround.clinical").joinpath("concepts.toml").read_text("utf-8")
        return ConceptGraph.parse(text)

    @staticmethod
    def parse(text: str) -> ConceptGraph:
        """Build a graph from the text of a concept file (``concepts.toml`` shows its form)."""
        document = tomllib.loads(text)
        systems: dict[str, str] = document["systems"]
        concepts = []
        for row in document["concepts"]:
            kind = ConceptType(row["type"])
            span = (0.0, 1.0) if kind is ConceptType.BOOLEAN else row.get("plausible")
            concepts.append(
                Concept(
                    id=row["id"],
                    name=row["name"],
                    definition=row["definition"],
                    system=systems[row["system"]],
                    code=row.get("code", row["id"]),
                    unit=row.get("unit"),
                    type=kind,
                    plausible=None if span is None else (float(span[0]), float(span[1])),
                    synonyms=tuple(row.get("synonyms", ())),
                )
            )
        conversions = [
            Conversion(row["from"], row["to"], Fraction(row["factor"]))
            for row in document["conversions"]
        ]
        derivations = [
            Derivation(row["target"], DerivationMethod(row["method"]), tuple(row["inputs"]))
            for row in document["derivations"]
        ]
        return ConceptGraph(concepts, conversions, derivations)

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """Every concept, in the file's order."""
        return tuple(self._concepts.values())

    @property
    def units(self) -> frozenset[str]:
        """Every unit that the graph knows."""
        return self._units.units

    def __contains__(self, concept_id: object) -> bool:
        return concept_id in self._concepts

    def concept(self, concept_id: str) -> Concept:
        """Return a concept.

        Raises:
            WardroundError: ``WR-DATA-001``, with the nearest known names as the remedy.
        """
        try:
            return self._concepts[concept_id]
        except KeyError:
            near = difflib.get_close_matches(concept_id, self._concepts, n=3)
            remedy = (
                f"Did you mean {' or '.join(near)}?"
                if near
                else f"Known concepts are {', '.join(sorted(self._concepts))}."
            )
            problem = f"The concept {concept_id!r} is unknown."
            raise WardroundError("WR-DATA-001", problem, remedy) from None

    def derivation(self, concept_id: str) -> Derivation | None:
        """Return how a concept follows from others, or None."""
        return self._derivations.get(concept_id)

    def find_path(self, source: str, target: str) -> UnitPath | None:
        """Return the shortest conversion between two units, or None (for units in records)."""
        return self._units.find(source, target)

    def path(self, source: str, target: str) -> UnitPath:
        """Return the shortest conversion between two units.

        Raises:
            WardroundError: ``WR-DATA-002`` for an unknown unit, ``WR-DATA-003`` without a path.
        """
        return self._units.path(source, target)
