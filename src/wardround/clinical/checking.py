"""From harmonised records to what the quality checks look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from wardround.clinical.facts import REASONS
from wardround.clinical.graph import ConceptType
from wardround.clinical.harmonise import Harmonised
from wardround.clinical.quality import ConceptMaterial, Federation, Material
from wardround.clinical.quarantine import Reason
from wardround.clinical.resolve import Values

_BIRTH, _SEX = "birth_date", "sex"


def material_of(
    harmonised: Harmonised,
    features: Sequence[str],
    outcome: str,
    extra: Sequence[str],
    *,
    today: int,
    federation: Federation | None = None,
) -> Material:
    """The features, the outcome, whatever they are derived from, and who the patients are."""
    warehouse = harmonised.warehouse
    wanted = tuple(dict.fromkeys((*features, outcome, *extra)))
    concepts = {name: _material(harmonised, name, harmonised.values(name)) for name in wanted}
    for name in warehouse.fields:
        if name not in concepts:
            concepts[name] = _material(harmonised, name, harmonised.mapped(name))

    def known(name: str | None) -> str | None:
        return name if name in concepts else None

    return Material(
        table=harmonised.table(wanted),
        concepts=concepts,
        features=tuple(dict.fromkeys(features)),
        outcome=outcome,
        today=today,
        birth_date=known(_BIRTH),
        index_date=known(warehouse.mapping.index_date),
        sex=known(_SEX),
        federation=federation,
    )


def _material(harmonised: Harmonised, name: str, values: Values) -> ConceptMaterial:
    concept = harmonised.warehouse.graph.concept(name)
    codes = Counter(values.reasons[~values.valid].tolist())
    missing = int(codes.pop(0, 0))
    set_aside: dict[Reason, int] = {REASONS[code - 1]: count for code, count in codes.items()}
    for entry in values.dropped:
        set_aside[entry.reason] = set_aside.get(entry.reason, 0) + 1
    raw = np.empty(0)
    if name in harmonised.warehouse.fields and concept.type is ConceptType.NUMERIC:
        facts, _ = harmonised.warehouse.facts(name, harmonised.linked)
        raw = facts.values[facts.reasons == 0]
    return ConceptMaterial(
        concept=concept,
        found=values.found,
        missing=missing,
        set_aside=set_aside,
        units=dict(values.units),
        values=np.where(values.valid, values.values, np.nan),
        raw=raw,
    )
