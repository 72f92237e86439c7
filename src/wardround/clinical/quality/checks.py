"""Every check in order: what one table of a hospital's records is worth for a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from wardround.clinical.graph import ConceptType
from wardround.clinical.quality import completeness, dates, drift, outcome, persons, validity
from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material
from wardround.clinical.quality.minimums import Minimums, cell_minimum, cohort_minimum
from wardround.clinical.quality.thresholds import Thresholds

Run: TypeAlias = Callable[[Material, Thresholds], Iterable[Finding]]
Obstacle: TypeAlias = Callable[[Material], str | None]
"""Says why a check can't be made on this material, or None."""


def check(
    material: Material, thresholds: Thresholds | None = None, minimums: Minimums | None = None
) -> tuple[Finding, ...]:
    """Make every check; a check that finds nothing, or can't be made, says so in one finding.

    Pure, and free of any loop over patients. Findings come in the order of :class:`Check`.
    """
    limits = thresholds or Thresholds()
    findings: list[Finding] = []
    for name, (run, obstacle) in _table(minimums or Minimums()).items():
        reason = obstacle(material)
        if reason is not None:
            findings.append(Finding(name, Level.NOT_CHECKED, None, f"Not checked: {reason}."))
            continue
        found = tuple(run(material, limits))
        findings += found or (Finding(name, Level.OK, None, "Nothing found."),)
    return tuple(findings)


def _table(minimums: Minimums) -> dict[Check, tuple[Run, Obstacle]]:
    return {
        Check.COHORT_MINIMUM: (lambda material, _: cohort_minimum(material, minimums), _always),
        Check.CELL_MINIMUM: (lambda material, _: cell_minimum(material, minimums), _complete),
        Check.MISSINGNESS: (completeness.missingness, _patients),
        Check.ZERO_CODED: (completeness.zero_coded, _numbers),
        Check.SENTINEL: (completeness.sentinels, _numbers),
        Check.CONSTANT: (completeness.constant, _patients),
        Check.UNIT_MISMATCH: (validity.unit_mismatch, _patients),
        Check.PLAUSIBLE_RANGE: (validity.plausible_range, _patients),
        Check.UNREADABLE: (validity.unreadable, _patients),
        Check.HEAPING: (validity.heaping, _numbers),
        Check.IMPOSSIBLE_DATES: (dates.impossible_dates, _has_dates),
        Check.DEFAULT_DATES: (dates.default_dates, _has_dates),
        Check.FIRST_OF_JANUARY: (dates.first_of_january, _has_dates),
        Check.DUPLICATE_ROWS: (persons.duplicate_rows, persons.rows_to_check),
        Check.TWO_IDENTIFIERS: (persons.two_identifiers, persons.dated),
        Check.ONE_CLASS: (outcome.one_class, outcome.classes),
        Check.MINORITY_CLASS: (outcome.minority_class, outcome.classes),
        Check.LEAKAGE: (outcome.leakage, outcome.separable),
        Check.TWIN_FEATURES: (outcome.twin_features, _several),
        Check.DRIFT: (drift.drift, drift.compared),
        Check.PREVALENCE: (drift.prevalence, drift.known_prevalence),
    }


def _always(material: Material) -> str | None:
    return None


def _patients(material: Material) -> str | None:
    return None if material.patients else "the sources name no patient"


def _several(material: Material) -> str | None:
    if len(material.features) < 2:
        return "there is only one feature"
    return _complete(material)


def _complete(material: Material) -> str | None:
    return None if material.complete().any() else "no patient has every value"


def _of_type(kind: ConceptType, reason: str, material: Material) -> str | None:
    found = any(facts.concept.type is kind for facts in material.concepts.values())
    return None if found else reason


_numbers = partial(_of_type, ConceptType.NUMERIC, "no concept is a number")
_has_dates = partial(_of_type, ConceptType.DATE, "no date is mapped")
