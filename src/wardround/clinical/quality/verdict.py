"""What follows from the findings: the refusal, and the lines in the hospital's report."""

from __future__ import annotations

from collections.abc import Sequence

from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.errors import WardroundError, WardroundErrors
from wardround.trust.canonical import JSON


def verdict(findings: Sequence[Finding]) -> None:
    """Refuse, naming every block that stands; return if there is none.

    Raises :class:`WardroundErrors` with one of WR-DATA-071 to -075 for each. They show no small
    count, so that they may be copied into a letter.
    """
    errors = tuple(_error(finding) for finding in findings if finding.level is Level.BLOCK)
    if errors:
        raise WardroundErrors(errors)


def summary(findings: Sequence[Finding]) -> dict[str, JSON]:
    """What the hospital's report says: checks counted by their worst level, and the overrides."""
    worst: dict[Check, Level] = {}
    order = [Level.OK, Level.NOT_CHECKED, Level.WARN, Level.BLOCK]
    for finding in findings:
        worst[finding.check] = max(
            worst.get(finding.check, Level.OK), finding.level, key=order.index
        )
    levels = list(worst.values())
    return {
        "checks": {level.value: levels.count(level) for level in Level},
        "overrides": [
            {"check": one.check.value, "concept": one.concept, "override": one.override}
            for one in findings
            if one.override is not None
        ],
    }


def override_command(finding: Finding) -> str:
    """The command with which a steward lets a block pass; ``FOLDER`` is the agent's."""
    concept = "" if finding.concept is None else f" {finding.concept}"
    return (
        f"wardround site data override FOLDER {finding.check.value}{concept} --study STUDY "
        '--reason "..." --steward "..." --until YYYY-MM-DD'
    )


_COMPLETENESS, _VALUES, _PERSONS = "WR-DATA-071", "WR-DATA-072", "WR-DATA-073"
_OUTCOME, _MINIMUMS = "WR-DATA-074", "WR-DATA-075"
_CODES = {
    Check.COHORT_MINIMUM: _MINIMUMS,
    Check.CELL_MINIMUM: _MINIMUMS,
    Check.MISSINGNESS: _COMPLETENESS,
    Check.ZERO_CODED: _COMPLETENESS,
    Check.SENTINEL: _COMPLETENESS,
    Check.CONSTANT: _COMPLETENESS,
    Check.UNIT_MISMATCH: _VALUES,
    Check.PLAUSIBLE_RANGE: _VALUES,
    Check.UNREADABLE: _VALUES,
    Check.HEAPING: _VALUES,
    Check.IMPOSSIBLE_DATES: _VALUES,
    Check.DEFAULT_DATES: _VALUES,
    Check.FIRST_OF_JANUARY: _VALUES,
    Check.DUPLICATE_ROWS: _PERSONS,
    Check.TWO_IDENTIFIERS: _PERSONS,
    Check.ONE_CLASS: _OUTCOME,
    Check.MINORITY_CLASS: _OUTCOME,
    Check.LEAKAGE: _OUTCOME,
    Check.TWIN_FEATURES: _OUTCOME,
    Check.DRIFT: _VALUES,
    Check.PREVALENCE: _OUTCOME,
}


def _error(finding: Finding) -> WardroundError:
    where = finding.check.heading if finding.concept is None else finding.concept
    if finding.check.overridable:
        let = f"To let it pass: {override_command(finding)}"
    else:
        let = "It can't be overridden."
    return WardroundError(
        _CODES[finding.check],
        f"{where}: {finding.public()['words']}",
        f"{finding.remedy} {let}",
        path=finding.check.value,
    )
