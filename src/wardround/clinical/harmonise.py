"""From a hospital's records to the one table that a study computes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from wardround.clinical.facts import CODE_OF
from wardround.clinical.formulas import Column
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.mapping import Mapping
from wardround.clinical.provenance import ColumnProvenance, SourceRead
from wardround.clinical.quarantine import Quarantine, Reason, SetAside
from wardround.clinical.resolve import NOWHERE, Values, resolve
from wardround.clinical.route import Derived, Route
from wardround.clinical.table import FeatureTable
from wardround.clinical.warehouse import Linked, Warehouse
from wardround.errors import WardroundError, WardroundErrors


def harmonise(
    mapping: Mapping,
    base_dir: Path,
    graph: ConceptGraph,
    features: Sequence[str],
    outcome: str,
    extra: Sequence[str] = ("age_years",),
    *,
    today: date | None = None,
) -> FeatureTable:
    """Read the hospital's records and return the complete cases of the concepts asked for.

    Files are looked for in ``base_dir``. Only the fields that ``features``, ``outcome`` and
    ``extra`` need are read. A patient is used where every one of these concepts has one value,
    in the concept's unit and plausible range; every other is set aside for the first reason in
    that order. ``today`` (by default the computer's date) is the last possible day of any date.

    Raises:
        WardroundError: ``WR-DATA-001`` for an unknown concept, ``-006`` for every concept that the
            mapping doesn't reach, together; ``-018`` where no record is usable; and what reading a
            source raises.
    """
    wanted = tuple(dict.fromkeys((*features, outcome, *extra)))
    routes = find_routes(mapping, graph, wanted)
    warehouse = Warehouse(
        mapping, base_dir, graph, needed(mapping, routes), today=lambda: today or date.today()
    )
    warehouse.refresh()
    table = Harmonised(warehouse, routes).table(wanted)
    if not table.patient_ids:
        raise WardroundError(
            "WR-DATA-018",
            "None of the records is usable: "
            + ", ".join(f"{n} {reason}" for reason, n in table.quarantine.summary().items())
            + ".",
            "Check the mapping of the fields concerned, above all units and date formats.",
        )
    return table


def find_routes(mapping: Mapping, graph: ConceptGraph, wanted: Sequence[str]) -> dict[str, Route]:
    """The way from the mapped fields to each concept; ``WR-DATA-006`` names all without one."""
    have = {field.concept: None for _, field in mapping.all_fields()}
    dated = mapping.index_date is not None
    routes: dict[str, Route] = {}
    unreached: list[WardroundError] = []
    for concept in wanted:
        graph.concept(concept)
        route = graph.find_route(concept, have, index_date=dated)
        if route is not None:
            routes[concept] = route
            continue
        ways = [" and ".join(one.inputs) for one in graph.derivations(concept)]
        inputs = "".join(f" or {way}" for way in ways)
        at_index = any(one.at_index for one in graph.derivations(concept))
        at = " and state index_date" if at_index and not dated else ""
        unreached.append(
            WardroundError(
                "WR-DATA-006",
                f"The mapping does not say where {concept!r} is found.",
                f"Map a field to {concept}{inputs}{at}, and have the mapping approved again.",
            )
        )
    if unreached:
        raise WardroundErrors(tuple(unreached))
    return routes


def needed(mapping: Mapping, routes: dict[str, Route]) -> frozenset[str]:
    """The concepts of the fields that routes start from, and the index date where one counts."""
    fields = {field for route in routes.values() for field in route.fields}
    if mapping.index_date is not None and any(map(at_index, routes.values())):
        fields.add(mapping.index_date)
    return frozenset(fields)


def at_index(route: Route) -> bool:
    """Whether a route needs the index date."""
    return any(isinstance(step, Derived) and step.derivation.at_index for step in route.steps)


class Harmonised:
    """What a warehouse comes to, concept by concept; worked out once for each."""

    def __init__(self, warehouse: Warehouse, routes: dict[str, Route]) -> None:
        # A patient's number holds for what was read at one time: a refresh must not come between.
        self.warehouse = warehouse.snapshot()
        self.routes = routes
        self.linked: Linked = self.warehouse.link()
        self._values: dict[str, Values] = {}
        self._index = warehouse.mapping.index_date

    def mapped(self, concept: str) -> Values:
        """The values of a concept that a field is mapped to."""
        if concept not in self._values:
            _, field = self.warehouse.fields[concept]
            facts, extract = self.warehouse.facts(concept, self.linked)
            self._values[concept] = resolve(
                facts,
                len(self.linked.patients),
                field,
                self.warehouse.graph,
                extract.where,
            )
        return self._values[concept]

    def values(self, concept: str) -> Values:
        """The values of a concept that a route leads to."""
        route = self.routes[concept]
        if len(route.steps) == 1 and route.fields == (concept,):
            return self.mapped(concept)
        inputs = [self.mapped(field) for field in route.fields]
        index = None
        if at_index(route) and self._index is not None:
            dates = self.mapped(self._index)
            index = Column(dates.values, dates.valid)
            inputs.append(dates)
        columns = {one.concept: Column(one.values, one.valid) for one in inputs}
        found = route.compute(columns, index)
        return self._derived(route, inputs, found)

    def table(self, wanted: Sequence[str]) -> FeatureTable:
        """Return the complete cases, sorted by patient, and everything that was set aside."""
        columns = {concept: self.values(concept) for concept in wanted}
        complete = np.ones(len(self.linked.patients), np.bool_)
        for values in columns.values():
            complete &= values.valid
        set_aside = [*self.warehouse.set_aside, *self.linked.unlinked]
        for values in self._values.values():
            set_aside += values.dropped
        for patient in np.flatnonzero(~complete).tolist():
            failing = next(one for one in columns.values() if not one.valid[patient])
            set_aside.append(failing.failure(patient, self.linked.first_seen(patient)))
        used = np.flatnonzero(complete)
        return FeatureTable(
            patient_ids=tuple(self.linked.patients[patient] for patient in used.tolist()),
            columns={concept: values.values[used] for concept, values in columns.items()},
            provenance=tuple(self.provenance(concept) for concept in wanted),
            quarantine=Quarantine(tuple(set_aside)),
        )

    def provenance(self, concept: str) -> ColumnProvenance:
        """Where a concept's values came from, and by which steps."""
        route = self.routes[concept]
        direct = len(route.steps) == 1 and route.fields == (concept,)
        inputs = list(route.fields)
        if at_index(route) and self._index is not None and self._index not in inputs:
            inputs.append(self._index)
        path: list[str] = []
        reads: dict[str, SourceRead] = {}
        for field in inputs:
            source, _ = self.warehouse.fields[field]
            reads |= {read.source: read for read in self.warehouse.provenance(source.name)}
            steps = self.mapped(field).steps
            path += steps if direct else [f"{field}: {step}" for step in steps]
        if not direct:
            path += [step.words() for step in route.steps if step.target not in route.fields]
        return ColumnProvenance(
            concept, tuple(reads.values()), tuple(path), self.mapped(inputs[0]).found
        )

    def _derived(self, route: Route, inputs: Sequence[Values], found: Column) -> Values:
        """A computed column: who has no value, for the first input's reason, or the formula's."""
        concept = route.target
        low, high = concept.plausible or (-math.inf, math.inf)
        reasons = np.zeros(len(found.valid), np.int8)
        places = np.full(len(found.valid), NOWHERE)
        missing = np.zeros(len(found.valid), np.bool_)
        causes: dict[int, SetAside] = {}
        for values in inputs:
            gone = ~found.valid & ~values.valid & ~missing
            missing |= gone
            for patient in np.flatnonzero(gone & (values.reasons > 0)).tolist():
                causes[patient] = values.failure(patient, self.linked.first_seen(patient))
        of_dates = any(isinstance(s, Derived) and s.derivation.at_index for s in route.steps)
        unfit = Reason.IMPOSSIBLE_DATE if of_dates else Reason.NOT_DERIVABLE
        reasons[~found.valid & ~missing] = CODE_OF[unfit]
        outside = found.valid & ~((found.values >= low) & (found.values <= high))
        reasons[outside] = CODE_OF[Reason.OUTSIDE_PLAUSIBLE_RANGE]
        return Values(
            concept.id,
            found.values,
            found.valid & ~outside,
            reasons,
            places,
            inputs[0].where,
            found=inputs[0].found,
            causes=causes,
        )
