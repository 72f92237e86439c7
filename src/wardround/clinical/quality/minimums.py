"""The least numbers of patients below which nothing is said about them; no override changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wardround.clinical.graph import ConceptType
from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material


@dataclass(frozen=True)
class Minimums:
    """The terms in force: the tighter of the study's and the policy's. They have a floor.

    Below it, whatever is configured, no caller can go: raises ``ValueError``.
    """

    cell: int = 5
    cohort: int = 20

    def __post_init__(self) -> None:
        if self.cell < 3 or self.cohort < 5:
            raise ValueError("a cell has at least 3 patients and a cohort 5")


def cohort_minimum(material: Material, minimums: Minimums) -> Iterator[Finding]:
    """Too few usable patients to take part."""
    used = len(material.table)
    if used < minimums.cohort:
        yield Finding(
            Check.COHORT_MINIMUM,
            Level.BLOCK,
            None,
            "{used} of {records} records are usable; "
            f"at least {minimums.cohort} are asked for, and nobody may lower that here.",
            "Mend what sets records aside (the profile counts the reasons), or widen the choice.",
            {"used": used, "records": material.table.records_total},
        )


def cell_minimum(material: Material, minimums: Minimums) -> Iterator[Finding]:
    """Groups so small that counts of them are sent as zero.

    It warns and doesn't block: the door suppresses such cells in any case, so that nothing leaks,
    and no override changes that.
    """
    complete = material.complete()
    for name in dict.fromkeys((*material.features, material.outcome)):
        facts = material.concepts[name]
        if facts.concept.type not in (ConceptType.BOOLEAN, ConceptType.CATEGORY):
            continue
        _, counts = np.unique(facts.values[complete], return_counts=True)
        small = counts[counts < minimums.cell]
        if small.size:
            yield Finding(
                Check.CELL_MINIMUM,
                Level.WARN,
                name,
                "{groups} of its groups have fewer than "
                f"{minimums.cell} patients ({{smallest}} "
                "in the smallest): counts of them are sent as zero, whatever anybody signs.",
                "Nothing to mend; where it matters, the study may join such groups.",
                {"groups": int(small.size), "smallest": int(small.min())},
            )
