"""The hospital's records for one study, and whether they are good enough for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from wardround.clinical import ConceptGraph, FeatureTable, Mapping
from wardround.clinical.checking import material_of
from wardround.clinical.harmonise import Harmonised, find_routes, needed
from wardround.clinical.quality import (
    Check,
    Federation,
    Finding,
    Histogram,
    Level,
    Material,
    Minimums,
    Overrides,
    apply,
    check,
)
from wardround.clinical.warehouse import Warehouse
from wardround.governance.artefact import open_model
from wardround.study import HospitalPolicy, Study, combine
from wardround.trust.canonical import JSON, parse_json
from wardround.trust.dsse import Envelope


@dataclass(frozen=True)
class Records:
    """What a study computes on here, and what the checks found in it."""

    table: FeatureTable
    findings: tuple[Finding, ...]
    let_pass_until: date | None = None
    """The first last day of the overrides that are in force; after it the checks count again."""


def harmonised_of(
    mapping: Mapping, folder: Path, graph: ConceptGraph, wanted: Sequence[str]
) -> Harmonised:
    """The records that the concepts in ``wanted`` need, read now from beside the mapping."""
    routes = find_routes(mapping, graph, tuple(dict.fromkeys(wanted)))
    warehouse = Warehouse(mapping, folder, graph, needed(mapping, routes))
    warehouse.refresh()
    return Harmonised(warehouse, routes)


def material_for(
    study: Study, harmonised: Harmonised, today: date, federation: Federation | None = None
) -> Material:
    """What the checks look at for a study."""
    data = study.data
    return material_of(
        harmonised,
        data.features,
        data.outcome,
        data.also_required,
        today=today.toordinal(),
        federation=federation,
    )


def federation_in(folder: Path, study: Study) -> Federation | None:
    """What the study's last run has opened about all hospitals, from the signed model kept here.

    None before there was one, or where it is another study's. Raises WR-GOV codes for files that
    were altered.
    """
    names = ("model.safetensors", "model.json", "model.sig.json")
    paths = [folder / name for name in names]
    if not all(path.exists() for path in paths):
        return None
    weights, description, envelope = (path.read_bytes() for path in paths)
    model = open_model(weights, description, Envelope.from_json(envelope), study.coordinator_key)
    if model.statement.study != study.digest:
        return None
    statistics = parse_json(description, code="WR-GOV-012", what="model description")
    return _federation(statistics)


def _federation(description: JSON) -> Federation | None:
    match description:
        case {"statistics": {"features": list(features), "records": dict(records), **others}}:
            stated = others.get("histogram_noise")
            noise = float(stated) if isinstance(stated, int | float) else 0.0
            histograms = {}
            for one in features:
                match one:
                    case {"name": str(name), "histogram": {"edges": list(e), "counts": list(c)}}:
                        edges = np.array(e, np.float64)
                        histograms[name] = Histogram(edges, np.array(c, np.float64), noise)
            train, cases = records.get("train"), records.get("train_cases")
            known = isinstance(train, int | float) and isinstance(cases, int | float) and train > 0
            return Federation(histograms, cases / train if known else None)  # type: ignore[operator]
    return None


def first_end(findings: Sequence[Finding], overrides: Overrides, today: date) -> date | None:
    """The first day on which one of the blocks that are let pass would stand again."""
    passed = {(one.check, one.concept) for one in findings if one.override is not None}
    ends = [
        one.expires
        for one in overrides.statements
        if (one.check, one.concept) in passed and one.day <= today <= one.expires
    ]
    return min(ends, default=None)


def judge(
    hospital: HospitalPolicy,
    study: Study,
    overrides: Overrides,
    material: Material,
    today: date | None = None,
) -> tuple[Finding, ...]:
    """What the checks find, by the hospital's own thresholds and its signed overrides.

    In a study with noise, being unlike the federation is no reason to refuse: what the federation
    is like is the coordinator's word, and to stay away or not would be an exact answer, for no
    charge, to a question that it can choose to the last patient.
    """
    terms = combine(study, hospital)
    minimums = Minimums(max(terms.minimum_cell, 3), max(terms.minimum_cohort, 5))
    found = check(material, hospital.quality, minimums)
    if study.privacy is not None:
        found = tuple(
            replace(one, level=Level.WARN)
            if one.check is Check.DRIFT and one.level is Level.BLOCK
            else one
            for one in found
        )
    return apply(found, overrides, today or date.fromordinal(material.today))
