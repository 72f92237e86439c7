"""The hospital's records for one study, and whether they are good enough for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from wardround.clinical import ConceptGraph, FeatureTable, Mapping
from wardround.clinical.checking import material_of
from wardround.clinical.harmonise import Harmonised, find_routes, needed
from wardround.clinical.quality import Finding, Material, Minimums, Overrides, apply, check
from wardround.clinical.warehouse import Warehouse
from wardround.study import HospitalPolicy, Study, combine


@dataclass(frozen=True)
class Records:
    """What a study computes on here, and what the checks found in it."""

    table: FeatureTable
    findings: tuple[Finding, ...]


def harmonised_of(
    mapping: Mapping, folder: Path, graph: ConceptGraph, wanted: Sequence[str]
) -> Harmonised:
    """The records that the concepts in ``wanted`` need, read now from beside the mapping."""
    routes = find_routes(mapping, graph, tuple(dict.fromkeys(wanted)))
    warehouse = Warehouse(mapping, folder, graph, needed(mapping, routes))
    warehouse.refresh()
    return Harmonised(warehouse, routes)


def material_for(study: Study, harmonised: Harmonised, today: date) -> Material:
    """What the checks look at for a study."""
    data = study.data
    return material_of(
        harmonised, data.features, data.outcome, data.also_required, today=today.toordinal()
    )


def judge(
    hospital: HospitalPolicy,
    study: Study,
    overrides: Overrides,
    material: Material,
    today: date | None = None,
) -> tuple[Finding, ...]:
    """What the checks find, by the hospital's own thresholds and its signed overrides."""
    terms = combine(study, hospital)
    minimums = Minimums(max(terms.minimum_cell, 3), max(terms.minimum_cohort, 5))
    found = check(material, hospital.quality, minimums)
    return apply(found, overrides, today or date.fromordinal(material.today))
