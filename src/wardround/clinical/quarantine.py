"""What was set aside and why: one bad record never stops a run and never disappears silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why something can't be used; the values appear in reports."""

    UNREADABLE_LINE = "unreadable_line"
    WRONG_ENCODING = "wrong_encoding"
    WRONG_COLUMN_COUNT = "wrong_column_count"
    NO_PATIENT_ID = "no_patient_id"
    NOT_FINAL = "not_final"
    MISSING_VALUE = "missing_value"
    UNREADABLE_NUMBER = "unreadable_number"
    NOT_EXACT = "not_exact"
    UNKNOWN_UNIT = "unknown_unit"
    UNKNOWN_CATEGORY = "unknown_category"
    INCOMPLETE_DATE = "incomplete_date"
    IMPOSSIBLE_DATE = "impossible_date"
    NO_DATE = "no_date"
    NOT_DERIVABLE = "not_derivable"
    UNLINKED_PATIENT = "unlinked_patient"
    VIEW_FAILED = "view_failed"
    OUTSIDE_PLAUSIBLE_RANGE = "outside_plausible_range"
    CONFLICTING_VALUES = "conflicting_values"
    DUPLICATE_RECORD = "duplicate_record"
    EXCLUDED = "excluded"

    @property
    def words(self) -> str:
        """The reason as a sentence for a steward."""
        return _WORDS[self]


_WORDS = {
    Reason.UNREADABLE_LINE: "the line is not JSON, or its quotation marks don't match",
    Reason.WRONG_ENCODING: "the line holds a byte that is no text in the expected encoding",
    Reason.WRONG_COLUMN_COUNT: "the row has more or fewer columns than the header",
    Reason.NO_PATIENT_ID: "it names no patient",
    Reason.NOT_FINAL: "its status says that it is not final, or was never done",
    Reason.MISSING_VALUE: "a value is missing",
    Reason.UNREADABLE_NUMBER: "a value is not a number",
    Reason.NOT_EXACT: "a value is only a bound, such as less than 5",
    Reason.UNKNOWN_UNIT: "a unit is missing, unknown or of another kind",
    Reason.UNKNOWN_CATEGORY: "a value is not in the mapping's value map",
    Reason.INCOMPLETE_DATE: "a date lacks its month or day",
    Reason.IMPOSSIBLE_DATE: "a date does not exist, lies in the future or before birth",
    Reason.NO_DATE: "a value does not say when it is of, and the latest or earliest counts",
    Reason.NOT_DERIVABLE: "a formula does not hold for the values that it is given",
    Reason.UNLINKED_PATIENT: "the crosswalk leads from this patient to none, or to several",
    Reason.VIEW_FAILED: "the mapping's view can't be evaluated on the resource",
    Reason.OUTSIDE_PLAUSIBLE_RANGE: "a value lies outside the concept's plausible range",
    Reason.CONFLICTING_VALUES: "the patient has several differing values for one concept",
    Reason.DUPLICATE_RECORD: "a further row of a patient who already has one",
    Reason.EXCLUDED: "the steward excluded the patient",
}


@dataclass(frozen=True)
class SetAside:
    """One thing that is not used.

    ``record`` tells a patient's record (or a table's row) from a single resource of a patient
    whose record may still be complete. ``where`` is ``file:line``; no value and no patient's
    identifier is kept.
    """

    reason: Reason
    where: str
    concept: str | None = None
    record: bool = True


@dataclass(frozen=True)
class Quarantine:
    """Everything that was set aside from one hospital's records."""

    entries: tuple[SetAside, ...] = ()

    def __iter__(self) -> Iterator[SetAside]:
        return iter(self.entries)

    def with_entries(self, more: Iterable[SetAside]) -> Quarantine:
        """Return this quarantine with further entries."""
        return Quarantine((*self.entries, *more))

    @property
    def records(self) -> int:
        """How many records were set aside: M - N in *N used of M*."""
        return sum(entry.record for entry in self.entries)

    def summary(self) -> dict[str, int]:
        """Return the records set aside per reason, most frequent first; sums to ``records``."""
        return _count(entry for entry in self.entries if entry.record)

    def resources(self) -> dict[str, int]:
        """Return the single resources set aside per reason, most frequent first."""
        return _count(entry for entry in self.entries if not entry.record)


def _count(entries: Iterable[SetAside]) -> dict[str, int]:
    counts = Counter(entry.reason.value for entry in entries)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def garbled(entries: Iterable[SetAside]) -> list[str]:
    """Return the places of the lines that are no text in the expected encoding."""
    return [entry.where for entry in entries if entry.reason is Reason.WRONG_ENCODING]
