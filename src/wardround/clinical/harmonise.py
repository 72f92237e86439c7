"""From mapped sources to one feature table of complete cases; all else is accounted for."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from wardround.clinical.dates import completed_years
from wardround.clinical.graph import ConceptGraph, Derivation
from wardround.clinical.mapping import CsvSource, Mapping
from wardround.clinical.numbers import DecimalMark
from wardround.clinical.provenance import ColumnProvenance, FileRead
from wardround.clinical.quarantine import Quarantine, Reason, SetAside
from wardround.clinical.sources import read_csv, read_fhir
from wardround.clinical.table import FeatureTable
from wardround.clinical.values import Values, read_column
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
    derivations = _derivations(mapping, graph, wanted)
    direct = {concept for concept in wanted if concept not in derivations}
    for derivation in derivations.values():
        direct.update(_inputs(derivation, mapping))

    gathered = _Gathered()
    gathered.read(mapping, base_dir, graph, direct, (today or date.today()).toordinal())
    for derivation in derivations.values():
        gathered.derive(derivation, _inputs(derivation, mapping), graph)
    table = gathered.table(wanted)
    if not table.patient_ids:
        raise WardroundError(
            "WR-DATA-018",
            "None of the records is usable: "
            + ", ".join(f"{n} {reason}" for reason, n in table.quarantine.summary().items())
            + ".",
            "Check the mapping of the fields concerned, above all units and date formats.",
        )
    return table


@dataclass(repr=False)
class _Gathered:
    """What the sources have given so far; ``patients`` says where each was first seen."""

    patients: dict[str, str] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)
    columns: dict[str, Values] = field(default_factory=dict)
    provenance: dict[str, ColumnProvenance] = field(default_factory=dict)

    def read(
        self,
        mapping: Mapping,
        base_dir: Path,
        graph: ConceptGraph,
        concepts: Collection[str],
        today: int,
    ) -> None:
        """Read ``concepts`` from the sources that the mapping names for them."""
        for source in mapping.sources:
            needed = [field for field in source.fields if field.concept in concepts]
            if not needed:
                continue
            decimal: DecimalMark = "."
            if isinstance(source, CsvSource):
                extract, decimal = read_csv(source, base_dir, concepts), source.decimal
            else:
                extract = read_fhir(source, base_dir, concepts)
            self.set_aside += extract.set_aside
            for patient, place in extract.patients.items():
                self.patients.setdefault(patient, extract.where(place))
            for mapped in needed:
                column = read_column(extract, mapped, graph, decimal=decimal, today=today)
                self.columns[mapped.concept] = column
                self.provenance[mapped.concept] = ColumnProvenance(
                    mapped.concept, (source.name,), extract.files, column.steps, column.found
                )

    def derive(self, derivation: Derivation, inputs: tuple[str, ...], graph: ConceptGraph) -> None:
        """Compute the age in completed years from ``inputs``: birth date, index date."""
        birth, index = (self.columns[concept] for concept in inputs)
        column = Values(derivation.target, found=birth.found)
        low, high = graph.concept(derivation.target).plausible or (-math.inf, math.inf)
        for patient, where in self.patients.items():
            failure = birth.failures.get(patient) or index.failures.get(patient)
            if failure is not None:
                column.failures[patient] = failure
            elif patient in birth.values and patient in index.values:
                age = completed_years(int(birth.values[patient]), int(index.values[patient]))
                if isinstance(age, Reason):
                    column.fail(patient, age, where)
                elif not low <= age <= high:
                    column.fail(patient, Reason.OUTSIDE_PLAUSIBLE_RANGE, where)
                else:
                    column.values[patient] = float(age)
        origins = [self.provenance[concept] for concept in inputs]
        self.columns[derivation.target] = column
        self.provenance[derivation.target] = ColumnProvenance(
            derivation.target,
            tuple(dict.fromkeys(name for origin in origins for name in origin.sources)),
            _distinct([file for origin in origins for file in origin.files]),
            (
                *(f"{origin.concept}: {step}" for origin in origins for step in origin.path),
                f"completed years from {inputs[0]} to {inputs[1]}",
            ),
            column.found,
        )

    def table(self, wanted: Sequence[str]) -> FeatureTable:
        """Return the complete cases, sorted by patient, and everything that was set aside."""
        used: list[str] = []
        set_aside = list(self.set_aside)
        for patient in sorted(self.patients):
            failure = self._failure(patient, wanted)
            if failure is None:
                used.append(patient)
            else:
                set_aside.append(failure)
        return FeatureTable(
            patient_ids=tuple(used),
            columns={
                concept: np.array([self.columns[concept].values[patient] for patient in used])
                for concept in wanted
            },
            provenance=tuple(self.provenance[concept] for concept in wanted),
            quarantine=Quarantine(tuple(set_aside)),
        )

    def _failure(self, patient: str, wanted: Sequence[str]) -> SetAside | None:
        for concept in wanted:
            column = self.columns[concept]
            if patient in column.failures:
                return column.failures[patient]
            if patient not in column.values:
                return SetAside(Reason.MISSING_VALUE, self.patients[patient], concept)
        return None


def _derivations(
    mapping: Mapping, graph: ConceptGraph, wanted: Sequence[str]
) -> dict[str, Derivation]:
    """Return how each concept of ``wanted`` that is not mapped itself follows from mapped ones."""
    derivations: dict[str, Derivation] = {}
    unreached: list[WardroundError] = []
    for concept in wanted:
        graph.concept(concept)
        if mapping.field(concept) is not None:
            continue
        derivation = graph.derivation(concept)
        if derivation is not None and all(map(mapping.field, _inputs(derivation, mapping))):
            derivations[concept] = derivation
            continue
        inputs = "" if derivation is None else f" or {' and '.join(derivation.inputs)}"
        at = "" if derivation is None else " and state index_date"
        unreached.append(
            WardroundError(
                "WR-DATA-006",
                f"The mapping does not say where {concept!r} is found.",
                f"Map a field to {concept}{inputs}{at}, and have the mapping approved again.",
            )
        )
    if unreached:
        raise WardroundErrors(tuple(unreached))
    return derivations


def _inputs(derivation: Derivation, mapping: Mapping) -> tuple[str, ...]:
    """Return the concepts a derivation needs, the index date last ('' where none is stated)."""
    return (*derivation.inputs, mapping.index_date or "")


def _distinct(files: Sequence[FileRead]) -> tuple[FileRead, ...]:
    return tuple(dict.fromkeys(files))
