"""The shortest trustworthy way from what a hospital's fields are to a concept.

A derivation has several inputs, so this is a search in a hypergraph: Knuth's generalisation of
Dijkstra's algorithm (Information Processing Letters 6, 1977). A way costs what it asks of a
reader's trust: a change of scale next to nothing, a formula more, an estimate most.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from wardround.clinical.concept import Concept, ConceptType, Derivation
from wardround.clinical.formulas import Column, compute, is_a
from wardround.clinical.units import UnitPath
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.clinical.graph import ConceptGraph

COST_UNITS: Final = 1
COST_BRIDGE: Final = 2
COST_CODES: Final = 1
COST_IS_A: Final = 3
COST_IS_A_WHERE_TRUE: Final = 8
COST_FORMULA: Final = 4
COST_ESTIMATE: Final = 12


@dataclass(frozen=True)
class Given:
    """A field that says the concept itself, in another unit (``path``) or in codes (``coding``)."""

    concept: Concept
    path: UnitPath | None = None
    coding: str | None = None

    @property
    def target(self) -> str:
        """The concept that this step provides."""
        return self.concept.id

    def words(self) -> str:
        """The step for a reader."""
        if self.path is not None:
            return f"{self.concept.name} in {self.path.words()}"
        return self.concept.name + (f", from the codes of {self.coding}" if self.coding else "")


@dataclass(frozen=True)
class SpecialCase:
    """A concept that is a special case of the one asked for."""

    child: Concept
    parent: Concept

    @property
    def target(self) -> str:
        """The concept that this step provides."""
        return self.parent.id

    def words(self) -> str:
        """The step for a reader."""
        caution = ", where it is true" if self.child.type is ConceptType.BOOLEAN else ""
        return f"{self.child.name} is a kind of {self.parent.name_within}{caution}"


@dataclass(frozen=True)
class Derived:
    """A concept computed from others."""

    concept: Concept
    derivation: Derivation

    @property
    def target(self) -> str:
        """The concept that this step provides."""
        return self.concept.id

    def words(self) -> str:
        """The step for a reader."""
        notes = [self.derivation.source, "an estimate" if self.derivation.estimate else ""]
        source = ", ".join(note for note in notes if note)
        return f"{self.concept.name} = {self.derivation.words}" + (f" ({source})" if source else "")


Step: TypeAlias = Given | SpecialCase | Derived


@dataclass(frozen=True)
class Route:
    """The steps to a concept, each after those that it needs; ``cost`` compares two routes."""

    target: Concept
    steps: tuple[Step, ...]
    cost: int

    def words(self) -> str:
        """The whole route as one sentence."""
        return "; ".join(step.words() for step in self.steps)

    @property
    def fields(self) -> tuple[str, ...]:
        """The concepts of the fields that are read."""
        return tuple(step.target for step in self.steps if isinstance(step, Given))

    def compute(self, columns: Mapping[str, Column], index_date: Column | None = None) -> Column:
        """Follow the route.

        ``columns`` hold the fields' values by concept, numbers in the units that the fields have,
        categories already as positions of levels. ``index_date`` is one of dates.
        """
        found: dict[str, Column] = {}
        for step in self.steps:
            match step:
                case Given():
                    column = columns[step.target]
                    if step.path is not None:
                        column = Column(step.path.apply(column.values), column.valid)
                case SpecialCase():
                    boolean = step.child.type is ConceptType.BOOLEAN
                    column = is_a(found[step.child.id], boolean=boolean)
                case Derived():
                    inputs = [found[concept] for concept in step.derivation.inputs]
                    if step.derivation.at_index:
                        assert index_date is not None
                        inputs.append(index_date)
                    column = compute(step.derivation, inputs)
            found[step.target] = column
        return found[self.target.id]


def find_route(
    graph: ConceptGraph, target: str, have: Mapping[str, str | None], *, index_date: bool
) -> Route | None:
    """Search from everything in ``have`` at once; ties go to the concept first in the alphabet."""
    goal = graph.concept(target)
    reached: dict[str, int] = {}
    steps: dict[str, Step] = {}
    waiting: list[tuple[int, str, int, Step]] = []
    order = count()

    def offer(cost: int, step: Step) -> None:
        heapq.heappush(waiting, (cost, step.target, next(order), step))

    for concept_id in sorted(have):
        given = _given(graph, graph.concept(concept_id), have[concept_id])
        if given is not None:
            offer(*given)
    while waiting:
        cost, found, _, step = heapq.heappop(waiting)
        if found in reached:
            continue
        reached[found], steps[found] = cost, step
        if found == target:
            return Route(goal, _needed(target, steps), cost)
        child = graph.concept(found)
        # A false special case says nothing of the general one: such a way leaves gaps.
        general = COST_IS_A_WHERE_TRUE if child.type is ConceptType.BOOLEAN else COST_IS_A
        for parent in child.parents:
            offer(cost + general, SpecialCase(child, graph.concept(parent)))
        for edge in graph.derivations_from(found):
            if all(one in reached for one in edge.inputs) and (index_date or not edge.at_index):
                price = COST_ESTIMATE if edge.estimate else COST_FORMULA
                total = price + sum(reached[one] for one in edge.inputs)
                offer(total, Derived(graph.concept(edge.target), edge))
    return None


def unreachable(graph: ConceptGraph, target: str, *, index_date: bool) -> WardroundError:
    """The error that says what would lead to a concept."""
    ways = [target]
    for edge in graph.derivations(target):
        index = " with an index date" if edge.at_index and not index_date else ""
        ways.append(" and ".join(edge.inputs) + index)
    ways += [child.id for child in graph.children(target)]
    return WardroundError(
        "WR-DATA-040",
        f"Nothing that is mapped leads to the concept {target!r}.",
        f"Map a field to {'; or to '.join(ways)}.",
    )


def _given(graph: ConceptGraph, concept: Concept, form: str | None) -> tuple[int, Given] | None:
    """The step that reads a field, and what it costs; None where its unit leads nowhere."""
    if form is None:
        return 0, Given(concept)
    if concept.unit is None:
        known = graph.coded(concept.id, form)
        return None if known is None else (COST_CODES, Given(concept, coding=form))
    path = graph.find_path(form, concept.unit, concept.id)
    if path is None:
        return None
    if not path.steps:
        return 0, Given(concept, path)
    bridged = any(step.reason for step in path.steps)
    return COST_BRIDGE if bridged else COST_UNITS, Given(concept, path)


def _needed(target: str, steps: Mapping[str, Step]) -> tuple[Step, ...]:
    ordered: dict[str, Step] = {}

    def visit(concept: str) -> None:
        if concept in ordered:
            return
        step = steps[concept]
        match step:
            case SpecialCase():
                visit(step.child.id)
            case Derived():
                for one in step.derivation.inputs:
                    visit(one)
            case Given():
                pass
        ordered[concept] = step

    visit(target)
    return tuple(ordered.values())
