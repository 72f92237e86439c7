"""What a check says: its level, its figures, and words that a steward understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from wardround.trust.canonical import JSON

MINIMUM_SHOWN = 5
"""Smaller counts of patients or values are shown as ``<5`` in what may be copied outward."""


class Level(StrEnum):
    """How serious a finding is. ``NOT_CHECKED`` is said, rather than passed off as fine."""

    OK = "ok"
    WARN = "warn"
    BLOCK = "block"
    NOT_CHECKED = "not-checked"


class Check(StrEnum):
    """The checks, in the order in which they are made and shown."""

    COHORT_MINIMUM = "cohort_minimum"
    CELL_MINIMUM = "cell_minimum"
    MISSINGNESS = "missingness"
    ZERO_CODED = "zero_coded"
    SENTINEL = "sentinel"
    CONSTANT = "constant"
    UNIT_MISMATCH = "unit_mismatch"
    PLAUSIBLE_RANGE = "plausible_range"
    UNREADABLE = "unreadable"
    HEAPING = "heaping"
    IMPOSSIBLE_DATES = "impossible_dates"
    DEFAULT_DATES = "default_dates"
    FIRST_OF_JANUARY = "first_of_january"
    DUPLICATE_ROWS = "duplicate_rows"
    TWO_IDENTIFIERS = "two_identifiers"
    ONE_CLASS = "one_class"
    MINORITY_CLASS = "minority_class"
    LEAKAGE = "leakage"
    TWIN_FEATURES = "twin_features"
    DRIFT = "drift"
    PREVALENCE = "prevalence"

    @property
    def heading(self) -> str:
        """What it looks for, in a few words."""
        return _HEADINGS[self]

    @property
    def overridable(self) -> bool:
        """Whether a steward may let its block pass: never where it protects single patients."""
        return self not in (Check.COHORT_MINIMUM, Check.CELL_MINIMUM)


_HEADINGS = {
    Check.COHORT_MINIMUM: "Enough patients",
    Check.CELL_MINIMUM: "Small groups",
    Check.MISSINGNESS: "Missing values",
    Check.ZERO_CODED: "Zero written for missing",
    Check.SENTINEL: "Stand-in numbers such as 999",
    Check.CONSTANT: "Features that never vary",
    Check.UNIT_MISMATCH: "Units",
    Check.PLAUSIBLE_RANGE: "Plausible range",
    Check.UNREADABLE: "Unreadable values",
    Check.HEAPING: "Rounded numbers",
    Check.IMPOSSIBLE_DATES: "Impossible dates",
    Check.DEFAULT_DATES: "Default dates",
    Check.FIRST_OF_JANUARY: "Dates on 1 January",
    Check.DUPLICATE_ROWS: "Duplicate records",
    Check.TWO_IDENTIFIERS: "One patient under two identifiers",
    Check.ONE_CLASS: "Both outcomes occur",
    Check.MINORITY_CLASS: "Enough of the rarer outcome",
    Check.LEAKAGE: "Features that give the outcome away",
    Check.TWIN_FEATURES: "Features that say the same",
    Check.DRIFT: "Like the other hospitals",
    Check.PREVALENCE: "Outcome as common as elsewhere",
}


@dataclass(frozen=True)
class Finding:
    """What one check found, in one concept or (None) in all of them together.

    ``figures`` are aggregates only: whole numbers count patients or values, other numbers are
    shares (names that end in ``share``) or measures. ``form`` is the sentence with the figures'
    names in braces, so that :meth:`public` can say it again with small counts hidden. ``override``
    says who let a block pass and why; such a finding is at level WARN.
    """

    check: Check
    level: Level
    concept: str | None
    form: str
    remedy: str = ""
    figures: Mapping[str, float | int] = field(default_factory=dict)
    override: str | None = None

    @property
    def words(self) -> str:
        """The sentence for the steward; it names no patient and no record's value."""
        return self.form.format_map({name: _shown(name, f) for name, f in self.figures.items()})

    @property
    def badness(self) -> float | None:
        """The figure by which it is judged, larger being worse; None where there are no degrees.

        A share, the stability index, or one over the number of patients in the rarer class.
        """
        rarer = self.figures.get("rarer")
        figure = self.figures.get("share", self.figures.get("psi", 1.0 / rarer if rarer else None))
        return None if figure is None else float(figure)

    def public(self) -> dict[str, JSON]:
        """The finding as it may be copied out of the hospital: no count from 1 to 4 can be read.

        Nor can one be worked out: where a count is small, or all but a few, shares are withheld.
        """
        shown = _hidden(self.figures)
        result: dict[str, JSON] = {
            "check": self.check.value,
            "level": self.level.value,
            "concept": self.concept,
            "figures": dict(shown),
            "words": self.form.format_map(shown),
        }
        return result if self.override is None else {**result, "override": self.override}


def public_usage(
    used: int, records: int, set_aside: Mapping[str, int]
) -> tuple[int | str, dict[str, int | str]]:
    """*N used of M* and the reasons why not, as they may be copied out of the hospital.

    As in :meth:`Finding.public` no count from 1 to 4 can be read or worked out: where one is
    hidden, or only so few are not used, N is only said to be more than a number; where N itself is
    small, no reason's count is said.
    """
    few = range(1, MINIMUM_SHOWN)
    if used in few:
        return f"<{MINIMUM_SHOWN}", dict.fromkeys(set_aside, "(withheld)")
    small = [count for count in set_aside.values() if count in few]
    shown: dict[str, int | str] = {
        reason: f"<{MINIMUM_SHOWN}" if count in few else count
        for reason, count in set_aside.items()
    }
    rest = records - used
    if not small and rest not in few:
        return used, shown
    largest = rest - sum(small) + len(small) * few[-1] if small else few[-1]
    return f">{max(records - largest - 1, 0)}", shown


def _shown(name: str, figure: float) -> str:
    if isinstance(figure, int):
        return f"{figure:,}"
    if name.endswith("share"):
        return f"{percent(figure)} %"
    return f"{figure:.3g}"


def percent(share: float) -> str:
    """A share in per cent that never rounds something to nothing, or nearly all to all."""
    if 0 < share < 0.001:
        return "under 0.1"
    if 0.999 < share < 1:
        return "over 99.9"
    if share > 0.99:
        return f"{100 * share:.3g}"
    return f"{100 * share:.2g}" if share < 0.1 else f"{100 * share:.0f}"


def _hidden(figures: Mapping[str, float | int]) -> dict[str, str]:
    counts = [figure for figure in figures.values() if isinstance(figure, int)]
    shown: dict[str, str] = {}
    hiding = False
    for name, figure in figures.items():
        if not isinstance(figure, int):
            continue
        over = [whole for whole in counts if 0 < whole - figure < MINIMUM_SHOWN]
        if 0 < figure < MINIMUM_SHOWN:
            shown[name], hiding = f"<{MINIMUM_SHOWN}", True
        elif over:
            shown[name], hiding = f">{min(over) - MINIMUM_SHOWN:,}", True
        else:
            shown[name] = _shown(name, figure)
    for name, figure in figures.items():
        if not isinstance(figure, int):
            shown[name] = "(withheld)" if hiding else _shown(name, figure)
    return shown
