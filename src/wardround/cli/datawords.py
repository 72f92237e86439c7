"""A hospital's records and what was found in them in words, as `wardround site data` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wardround.cli.console import err, say, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wardround.clinical.profile import FieldProfile
    from wardround.clinical.quality import Finding
    from wardround.clinical.suggest import Suggestion
    from wardround.site.onboarding import Onboarding, Preview


def say_sampled(onboarding: Onboarding, source: str | None) -> None:
    """Of a live server not everything was looked at."""
    from wardround.clinical.survey import SERVER_SAMPLE

    for one in onboarding.mapping.sources:
        if one.kind == "fhir-server" and source in (None, one.name):
            say(
                f"{one.name}: a sample of the server, at most {SERVER_SAMPLE:,} resources of each "
                "type. Name a field that is not in it yourself, by its code: see "
                "docs/how-to/write-a-mapping.md"
            )


def say_excluded(preview: Preview) -> None:
    """Who stays out by the hospital's own word."""
    from wardround.clinical.quarantine import Reason

    if left_out := preview.set_aside.get(Reason.EXCLUDED):
        say(f"  {left_out} excluded by the hospital")


def say_resources(resources: Mapping[str, int]) -> None:
    """Lines, resources and single values that were not used, whosever they are."""
    from wardround.clinical.quarantine import Reason

    for reason, count in resources.items():
        entries = "entry" if count == 1 else "entries"
        say(f"  {count} single {entries} not used: {Reason(reason).words}")


def fields_table(profiles: Sequence[FieldProfile]) -> RenderableType:
    """What was found in each field."""
    return table(
        ("field", "kind", "rows", "missing", "distinct", "unit"),
        [
            (
                f"{one.source}: {one.field}",
                one.kind.value,
                one.rows,
                f"{one.missing / one.rows:.0%}" if one.rows and not one.presence else "",
                one.distinct,
                ", ".join(one.units),
            )
            for one in profiles
        ],
    )


def findings_table(findings: Sequence[Finding], used: int, records: int) -> RenderableType:
    """What the checks found, and how many records are usable."""
    err.print(f"{used} of {records} records are usable.")
    return table(
        ("", "check", "what was found", "what to do"),
        [
            (
                one.level.value,
                one.check.heading + (f": {one.concept}" if one.concept else ""),
                one.words + (f" {one.override.rstrip('.')}." if one.override else ""),
                one.remedy,
            )
            for one in findings
        ],
    )


def profile_document(profile: FieldProfile) -> dict[str, object]:
    """A field's profile for ``--json``."""
    return {
        "source": profile.source,
        "field": profile.field,
        "description": profile.description,
        "declared": profile.declared,
        "kind": profile.kind.value,
        "rows": profile.rows,
        "missing": profile.missing,
        "distinct": profile.distinct,
        "units": dict(profile.units),
        "quantiles": list(profile.quantiles),
        "categories": dict(profile.categories),
    }


def suggestion_document(one: Suggestion) -> dict[str, object]:
    """A suggestion for ``--json``."""
    return {
        "source": one.source,
        "field": one.field,
        "concept": one.concept,
        "score": one.shown_score,
        "reasons": list(one.reasons),
        "unit": one.reading.unit,
        "date_format": one.reading.date_format,
        "value_map": None if one.reading.value_map is None else dict(one.reading.value_map),
    }
