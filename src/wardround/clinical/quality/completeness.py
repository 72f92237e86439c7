"""Values that are missing, openly or in disguise, and features that say nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import ConceptMaterial, Material
from wardround.clinical.quality.thresholds import Thresholds

SENTINELS = np.array(
    [sign * value for value in (9, 99, 999, 9999, 99999) for sign in (1, -1)]
    + [-1, -8, -88, 88, 888, 8888, 777],
    dtype=np.float64,
)
"""Numbers that people and programs write for "not known"."""

_HUGE = 1e150
"""Beyond it numbers are taken for it, so that a difference of two stays finite."""

MINIMUM_SPIKE = 3
"""Fewer equal numbers are no habit."""


def graded(share: float, warn: float, block: float) -> Level:
    """The level of a share that is bad when it is large."""
    return Level.BLOCK if share > block else Level.WARN if share > warn else Level.OK


def missingness(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Patients without a usable value of a concept, whether absent or set aside."""
    for name, facts in material.concepts.items():
        total = len(facts.values)
        lost = total - len(facts.usable)
        share = lost / total if total else 0.0
        level = graded(share, thresholds.missing_warn, thresholds.missing_block)
        if level is not Level.OK:
            aside = max(lost - facts.missing, 0)
            also = "; for {aside} of them, what was found was set aside." if aside else "."
            yield Finding(
                Check.MISSINGNESS,
                level,
                name,
                "{lost} of {patients} patients ({share}) have no usable value" + also,
                "Look for a second field or source that holds it; check the mapping if values were "
                "set aside; or leave the concept out of the study.",
                {"lost": lost, "patients": total, "share": share, "aside": aside},
            )


def zero_coded(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Exact zeros of something that is never 0, such as cholesterol.

    Where the plausible range itself excludes 0, any zero counts. Elsewhere zeros must stand apart:
    farther below the smallest other value than the middle half of the others spans.
    """
    for name, facts in material.concepts.items():
        if not facts.numeric or not facts.raw.size:
            continue
        zeros = int(np.count_nonzero(facts.raw == 0))
        if not zeros:
            continue
        impossible = _excludes_zero(facts)
        if not impossible and not (zeros >= MINIMUM_SPIKE and _zero_stands_apart(facts.raw)):
            continue
        share = zeros / facts.raw.size
        blocks = impossible and share > thresholds.missing_block
        yield Finding(
            Check.ZERO_CODED,
            Level.BLOCK if blocks else Level.WARN,
            name,
            "{zeros} of {numbers} numbers ({share}) are exactly 0, "
            + (
                "which no living patient has: 0 stands for missing. They are set aside."
                if impossible
                else "far below all others: 0 may stand for missing. They are used as they are."
            ),
            "Ask who keeps the source what 0 means there, and name 0 as missing in the mapping.",
            {"zeros": zeros, "numbers": int(facts.raw.size), "share": share},
        )


def sentinels(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Numbers such as 999 or -9 that stand at the end of the values and recur, or can't be meant.

    A negative one among non-negative values of a concept that is never negative counts at once;
    any other must recur, lie beyond all other values, and either lie far off or be a spike.
    """
    for name, facts in material.concepts.items():
        if not facts.numeric or not facts.raw.size:
            continue
        suspects = _sentinels(facts)
        count = int(np.isin(facts.raw, suspects).sum())
        if not count:
            continue
        share = count / facts.raw.size
        yield Finding(
            Check.SENTINEL,
            Level.BLOCK if share > thresholds.missing_block else Level.WARN,
            name,
            "{count} of {numbers} numbers ({share}) look like stand-ins for a missing value: "
            f"{' and '.join(f'{value:g}' for value in suspects)}.",
            "Ask who keeps the source what they mean, and name them as missing in the mapping.",
            {"count": count, "numbers": int(facts.raw.size), "share": share},
        )


def constant(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Features that have the same value in every patient who can be used."""
    complete = material.complete()
    for name in material.features:
        facts = material.concepts[name]
        values = facts.values[complete] if complete.any() else facts.usable
        if len(values) > 1 and bool(np.all(values == values[0])):
            yield Finding(
                Check.CONSTANT,
                Level.WARN,
                name,
                "All {patients} patients have the same value: the feature says nothing here.",
                "Check that the field is filled and its values are mapped; otherwise it does no "
                "harm, since the other hospitals' values vary.",
                {"patients": len(values)},
            )


def _excludes_zero(facts: ConceptMaterial) -> bool:
    span = facts.concept.plausible
    return span is not None and not span[0] <= 0 <= span[1]


def _zero_stands_apart(raw: NDArray[np.float64]) -> bool:
    others = np.minimum(raw[raw != 0], _HUGE)
    if others.size < 10 or len(np.unique(others)) < 10 or others.min() < 0:
        return False
    low, high = np.quantile(others, [0.25, 0.75])
    return bool(others.min() > high - low)


def _sentinels(facts: ConceptMaterial) -> NDArray[np.float64]:
    """Which of :data:`SENTINELS` are stand-ins in these numbers."""
    raw = np.clip(facts.raw, -_HUGE, _HUGE)
    found, counts = np.unique(raw, return_counts=True)
    listed = np.isin(found, SENTINELS)
    others, frequency = found[~listed], counts[~listed]
    span = facts.concept.plausible
    never_negative = span is not None and span[0] >= 0
    if not others.size:
        # Nothing to compare with: only what is impossible anyway can be told.
        return found[found < 0] if never_negative else np.empty(0)
    never_negative = never_negative and bool(others[0] >= 0)
    low, high = np.quantile(raw[~np.isin(raw, SENTINELS)], [0.25, 0.75])
    suspects = []
    for value, count in zip(found[listed], counts[listed], strict=True):
        outside = value < others[0] or value > others[-1]
        gap = others[0] - value if value < others[0] else value - others[-1]
        near = frequency[:5] if value < others[0] else frequency[-5:]
        spike = count >= 5 and count > 3 * near.max()
        if (value < 0 and never_negative) or (
            outside and count >= MINIMUM_SPIKE and (gap > high - low or spike)
        ):
            suspects.append(value)
    return np.array(suspects)
