"""A study in words, as `wardround study` shows it."""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from wardround.secagg.partition import group_sizes
from wardround.study.document import Study
from wardround.study.plan import Line, lines
from wardround.study.price import statement_of
from wardround.study.profiles import PROMISES, Protection
from wardround.trust.canonical import JSON
from wardround.trust.keys import VerifyKey


def grid(rows: list[tuple[str, str]]) -> Table:
    """Rows of a name and its words, without lines.

    A word longer than its column goes on below: a digest must never be cut.
    """
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, words in rows:
        grid.add_row(Text(name, "dim"), Text(words))
    return grid


def facts(study: Study) -> dict[str, JSON]:
    """The study with what follows from it, for programs."""
    adversary = study.adversary(study.smallest_cohort, study.smallest_cohort)
    document: dict[str, JSON] = study.model_dump(
        mode="json", by_alias=True, exclude={"schema_"}, exclude_none=True
    )
    return {
        "digest": None if study.is_draft else study.digest,
        "draft": study.is_draft,
        "study": document,
        "fingerprints": {
            name: VerifyKey.parse(key).fingerprint for name, key in _keys(study) if key
        },
        "adversary": {
            "sites": len(study.sites),
            "corrupt_sites": adversary.corrupt,
            "threshold": adversary.threshold,
            "minimum_survivors": study.minimum_survivors(
                study.smallest_cohort, study.smallest_cohort
            ),
        },
        "graph": _graph(study),
        "visibility": {
            "kind": study.visibility,
            "totals_per_step": study.totals_per_step,
            "smallest_cohort": study.smallest_cohort,
            "late_cohort": None
            if study.cohort.asynchronous is None
            else study.late_terms.minimum_survivors,
        },
        "privacy": None if study.privacy is None else statement_of(study).to_json(),
        "protections": [item.words for item in _protections(study)],
        "caveats": list(PROMISES[study.profile].caveats),
    }


def _graph(study: Study) -> dict[str, JSON]:
    rule = study.graph_rule(study.smallest_cohort, study.smallest_cohort)
    bits = {"security_bits": rule.security_bits, "failure_bits": rule.failure_bits}
    return {
        "complete": rule.is_complete,
        "choices": rule.degree,
        "share_threshold": rule.share_threshold,
        **{name: value for name, value in bits.items() if math.isfinite(value)},
    }


def summary(study: Study) -> list[tuple[str, str]]:
    """What a study asks, of whom, and against whom it is protected."""
    data, model, cohort = study.data, study.model, study.smallest_cohort
    survivors = study.minimum_survivors(cohort, cohort)
    return [
        ("study", f"{study.id}, version {study.version}"),
        ("title", study.title),
        ("digest", "none yet: a draft" if study.is_draft else study.digest),
        ("expires", f"{study.expires.isoformat()} (UTC)"),
        ("model", f"{model.kind.value} by {model.algorithm.value}, {_ridge(study)}"),
        ("predicts", f"{data.outcome} from {len(data.features)} features"),
        ("sites", ", ".join(study.site_names)),
        (
            "adversary",
            f"the coordinator and up to {study.corrupt_sites} of {len(study.sites)} sites",
        ),
        *_visibility(study),
        *_asynchronous(study),
        (
            "rounds",
            f"open a sum over at least {survivors} sites; {cohort - survivors} may fail"
            + ("" if study.cohort.groups is None else " in each group"),
        ),
        ("waits", _waits(study)),
        (
            "masks",
            ("" if study.cohort.groups is None else "in each group, ")
            + study.graph_rule(cohort, cohort).describe(),
        ),
        ("profile", study.profile.value),
        *(("", caveat) for caveat in PROMISES[study.profile].caveats),
        *_privacy(study),
    ]


def _waits(study: Study) -> str:
    """Whom a round asks and how long it waits."""
    cohort = study.cohort
    ends = f"{min(cohort.deadline_floor_s, cohort.deadline_s):g} to {cohort.deadline_s:g} s"
    how = f"for each as long as it usually takes ({ends})"
    if cohort.target_sites is None:
        return f"for every hospital that is there, {how}"
    if not cohort.adaptive:
        return f"for {cohort.target_sites} contributions, {how}; all that are there are asked"
    asked = cohort.target_sites + cohort.over_selection
    return (
        f"for {cohort.target_sites} contributions, {how}; the {asked} fastest are asked, and every "
        f"hospital once in {cohort.ask_every} rounds"
    )


def details(study: Study) -> list[tuple[str, str]]:
    """The rest, as a steward reads it before approving."""
    data, disclosure = study.data, study.disclosure
    return [
        ("question", study.question),
        ("purpose", study.purpose),
        ("features", ", ".join(data.features)),
        (
            "test set",
            f"{data.test_fraction:.0%} of patients"
            if data.held_out is None
            else f"patients of whom {data.held_out} is true",
        ),
        ("small groups", _who_stays_out(study)),
        (
            "small cells",
            "no cell is held back: noise hides the few"
            if study.privacy
            else _small_cells(disclosure.minimum_cell) + "cells of score histograms are exact",
        ),
        ("opened numbers", f"at most {disclosure.opened_numbers}"),
        *_plan(study),
        *(
            ("protection", item.words + ("" if item.exists else " (DOES NOT EXIST YET)"))
            for item in _protections(study)
        ),
        ("coordinator", f"{study.coordinator.name}, {study.coordinator.url or 'no address yet'}"),
        *(
            (f"key of {name}", VerifyKey.parse(key).fingerprint if key else "missing")
            for name, key in _keys(study)
        ),
    ]


def _protections(study: Study) -> list[Protection]:
    """What its profile promises, without what the study itself switches off."""
    off = {Protection.DISCLOSURE_RULES} if study.disclosure.minimum_cell == 0 else set()
    promised = PROMISES[study.profile].protections - off
    return [item for item in Protection if item in promised]


def _privacy(study: Study) -> list[tuple[str, str]]:
    if study.privacy is None:
        return []
    statement = statement_of(study)
    rows = [("privacy" if name == "guarantee" else name, text) for name, text in statement.lines()]
    return [*rows, ("why", study.privacy.rationale)]


def _plan(study: Study) -> list[tuple[str, str]]:
    if study.privacy is None:
        return []
    return [("budget", _line(line)) for line in lines(study)]


def _line(line: Line) -> str:
    event = line.event
    times = "once" if line.releases == 1 else f"{line.releases} times"
    if line.spare:
        times += f" (and {line.spare} more for rounds that fail)"
    sampled = "" if event.sampling_rate == 1 else f" on a share of {event.sampling_rate:g}"
    steps = "" if line.events_per_task == 1 else f", {line.events_per_task} steps each"
    return f"{line.purpose.value}: {times}{steps}, noise {event.noise_multiplier:g}{sampled}"


def _visibility(study: Study) -> list[tuple[str, str]]:
    if study.cohort.groups is None:
        return []
    sizes = sorted(set(group_sizes(len(study.sites), study.totals_per_step)))
    size = " or ".join(str(one) for one in sizes)
    groups = f"sums over {study.totals_per_step} random groups of {size} hospitals"
    every = study.cohort.groups.redraw_steps
    if every is not None:
        groups += ", others at every step" if every == 1 else f", others after every {every} steps"
    return [("groups", groups)]


def _asynchronous(study: Study) -> list[tuple[str, str]]:
    agreed = study.cohort.asynchronous
    if agreed is None:
        return []
    terms = study.late_terms
    return [
        (
            "late cohorts",
            f"the fit is over whoever is ready: sums of {terms.size} of {len(study.sites)} sites, "
            f"opened over at least {terms.minimum_survivors}; what was trained more than "
            f"{agreed.maximum_staleness} versions ago is thrown away",
        )
    ]


def _ridge(study: Study) -> str:
    model = study.model
    if model.folds is None:
        return f"ridge {model.ridges[0]:g}"
    listed = ", ".join(f"{ridge:g}" for ridge in model.ridges)
    return f"ridge by {model.folds}-fold cross-validation of {listed}"


def _who_stays_out(study: Study) -> str:
    disclosure = study.disclosure
    if study.privacy is not None:
        return "nobody is kept out for small groups: a refusal by count would tell the count"
    if disclosure.minimum_cell == 0:
        return "NOBODY is kept out for small groups: the records must be public"
    group = "test records"
    if study.model.kind.value == "logistic":
        group = "with or without the outcome, in training or test part,"
    return (
        f"a site with fewer than {disclosure.minimum_cohort} training records, or fewer than "
        f"{disclosure.minimum_cell} {group} stays out of the study"
    )


def _small_cells(minimum: int) -> str:
    if minimum == 0:
        return "no cell is held back; "
    return f"in histograms of features, cells below {minimum} are sent as zero; "


def _keys(study: Study) -> list[tuple[str, str]]:
    sites = [(str(site.name), site.signing_key) for site in study.sites]
    return [("the coordinator", study.coordinator.signing_key), *sites]
