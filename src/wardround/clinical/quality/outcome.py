"""Whether there is something to learn, and whether a feature gives it away."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import ConceptType
from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material
from wardround.clinical.quality.thresholds import Thresholds

_MINIMUM_MINORITY = 10
"""With fewer of one outcome, a single feature may separate the two by chance."""

_SAME = 0.99999
"""Correlation from which two features say the same."""


def one_class(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """An outcome that is the same in every patient."""
    outcomes = material.outcomes()
    if outcomes.size and bool(np.all(outcomes == outcomes[0])):
        yield Finding(
            Check.ONE_CLASS,
            Level.BLOCK,
            material.outcome,
            "All {patients} patients have the same outcome: nothing can be learnt from them alone.",
            "Check the outcome's value map. If it is true, the hospital may still add to a sum "
            "over all hospitals: the steward decides.",
            {"patients": int(outcomes.size)},
        )


def minority_class(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Too few patients in the rarer class of the outcome."""
    outcomes = material.outcomes()
    rarer = int(min(np.count_nonzero(outcomes == 1), np.count_nonzero(outcomes == 0)))
    if 0 < rarer < thresholds.minority_block:
        yield Finding(
            Check.MINORITY_CLASS,
            Level.BLOCK,
            material.outcome,
            "Only {rarer} of {patients} patients are in the rarer class of the outcome; "
            f"{thresholds.minority_block} are asked for.",
            "Widen the selection, or check the outcome's value map. If it is true, the hospital "
            "may still add to a sum over all hospitals: the steward decides.",
            {"rarer": rarer, "patients": int(outcomes.size)},
        )


def leakage(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """A single feature that tells the outcome nearly always.

    Two ways are tried: its ranking (AUC, in either direction), and, for features of few distinct
    values, the outcome that is commonest at each value (which also finds a recoded outcome whose
    codes are in no order). Neither says anything with few patients in the rarer class.
    """
    complete = material.complete()
    outcome = material.concepts[material.outcome].values[complete] > 0.5
    rarer = min(int(outcome.sum()), int((~outcome).sum()))
    if rarer < _MINIMUM_MINORITY:
        return
    for name in material.features:
        values = material.concepts[name].values[complete]
        area = auc(values, outcome)
        area, told = max(area, 1.0 - area), _told(values, outcome)
        # An AUC of x lets the best threshold tell at least 2x - 1 of what chance leaves open.
        if area <= thresholds.leakage_auc and told <= 2 * thresholds.leakage_auc - 1:
            continue
        yield Finding(
            Check.LEAKAGE,
            Level.WARN,
            name,
            "This feature alone separates the outcome almost perfectly (AUC {auc}, {told_share} of "
            "what is open is told by its values): it may be the outcome in other words, or "
            "recorded because of it.",
            "Ask when and why it is recorded. What is known only after the outcome has no place "
            "among the features.",
            {"auc": area, "told_share": told, "patients": int(outcome.size)},
        )


def twin_features(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Two features of which one is the other in another unit or scale."""
    complete = material.complete()
    columns = np.column_stack(
        [material.concepts[name].values[complete] for name in material.features]
    )
    if len(columns) < 3 or columns.shape[1] < 2:
        return
    largest = np.abs(columns).max(axis=0)
    columns = columns / np.where(largest > 0, largest, 1.0)  # squares neither over- nor underflow
    centred = columns - columns.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0))
    varied = size > 1e-9  # what is left of a constant is rounding
    centred = centred[:, varied] / size[varied]
    names = np.array(material.features)[varied]
    alike = np.abs(centred.T @ centred)
    for first, second in zip(*np.nonzero(np.triu(alike > _SAME, k=1)), strict=True):
        yield Finding(
            Check.TWIN_FEATURES,
            Level.WARN,
            str(names[first]),
            f"It says exactly the same as {names[second]} in all {{patients}} patients.",
            "Check that the two are not mapped to one field; one of them is enough for a model.",
            {"patients": len(columns)},
        )


def classes(material: Material) -> str | None:
    """Why the outcome has no classes to check, if it has none."""
    if material.concepts[material.outcome].concept.type is not ConceptType.BOOLEAN:
        return "the outcome is not a yes or no"
    return None if material.outcomes().size else "no patient has an outcome"


def separable(material: Material) -> str | None:
    """Why no feature can be tried against the outcome, if none can."""
    if (reason := classes(material)) is not None:
        return reason
    outcome = material.concepts[material.outcome].values[material.complete()]
    rarer = min(np.count_nonzero(outcome == 1), np.count_nonzero(outcome == 0))
    return None if rarer >= _MINIMUM_MINORITY else "the rarer outcome has too few complete records"


def auc(values: NDArray[np.float64], outcome: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of ``values`` for ``outcome``, ties counted half (Mann-Whitney).

    Both shape ``(patients,)``; both outcomes must occur.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    positive = int(outcome.sum())
    negative = outcome.size - positive
    return float((ranks[outcome].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _told(values: NDArray[np.float64], outcome: NDArray[np.bool_]) -> float:
    """How much of what the commoner outcome leaves open is told by the values' own commonest."""
    found, inverse = np.unique(values, return_inverse=True)
    if not 2 <= len(found) <= outcome.size // 20:
        return 0.0  # few patients at each value would agree by chance
    yes = np.bincount(inverse, weights=outcome)
    each = np.bincount(inverse)
    right = np.maximum(yes, each - yes).sum() / outcome.size
    base = max(outcome.mean(), 1 - outcome.mean())
    return float((right - base) / (1 - base))
