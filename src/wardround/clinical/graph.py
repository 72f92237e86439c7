"""The concept graph: what a field can mean, and the ways to get there.

Nodes are concepts (codes, a unit, a type, a plausible range); edges are unit conversions, value
maps, derivations and the hierarchy. A hospital's field reaches a study's feature by a path through
it (``route.py`` finds the shortest trustworthy one).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache, cached_property

from wardround.clinical.concept import (
    EVERY_BOOLEAN,
    STEM_SYSTEMS,
    Concept,
    ConceptType,
    Derivation,
    DerivationMethod,
    ValueMap,
)
from wardround.clinical.concept_files import read_parts, shipped_texts
from wardround.clinical.concept_search import Hit, Match, SearchIndex
from wardround.clinical.route import Route, find_route, unreachable
from wardround.clinical.ucum import Unit
from wardround.clinical.unit_spellings import COMMON_UNITS
from wardround.clinical.units import NO_EQUATIONS, UnitPath, find_path, find_unit
from wardround.errors import WardroundError

_LIKE_A_STEM = re.compile(r"[A-Z][0-9][0-9A-Z.]*")

__all__ = ["Concept", "ConceptGraph", "ConceptType", "Derivation", "DerivationMethod"]


class ConceptGraph:
    """Concepts by id, with the edges between them."""

    def __init__(
        self,
        concepts: Iterable[Concept],
        derivations: Iterable[Derivation] = (),
        value_maps: Iterable[ValueMap] = (),
    ) -> None:
        self._concepts = {concept.id: concept for concept in concepts}
        self._derivations: dict[str, list[Derivation]] = {}
        for derivation in derivations:
            self._derivations.setdefault(derivation.target, []).append(derivation)
        self._value_maps: dict[str, list[ValueMap]] = {}
        for value_map in value_maps:
            self._value_maps.setdefault(value_map.concept, []).append(value_map)

    @staticmethod
    @cache
    def load() -> ConceptGraph:
        """Return the graph that ships with Wardround (read once per process)."""
        return ConceptGraph.parse(*shipped_texts())

    @staticmethod
    def parse(*texts: str) -> ConceptGraph:
        """Build a graph from the texts of concept files (``concepts/README.md`` has their form)."""
        parts = read_parts(texts)
        return ConceptGraph(parts.concepts, parts.derivations, parts.value_maps)

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """Every concept, in the files' order."""
        return tuple(self._concepts.values())

    @cached_property
    def units(self) -> frozenset[str]:
        """The units of all concepts; whatever UCUM makes of others is understood as well."""
        return frozenset(c.unit for c in self._concepts.values() if c.unit is not None)

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
                else "Look for its name with `wardround concepts search`."
            )
            problem = f"The concept {concept_id!r} is unknown."
            raise WardroundError("WR-DATA-001", problem, remedy) from None

    def with_code(self, system: str, code: str) -> tuple[Concept, ...]:
        """Return the concepts that a code hooks into; ``system`` is a key of ``SYSTEMS``.

        In ICD-10 and ATC a concept's code is a stem: ``E11`` stands for ``E11.9`` as well. The
        longest stems come first, and of two concepts with one stem the special case.
        """
        found = self._by_code.get((system, code), ())
        if system not in STEM_SYSTEMS:
            return found
        # Python sorts stably: the same stem keeps special cases before what they are cases of.
        stems = (
            sorted(self._by_code.get((system, code[:n]), ()), key=self._depth, reverse=True)
            for n in range(len(code), 0, -1)
        )
        return tuple({c.id: c for concepts in stems for c in concepts}.values())

    def _depth(self, concept: Concept) -> int:
        """How many generations of general concepts stand above one."""
        return max((1 + self._depth(self.concept(p)) for p in concept.parents), default=0)

    @cached_property
    def _by_code(self) -> Mapping[tuple[str, str], tuple[Concept, ...]]:
        found: dict[tuple[str, str], tuple[Concept, ...]] = {}
        for concept in self._concepts.values():
            for code in concept.codes:
                key = (code.system, code.code)
                found[key] = (*found.get(key, ()), concept)
        return found

    def search(self, text: str, limit: int = 10) -> tuple[Hit, ...]:
        """Return the concepts that a text names best, in any language, best first.

        A code of ICD-10 or ATC finds the concepts whose stems it begins with.
        """
        code = text.strip().upper()
        stems = [
            Hit(concept, code, Match.EXACT)
            for system in sorted(STEM_SYSTEMS)
            for concept in (self.with_code(system, code) if _LIKE_A_STEM.fullmatch(code) else ())
        ]
        return tuple(stems[:limit]) or self._index.search(text, limit)

    @cached_property
    def _index(self) -> SearchIndex:
        return SearchIndex(self._concepts.values())

    def derivation(self, concept_id: str) -> Derivation | None:
        """Return how a concept follows from others *at the index date*, or None."""
        found = (one for one in self.derivations(concept_id) if one.at_index)
        return next(found, None)

    def derivations(self, concept_id: str) -> tuple[Derivation, ...]:
        """Return every way to compute a concept from others, in the files' order."""
        return tuple(self._derivations.get(concept_id, ()))

    def derivations_from(self, concept_id: str) -> tuple[Derivation, ...]:
        """Return every derivation that has a concept among its inputs."""
        return self._derived_from.get(concept_id, ())

    @cached_property
    def _derived_from(self) -> Mapping[str, tuple[Derivation, ...]]:
        found: dict[str, tuple[Derivation, ...]] = {}
        for derivations in self._derivations.values():
            for derivation in derivations:
                for concept in derivation.inputs:
                    found[concept] = (*found.get(concept, ()), derivation)
        return found

    def children(self, concept_id: str) -> tuple[Concept, ...]:
        """Return the special cases of a concept, one level down."""
        return tuple(c for c in self._concepts.values() if concept_id in c.parents)

    def is_kind_of(self, special: str, general: str) -> bool:
        """Whether a concept is a special case of another, at any number of levels."""
        parents = self.concept(special).parents
        return general in parents or any(self.is_kind_of(one, general) for one in parents)

    def value_maps(self, concept_id: str) -> tuple[ValueMap, ...]:
        """Return the known codings of a category or a boolean, its own before the general ones."""
        own = self._value_maps.get(concept_id, [])
        boolean = self.concept(concept_id).type is ConceptType.BOOLEAN
        return (*own, *(self._value_maps.get(EVERY_BOOLEAN, ()) if boolean else ()))

    def coded(self, concept_id: str, coding: str) -> dict[str, float] | None:
        """Return what each code of a coding is in a feature table, or None for another coding."""
        levels = self.concept(concept_id).levels
        for value_map in self.value_maps(concept_id):
            if value_map.coding == coding:
                return {
                    code: float(levels.index(value) if isinstance(value, str) else value)
                    for code, value in value_map.values.items()
                }
        return None

    def find_path(self, source: str, target: str, concept: str | None = None) -> UnitPath | None:
        """Return the conversion between two units, or None (for units in records).

        ``concept`` (an id) brings in what holds for its values alone, such as a molar mass.
        """
        equations = NO_EQUATIONS if concept is None else self.concept(concept).equations
        return find_path(source, target, equations)

    def path(self, source: str, target: str, concept: str | None = None) -> UnitPath:
        """Return the conversion between two units that a *mapping* or a *study* names.

        Units found in records go through :meth:`find_path`: an error must not repeat their text.

        Raises:
            WardroundError: ``WR-DATA-002`` for an unknown unit, ``WR-DATA-003`` without a path.
        """
        for unit in (source, target):
            if find_unit(unit) is None:
                raise WardroundError(
                    "WR-DATA-002",
                    f"The unit {unit!r} is unknown.",
                    "Write it as a UCUM code, such as mm, um2, % or 1 (for a plain number).",
                )
        found = self.find_path(source, target, concept)
        if found is None:
            raise WardroundError(
                "WR-DATA-003",
                f"Values in {source!r} can't be brought to {target!r}.",
                "Check which concept the field was mapped to, and the unit of its column.",
            )
        return found

    def common_units(self, concept_id: str) -> tuple[UnitPath, ...]:
        """Return the ways from units that records often use to a concept's own.

        Of those that it can be brought from, the ones with numbers of a similar size: nobody
        reports cholesterol in picomoles.
        """
        concept = self.concept(concept_id)
        if concept.unit is None:
            return ()
        # An annotation means nothing to UCUM, but whoever writes one means the thing it names.
        notes = Unit.parse(concept.unit).notes
        units = (unit for unit in COMMON_UNITS if Unit.parse(unit).notes == notes)
        paths = (find_path(unit, concept.unit, concept.equations) for unit in units)
        return tuple(
            path
            for path in paths
            if path is not None and path.steps and Fraction(1, 2000) < path.factor < 2000
        )

    def find_route(
        self, target: str, have: Mapping[str, str | None], *, index_date: bool = False
    ) -> Route | None:
        """Return the shortest trustworthy way to ``target``, or None. As :meth:`route`."""
        return find_route(self, target, have, index_date=index_date)

    def route(
        self, target: str, have: Mapping[str, str | None], *, index_date: bool = False
    ) -> Route:
        """Return the shortest trustworthy way from what fields are to the concept ``target``.

        ``have`` gives, for each concept that a field is mapped to, the unit of its numbers (None:
        the concept's own) or the coding of its categories (None: the concept's levels).
        ``index_date`` says whether an index date is known.

        Raises:
            WardroundError: ``WR-DATA-001`` for an unknown concept, ``WR-DATA-040`` where no path
                leads there, with what would.
        """
        found = self.find_route(target, have, index_date=index_date)
        if found is None:
            raise unreachable(self, target, index_date=index_date)
        return found
