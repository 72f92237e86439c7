"""Dates that can't be, dates that a program put in, and dates that a person made up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import ConceptType
from wardround.clinical.quality.completeness import MINIMUM_SPIKE
from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Material
from wardround.clinical.quality.thresholds import Thresholds
from wardround.clinical.quarantine import Reason

EARLIEST = date(1890, 1, 1).toordinal()
"""Before it nobody alive was born, and no record in use today was written."""

DEFAULTS = tuple(
    date.fromisoformat(text)
    for text in (
        "0001-01-01",  # .NET, Go
        "1582-10-15",  # SPSS counts from the day before
        "1753-01-01",  # SQL Server's first datetime
        "1800-01-01",
        "1840-12-31",  # MUMPS
        "1850-01-01",
        "1858-11-17",  # VMS
        "1899-12-30",  # spreadsheets, OLE
        "1899-12-31",
        "1900-01-01",
        "1901-01-01",
        "1904-01-01",  # older Macintosh spreadsheets
        "1960-01-01",  # SAS
        "1970-01-01",  # Unix
        "1980-01-01",  # FAT
        "2099-12-31",
        "9999-12-31",
    )
)
"""What programs write where they know no date."""

_DEFAULT_ORDINALS = np.array([day.toordinal() for day in DEFAULTS], dtype=np.float64)
_DAYS_OF_120_YEARS = 43_830


def impossible_dates(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Dates in the future, before birth, before anyone alive was born, or that don't exist.

    Those that harmonisation has set aside already are counted with them.
    """
    birth = material.values(material.birth_date)
    for name, facts in material.concepts.items():
        is_date = facts.concept.type is ConceptType.DATE
        count = facts.aside(Reason.IMPOSSIBLE_DATE)
        if not is_date and not count:
            continue
        if is_date:
            values = facts.values
            bad = (values > material.today) | (values < EARLIEST)
            if birth is not None and name != material.birth_date:
                bad |= (values < birth) | (values > birth + _DAYS_OF_120_YEARS)
            count += int(bad.sum())
        if not count:
            continue
        total = max(facts.found, count)
        share = count / total
        yield Finding(
            Check.IMPOSSIBLE_DATES,
            Level.BLOCK if share > thresholds.impossible_dates_block else Level.WARN,
            name,
            "{count} of {found} dates ({share}) don't exist, lie in the future, before birth, "
            "or more than 120 years back.",
            "Check the date format in the mapping first: day and month exchanged look like this. "
            "Single mistakes are corrected in the source.",
            {"count": count, "found": total, "share": share},
        )


def default_dates(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """One of the days that programs write where they know no date, more often than by chance."""
    for name, values in _dates(material):
        days, counts = np.unique(values, return_counts=True)
        listed = np.isin(days, _DEFAULT_ORDINALS)
        usual = int(np.median(counts[~listed])) if (~listed).any() else 0
        # A true birthday on 1970-01-01 is no habit; nobody alive was born in 1900 and before.
        old = days < date(1905, 1, 1).toordinal()
        spikes = listed & (old | (counts >= max(MINIMUM_SPIKE, 3 * usual)))
        count = int(counts[spikes].sum())
        if not count:
            continue
        share = count / values.size
        shown = ", ".join(date.fromordinal(int(day)).isoformat() for day in days[spikes])
        yield Finding(
            Check.DEFAULT_DATES,
            Level.BLOCK if share > thresholds.missing_block else Level.WARN,
            name,
            f"{{count}} of {{dates}} dates ({{share}}) are {shown}, which programs write where "
            "they know none.",
            "Have them emptied in the source, or in the view that it exports.",
            {"count": count, "dates": int(values.size), "share": share},
        )


def first_of_january(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Far more dates on 1 January than one in 365: only the year was known."""
    for name, values in _dates(material):
        kept = values[~np.isin(values, _DEFAULT_ORDINALS)]
        if kept.size < 20:
            continue
        # Days of year by way of datetime64: vectorised, and in the same (Gregorian) calendar.
        days = (kept - date(1970, 1, 1).toordinal()).astype("datetime64[D]")
        count = int((days == days.astype("datetime64[Y]").astype("datetime64[D]")).sum())
        share = count / kept.size
        if share > thresholds.january_warn and count >= MINIMUM_SPIKE:
            yield Finding(
                Check.FIRST_OF_JANUARY,
                Level.WARN,
                name,
                "{count} of {dates} dates ({share}) are a 1 January, where 0.3 % would be by "
                "chance: probably only the year was known.",
                "Ages from them are up to a year off. Ask whether the source marks such dates.",
                {"count": count, "dates": int(kept.size), "share": share},
            )


def _dates(material: Material) -> Iterator[tuple[str, NDArray[np.float64]]]:
    for name, facts in material.concepts.items():
        if facts.concept.type is ConceptType.DATE and facts.usable.size:
            yield name, facts.usable
