"""The elements of a FHIR resource that facts are made of; whatever else stands there is harmless.

Nothing here raises: a malformed element is no element.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from wardround.clinical.quarantine import Reason
from wardround.clinical.reading import Read
from wardround.trust.canonical import JSON

UCUM: Final = "http://unitsofmeasure.org"
LARGEST: Final = sys.float_info.max

Element: TypeAlias = dict[str, JSON]
Written: TypeAlias = tuple[Read, str | None]
"""A value, or why it can't be used, and the unit that stands beside it."""


def as_object(value: JSON) -> Element:
    """The object that stands there, or an empty one."""
    return value if isinstance(value, dict) else {}


def codings_of(concept: JSON) -> Iterator[Element]:
    """The codings of a CodeableConcept."""
    codings = as_object(concept).get("coding")
    if isinstance(codings, list):
        yield from map(as_object, codings)


def key_of(coding: Element) -> tuple[JSON, JSON]:
    """System and code of a coding, or twice None."""
    system, code = coding.get("system"), coding.get("code")
    # Only text can be looked up: a list in its place would not even be hashable.
    return (system, code) if isinstance(system, str) and isinstance(code, str) else (None, None)


def patient_of(reference: str) -> str | None:
    """Return the identifier in ``Patient/ID``, also behind a base address or before a version."""
    before, found, identifier = reference.rpartition("Patient/")
    if not found or (before and not before.endswith("/")):
        return None
    return identifier.partition("/")[0] or None


def quantity_of(quantity: Element) -> Written | None:
    """The number of a Quantity and its UCUM unit; None where there is no number."""
    value = quantity.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if quantity.get("comparator") is not None:
        return Reason.NOT_EXACT, None
    unit = quantity.get("code")
    if not isinstance(unit, str):
        return finite(value), None
    # A unit of another system is stated, but not known: the steward's own must not replace it.
    return (finite(value), unit) if quantity.get("system") == UCUM else (Reason.UNKNOWN_UNIT, None)


def finite(value: float) -> Read:
    """A number, unless it is beyond the range of a float."""
    return float(value) if -LARGEST <= value <= LARGEST else Reason.UNREADABLE_NUMBER


def coded_of(concept: JSON, system: str | None, meanings: Mapping[str, float]) -> Written | None:
    """What the codes of one system mean; two of them must not contradict each other."""
    codes = [
        code
        for coding in codings_of(concept)
        if coding.get("system") == system and isinstance(code := coding.get("code"), str)
    ]
    known = {meanings[code] for code in codes if code in meanings}
    if len(known) > 1:
        return Reason.CONFLICTING_VALUES, None
    if known:
        return known.pop(), None
    return (Reason.UNKNOWN_CATEGORY, None) if codes else None
