"""A report's facts from a study, its candidate and its rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from wardround.governance.findings import VerificationReport
from wardround.governance.report.absences import absences
from wardround.governance.report.data import (
    BudgetLine,
    Coefficient,
    Evaluation,
    LocalReport,
    ModelFacts,
    Performance,
    PrivacyFacts,
    ReportData,
    RoundFacts,
    SetupFacts,
    SiteTraffic,
    StudyFacts,
)
from wardround.ids import Digest, RunId
from wardround.study.plan import lines, require_privacy
from wardround.study.price import statement_of
from wardround.trust.canonical import JSON

if TYPE_CHECKING:
    from wardround.algorithms.candidate import Candidate
    from wardround.study import Study


def report_data(
    study: Study,
    candidate: Candidate,
    *,
    run: RunId,
    started: datetime,
    finished: datetime,
    model: Digest,
    rounds: Sequence[RoundFacts],
    setups: Sequence[SetupFacts] = (),
    other_traffic: Mapping[str, dict[str, SiteTraffic]] | None = None,
    resumed: Sequence[datetime] = (),
    sites: Sequence[LocalReport] = (),
    pooled: Performance | None = None,
    verification: VerificationReport | None = None,
    notes: Sequence[str] = (),
) -> ReportData:
    """Everything on the page.

    ``model`` is the digest of the signed model statement; ``sites`` are the local reports that
    hospitals handed over, if any; ``pooled`` is a reference fitted to all records in one place,
    which only a demonstration on public data can have.
    """
    suppressed = candidate.statistics.get("suppressed_total", 0)
    return ReportData(
        study=study_facts(study),
        privacy=None if study.privacy is None else privacy_facts(study, rounds),
        run=run,
        started=started,
        finished=finished,
        model=model_facts(candidate.description, model),
        evaluation=Evaluation.model_validate(candidate.evaluation),
        rounds=tuple(rounds),
        setups=tuple(setups),
        other_traffic=dict(other_traffic or {}),
        resumed=tuple(resumed),
        absences=absences(study.site_names, rounds),
        suppressed_cells=suppressed if isinstance(suppressed, int) else 0,
        sites=tuple(sites),
        pooled=pooled,
        verification=verification,
        notes=tuple(notes),
    )


def study_facts(study: Study) -> StudyFacts:
    """What was agreed, with the thresholds for a whole cohort: all hospitals, or a small group."""
    cohort = study.smallest_cohort
    adversary = study.adversary(cohort, cohort)
    return StudyFacts.model_validate(
        {
            "id": study.id,
            "version": study.version,
            "title": study.title,
            "question": study.question,
            "purpose": study.purpose,
            "digest": study.digest,
            "profile": study.profile.value,
            "expires": study.expires,
            "coordinator": study.coordinator.name,
            "sites": study.site_names,
            "outcome": study.data.outcome,
            "corrupt_sites": adversary.corrupt,
            "threshold": adversary.threshold,
            "minimum_survivors": study.minimum_survivors(cohort, cohort),
            "groups": None if study.cohort.groups is None else study.totals_per_step,
            "redraw_steps": study.cohort.groups and study.cohort.groups.redraw_steps,
            "minimum_cell": study.disclosure.minimum_cell,
            "minimum_cohort": study.disclosure.minimum_cohort,
            "opened_numbers_limit": study.disclosure.opened_numbers,
        }
    )


def privacy_facts(study: Study, rounds: Sequence[RoundFacts]) -> PrivacyFacts:
    """The study's statement and budget, and how often each part of it was asked for."""
    statement, privacy = statement_of(study), require_privacy(study)
    plan = lines(study)
    costs = [line.events / line.event.noise_multiplier**2 for line in plan]
    return PrivacyFacts(
        epsilon=statement.epsilon,
        delta=statement.delta,
        words=statement.words(),
        particulars=tuple(line for line in statement.lines() if line[0] != "guarantee"),
        rationale=privacy.rationale,
        budget=tuple(
            BudgetLine(
                purpose=line.purpose.value,
                releases=line.releases,
                spare=line.spare,
                answered=_answers(one for one in rounds if one.kind in line.kinds),
                noise_multiplier=line.event.noise_multiplier,
                sampling_rate=line.event.sampling_rate,
                share=cost / sum(costs),
            )
            for line, cost in zip(plan, costs, strict=True)
        ),
    )


def _answers(rounds: Iterable[RoundFacts]) -> int:
    """How often a hospital was asked at most: of the groups of a step it is in one."""
    attempts = Counter((one.step, one.group) for one in rounds)
    most: Counter[int] = Counter()
    for (step, _), count in attempts.items():
        most[step] = max(most[step], count)
    return most.total()


def model_facts(description: Mapping[str, JSON], digest: Digest) -> ModelFacts:
    """A candidate's description, as far as the page shows it."""
    rows = description.get("coefficients")
    chosen = description.get("cross_validation")
    chosen = chosen if isinstance(chosen, Mapping) else {}
    return ModelFacts.model_validate(
        {
            "kind": description.get("kind"),
            "algorithm": description.get("algorithm"),
            "coefficients": tuple(Coefficient.model_validate(row) for row in rows)
            if isinstance(rows, Sequence)
            else (),
            "intercept": description.get("intercept"),
            "ridge": description.get("ridge"),
            "folds": chosen.get("folds"),
            "ridge_losses": chosen.get("curve", ()),
            "steps": description.get("steps"),
            "stopping": description.get("stopping", ""),
            "digest": digest,
        }
    )
