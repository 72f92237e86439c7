"""Values in a wrong unit, outside what is possible, unreadable, or rounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quality.completeness import graded, sentinels, zero_coded
from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material
from wardround.clinical.quality.thresholds import Thresholds
from wardround.clinical.quarantine import Reason

_UNREADABLE = (
    Reason.UNREADABLE_NUMBER,
    Reason.NOT_EXACT,
    Reason.UNKNOWN_CATEGORY,
    Reason.INCOMPLETE_DATE,
    Reason.CONFLICTING_VALUES,
)
_MINIMUM_NUMBERS = 50
_MINIMUM_DISTINCT = 8
_MINIMUM_SPAN = 50
"""In units of the last digit: five rounds of the ten digits."""
_MINIMUM_ALIKE = 20
_MOST_DECIMALS = 3
_IN_USE = 0.1
"""A decimal place that fewer of the numbers have is a slip, not what they are written to."""


def unit_mismatch(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Values whose unit is missing, unknown, or of another kind than the concept's."""
    for name, facts in material.concepts.items():
        count = facts.aside(Reason.UNKNOWN_UNIT)
        if not count:
            continue
        share = count / max(facts.found, count)
        yield Finding(
            Check.UNIT_MISMATCH,
            graded(share, 0.0, thresholds.unit_mismatch_block),
            name,
            "{count} of {found} values ({share}) come in a unit that can't be brought to the "
            "concept's, or in none; the source states {units} units.",
            "The profile lists the source's units; map the ones that are meant, and have those "
            "values corrected that state none.",
            {"count": count, "found": max(facts.found, count), "share": share}
            | {"units": len(facts.units)},
        )


def plausible_range(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Values outside a concept's plausible range, apart from zeros and stand-ins found as such."""
    explained: dict[str | None, int] = {}
    for finding in (*zero_coded(material, thresholds), *sentinels(material, thresholds)):
        count = finding.figures.get("zeros", finding.figures.get("count", 0))
        explained[finding.concept] = explained.get(finding.concept, 0) + int(count)
    for name, facts in material.concepts.items():
        count = facts.aside(Reason.OUTSIDE_PLAUSIBLE_RANGE) - explained.get(name, 0)
        total = max(facts.found, count)
        share = count / total if count > 0 else 0.0
        level = graded(share, thresholds.range_warn, thresholds.range_block)
        if level is Level.OK:
            continue
        low, high = facts.concept.plausible or (-np.inf, np.inf)
        unit = "" if facts.concept.unit in (None, "1") else _escaped(f" {facts.concept.unit}")
        yield Finding(
            Check.PLAUSIBLE_RANGE,
            level,
            name,
            "{count} of {found} values ({share}) lie outside the plausible range, "
            f"{low:g} to {high:g}{unit}, and are set aside.",
            "Most often the unit is misstated or the field is another one: compare the profile's "
            "values before and after. Single typing mistakes are rightly set aside.",
            {"count": count, "found": total, "share": share},
        )


def unreadable(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Values that are no number, no date, no known category, only a bound, or contradictory."""
    for name, facts in material.concepts.items():
        count = facts.aside(*_UNREADABLE)
        total = max(facts.found, count)
        share = count / total if count else 0.0
        level = graded(share, thresholds.unreadable_warn, thresholds.unreadable_block)
        if level is Level.OK:
            continue
        reasons = [reason for reason in _UNREADABLE if facts.aside(reason)]
        yield Finding(
            Check.UNREADABLE,
            level,
            name,
            "{count} of {found} values ({share}) can't be used: "
            + "; ".join(f"{{{reason.value}}} because {reason.words}" for reason in reasons)
            + ".",
            "Complete the value map, the date format or the list of texts that mean missing.",
            {"count": count, "found": total, "share": share}
            | {reason.value: facts.aside(reason) for reason in reasons},
        )


def heaping(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Numbers whose last digit is nearly always the same: they were rounded when written down.

    The last digit is that of the finest decimal place that at least a tenth of the numbers use:
    one slip with three decimals doesn't make all others end in 0. Numbers of different size are
    looked at apart, since many instruments write a fixed count of digits (9.504, 12.34). Zeros
    are left out (many things are truly 0), as are small sets and those of few or close numbers,
    where digits mean nothing.
    """
    for name, facts in material.concepts.items():
        digits = _last_digits(facts.raw) if facts.numeric else None
        if digits is None:
            continue
        counts = np.bincount(digits, minlength=10)
        commonest = int(counts.argmax())
        share = float(counts[commonest] / digits.size)
        if share > thresholds.heaping_warn:
            yield Finding(
                Check.HEAPING,
                Level.WARN,
                name,
                f"{{share}} of the {{numbers}} numbers end in {commonest}, where 10 % would by "
                "chance: they were rounded when written down.",
                "Nothing to mend in the data; read small differences of this feature with care.",
                {"share": share, "numbers": int(digits.size)},
            )


def _last_digits(raw: NDArray[np.float64]) -> NDArray[np.int64] | None:
    numbers = np.abs(raw[(raw != 0) & (np.abs(raw) < 1e9)])
    decades = np.floor(np.log10(numbers))
    digits = [_digits_of(numbers[decades == one]) for one in np.unique(decades)]
    found = np.concatenate([np.empty(0, dtype=np.int64), *digits])
    return found if found.size >= _MINIMUM_NUMBERS else None


def _digits_of(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """The last digits of numbers with equally many digits before the point; none where few."""
    none = np.empty(0, dtype=np.int64)
    if numbers.size < _MINIMUM_ALIKE:
        return none
    places = _decimals(numbers)
    enough = [place for place in range(_MOST_DECIMALS + 2) if np.mean(places >= place) >= _IN_USE]
    if enough[-1] > _MOST_DECIMALS:
        return none
    whole = np.rint(numbers[places <= enough[-1]] * 10.0 ** enough[-1])
    if len(np.unique(whole)) < _MINIMUM_DISTINCT or np.ptp(whole) < _MINIMUM_SPAN:
        return none
    digits: NDArray[np.int64] = whole.astype(np.int64) % 10
    return digits


def _decimals(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many decimals each number needs; one more than are looked at, where it needs more."""
    needed = np.full(numbers.shape, _MOST_DECIMALS + 1)
    for place in reversed(range(_MOST_DECIMALS + 1)):
        scaled = numbers * 10.0**place
        whole = np.rint(scaled)
        needed[np.abs(scaled - whole) < 1e-6 * np.maximum(1.0, whole)] = place
    return needed


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
