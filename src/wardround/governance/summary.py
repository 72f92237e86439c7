"""``summary.json``: the few figures of a study that other programs read."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from wardround.governance.files import write_whole
from wardround.governance.report.data import Performance, ReportData


class Headline(BaseModel):
    """Two figures of one model on held-out records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auroc: float | None
    accuracy: float | None


class SiteSummary(BaseModel):
    """One hospital's line, from its own local report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    records_used: int
    records_total: int
    bytes_out: int
    auroc_alone: float | None


class Absence(BaseModel):
    """A hospital that is not in every total, in numbers of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    present: int
    missing: int
    not_asked: int


class Summary(BaseModel):
    """The whole file. ``verified`` is True only when every check of the evidence held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    run: str
    profile: str
    federated: Headline
    pooled: Headline | None
    sites: tuple[SiteSummary, ...]
    rounds: int
    absences: tuple[Absence, ...]
    verified: bool


def _headline(performance: Performance) -> Headline:
    return Headline(auroc=performance.auroc, accuracy=performance.accuracy)


def summarise(data: ReportData) -> Summary:
    """Pick the summary's figures out of the report's; ``rounds`` counts the completed ones."""
    return Summary(
        study=data.study.id,
        run=data.run,
        profile=data.study.profile,
        federated=_headline(data.evaluation.held_out),
        pooled=_headline(data.pooled) if data.pooled else None,
        sites=tuple(
            SiteSummary(
                name=site.name,
                records_used=site.records_used,
                records_total=site.records_total,
                bytes_out=site.bytes_out,
                auroc_alone=site.alone.auroc if site.alone else None,
            )
            for site in data.sites
        ),
        rounds=sum(entry.completed for entry in data.rounds),
        absences=tuple(
            Absence(
                site=one.site,
                present=one.present,
                missing=len(one.missing),
                not_asked=len(one.not_asked),
            )
            for one in data.absences
        ),
        verified=data.verification is not None and data.verification.ok,
    )


def save_summary(data: ReportData, path: Path) -> Summary:
    """Write ``summary.json``, replacing an older one in one step, and return what it says."""
    summary = summarise(data)
    write_whole(path, (summary.model_dump_json(indent=2) + "\n").encode())
    return summary
