"""Whether the patients on an exclusion list are patients of the records, counted and not named.

Identifiers are compared letter by letter, so a misspelt one keeps nobody out. Only the steward can
tell a slip from a patient whose record is not there; so the number is said, early and each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.clinical import FeatureTable
from wardround.study import Exclusions


@dataclass(frozen=True)
class Comparison:
    """How many patients are listed, and how many of them the usable records know."""

    listed: int
    known: int

    @property
    def unknown(self) -> int:
        """How many keep nobody out: misspelt, without a usable record, or no patient here."""
        return self.listed - self.known


def compare(exclusions: Exclusions, table: FeatureTable) -> Comparison:
    """Count the listed patients among those of ``table``, from which nobody is left out yet."""
    known = exclusions.patients.intersection(table.patient_ids)
    return Comparison(len(exclusions.patients), len(known))
