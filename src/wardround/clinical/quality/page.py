"""The steward's profile of a hospital's data: one HTML file that loads nothing and runs nothing.

It shows sample values, so it stays in the hospital: every page of it says so, and the file is
readable by its owner alone. Names and values come from the hospital's records and may hold
anything: all of them go through the template's escaping (:mod:`wardround.pages`).
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from wardround.clinical.profile import FieldKind, FieldProfile
from wardround.clinical.quality import drawing
from wardround.clinical.quality.completeness import graded
from wardround.clinical.quality.finding import Finding, Level, percent
from wardround.clinical.quality.thresholds import Thresholds
from wardround.clinical.quarantine import Reason
from wardround.errors import WardroundError
from wardround.pages import Page

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

_PAGE = Page(Path(__file__).parent, "profile")

_CATEGORIES = 8
"""So many are drawn one by one; of more, numbers get a histogram, and texts are counted."""


@dataclass(frozen=True, repr=False)
class ProfileRow:
    """One field and what it is mapped to, if anything.

    ``path`` says in words how its values become the concept's; ``after`` are the profile's samples
    after that, in the same order, with a text of its own where a value can't be used.
    """

    profile: FieldProfile
    concept: str | None = None
    name: str | None = None
    unit: str | None = None
    path: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usage:
    """What the page is about: which hospital and study, and *N used of M*, with the reasons.

    Without a study nothing was checked, and no record is used or set aside.
    """

    site: str
    study: str | None
    day: date
    used: int
    records: int
    set_aside: Mapping[Reason, int] = field(default_factory=dict)


def write_profile(
    path: Path,
    fields: Sequence[ProfileRow],
    findings: Sequence[Finding],
    usage: Usage,
    thresholds: Thresholds | None = None,
) -> None:
    """Write the page, replacing an older one in one step; raises WR-DATA-076 if it can't."""
    data = render_profile(fields, findings, usage, thresholds).encode()
    partial = path.with_name(path.name + ".part")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError as error:
        raise WardroundError(
            "WR-DATA-076",
            "The profile can't be written here.",
            "Check that the folder exists, that you may write to it, and that the disk has room.",
            path=str(path),
        ) from error


def render_profile(
    fields: Sequence[ProfileRow],
    findings: Sequence[Finding],
    usage: Usage,
    thresholds: Thresholds | None = None,
) -> str:
    """The whole page as text; the same input always gives the same page."""
    limits = thresholds or Thresholds()
    names: dict[str | None, str | None] = {one.concept: one.concept for one in findings}
    names |= {row.concept: row.name or row.concept for row in fields if row.concept}
    at = {level: [one for one in findings if one.level is level] for level in Level}
    standing = [*at[Level.BLOCK], *at[Level.WARN]]
    return _PAGE.render(
        usage=usage,
        used_share=f"{percent(usage.used / usage.records)} %" if usage.records else "",
        blocks=len(at[Level.BLOCK]),
        warnings=len(at[Level.WARN]),
        passed=[one.check.heading for one in at[Level.OK]],
        not_checked=_grouped((one.words, one.check.heading) for one in at[Level.NOT_CHECKED]),
        findings=_grouped(
            ((one.check, one.level, one.remedy, _verb(one)), (names.get(one.concept), one))
            for one in standing
        ),
        set_aside=_set_aside(usage),
        mapped=[_field(row, standing, limits) for row in fields if row.concept],
        unmapped=[_field(row, standing, limits) for row in fields if not row.concept],
    )


def _verb(finding: Finding) -> str:
    if finding.override is not None:
        return "Let pass"
    return "Blocks" if finding.level is Level.BLOCK else "Warns"


def _grouped(pairs: Iterable[tuple[Key, Item]]) -> list[tuple[Key, list[Item]]]:
    """Items under each key, both in the order of their first appearance."""
    groups: dict[Key, list[Item]] = {}
    for key, item in pairs:
        groups.setdefault(key, []).append(item)
    return list(groups.items())


def _set_aside(usage: Usage) -> list[dict[str, object]]:
    most = max(usage.set_aside.values(), default=1)
    return [
        {
            "words": reason.words[:1].upper() + reason.words[1:],
            "count": f"{count:,}",
            "bar": drawing.share_bar(count / most, "lost"),
        }
        for reason, count in sorted(usage.set_aside.items(), key=lambda item: -item[1])
        if count
    ]


def _field(row: ProfileRow, findings: Sequence[Finding], limits: Thresholds) -> dict[str, object]:
    profile = row.profile
    share = profile.missing / profile.rows if profile.rows else 0.0
    level = graded(share, limits.missing_warn, limits.missing_block)
    listed = [one for one in findings if row.concept and one.concept == row.concept]
    return {
        "row": row,
        "profile": profile,
        "findings": listed,
        "missing": f"{percent(share)} %",
        "missing_bar": drawing.share_bar(share, "lost" if level is Level.OK else level.value),
        "histogram": drawing.histogram(profile.bins) if _continuous(profile) else None,
        "ends": _ends(profile),
        "categories": _categories(profile),
        "more": max(profile.distinct - _CATEGORIES, 0),
        "units": [(unit or "no unit stated", f"{n:,}") for unit, n in profile.units.items()],
        "facts": _facts(profile),
        "samples": _samples(row),
    }


def _continuous(profile: FieldProfile) -> bool:
    """Whether a histogram says more than a list of its few values, or of its texts."""
    drawn = profile.kind in (FieldKind.NUMBER, FieldKind.DATE) and len(profile.quantiles) > 1
    return drawn and (profile.distinct > _CATEGORIES or not profile.categories)


def _ends(profile: FieldProfile) -> tuple[str, str, str] | None:
    """The least, middle and greatest value, as the axis shows them."""
    if not _continuous(profile):
        return None
    points = profile.quantiles
    shown = [_written(profile, points[i]) for i in (0, len(points) // 2, -1)]
    return shown[0], shown[1], shown[2]


def _written(profile: FieldProfile, value: float) -> str:
    if profile.kind is FieldKind.DATE:
        try:
            return date.fromordinal(int(value)).isoformat()
        except (ValueError, OverflowError):
            return "no date"
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def _categories(profile: FieldProfile) -> list[dict[str, object]]:
    if _continuous(profile) or profile.kind is FieldKind.IDENTIFIER:
        return []
    filled = max(profile.rows - profile.missing, 1)
    shown = list(profile.categories.items())[:_CATEGORIES]
    return [
        {"text": text, "count": f"{n:,}", "bar": drawing.share_bar(n / filled, "bar")}
        for text, n in shown
    ]


def _facts(profile: FieldProfile) -> list[tuple[str, str]]:
    if profile.presence:
        facts = [("Present", f"{profile.rows:,} times")]
    else:
        facts = [("Values", f"{profile.rows - profile.missing:,} of {profile.rows:,}")]
        facts.append(("Distinct", f"{profile.distinct:,}"))
    if profile.zeros:
        facts.append(("Exactly 0", f"{profile.zeros:,}"))
    if profile.declared:
        facts.append(("Declared", profile.declared))
    if profile.date_formats:
        facts.append(("Written", " or ".join(profile.date_formats)))
    facts += [("Code", f"{code} of {system}" if system else code) for system, code in profile.codes]
    return facts


def _samples(row: ProfileRow) -> list[tuple[str, str]]:
    """Before and after; a patient's identifier is no sample that anybody needs to see."""
    if row.profile.kind is FieldKind.IDENTIFIER:
        return []
    after = (*row.after, *[""] * len(row.profile.samples))
    return list(zip(row.profile.samples, after, strict=False))
