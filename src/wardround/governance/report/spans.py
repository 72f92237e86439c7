"""When what was done: rounds and set-ups on one axis of time, and the breaks in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from wardround.governance.report import plots
from wardround.governance.report.data import ReportData, RoundFacts, SetupFacts

_KINDS = {
    "outcome_counts": "Outcome counts",
    "moments": "Means and variances",
    "histogram": "Quantiles",
    "newton_logistic": "Fit, Newton steps",
    "newton_linear": "Fit, Newton steps",
    "fold_newton": "Choice of the ridge, fits",
    "fold_scores": "Choice of the ridge, scores",
    "fedavg": "Fit, federated averaging",
    "buffered_fedavg": "Fit, averages of whoever was ready",
    "score_histogram": "Evaluation",
    "prediction_moments": "Evaluation",
    "private_moments": "Noisy means and variances",
    "private_histogram": "Noisy histograms",
    "private_gradient": "Fit, noisy steps",
    "private_products": "Fit, one noisy sum",
    "private_fedavg": "Fit, averages of locally noisy steps",
    "private_scores": "Noisy evaluation",
    "private_residuals": "Noisy evaluation",
}

_SETUPS = "Set-up of masking keys"


def lanes(data: ReportData) -> tuple[list[dict[str, object]], Markup | None]:
    """A lane for the set-ups and one for each kind of round, and the axis under them."""
    if not data.rounds:
        return [], None
    spans: dict[str, list[plots.Span]] = {}
    opened: dict[str, int] = {}
    for number, one in enumerate(data.setups):
        where = f"Set-up {number + 1}" + ("" if one.group is None else f", group {one.group}")
        spans.setdefault(_SETUPS, []).append(_span(data, one, where))
    for entry in data.rounds:
        label = kind_label(entry.kind)
        spans.setdefault(label, []).append(_span(data, entry, place(entry), len(entry.dropped)))
        opened[label] = opened.get(label, 0) + entry.opened_numbers
    breaks = [_since(data, at) for at in data.resumed]
    ends = [span.start_s + span.length_s for lane in spans.values() for span in lane]
    scale = plots.Scale.around([0.0, *ends, *breaks], floor=0.0)
    drawn: list[dict[str, object]] = [
        {
            "label": label,
            "strip": plots.timeline_strip(scale, lane, breaks),
            "count": str(len(lane)),
            "opened": f"{opened[label]:,}" if label in opened else "",
        }
        for label, lane in spans.items()
    ]
    return drawn, plots.axis_strip(scale)


def _span(
    data: ReportData, entry: RoundFacts | SetupFacts, where: str, dropped: int = 0
) -> plots.Span:
    start_s, label = _since(data, entry.started), f"{where}: {entry.seconds:.2f} s"
    return plots.Span(start_s, entry.seconds, label, entry.completed, dropped)


def _since(data: ReportData, at: datetime) -> float:
    return max((at - data.started).total_seconds(), 0.0)


def kind_label(kind: str) -> str:
    """A task kind in words; an unknown one keeps its name."""
    return _KINDS.get(kind, kind.replace("_", " ").capitalize())


def place(entry: RoundFacts) -> str:
    """Which round it is, counted from one, as people do."""
    if ".c." in entry.round:  # late cohorts are counted for themselves
        return f"Cohort {entry.step + 1}"
    where = "" if entry.group is None else f", group {entry.group}"
    return f"Step {entry.step + 1}{where}, attempt {entry.attempt + 1}"


def rounds_note(data: ReportData) -> str:
    """What a round is, how long most took, and when the coordinator had been away."""
    rounds = data.rounds
    if not rounds:
        return ""
    times = sorted(entry.seconds for entry in rounds if entry.completed)
    middle = f" Half of them took under {times[len(times) // 2]:.2f} s." if times else ""
    asked = "every hospital" if rounds[0].group is None else "every hospital of a group"
    away = _away([_since(data, at) for at in data.resumed])
    return f"A round is one question to {asked} and one sum as the answer.{middle}{away}"


_NAMED = 5
"""So many restarts are named each; of more, only the number."""


def _away(resumed_s: Sequence[float]) -> str:
    if not resumed_s:
        return ""
    times = "once" if len(resumed_s) == 1 else f"{len(resumed_s)} times"
    when = ", ".join(f"{at:.0f}\N{NO-BREAK SPACE}s" for at in resumed_s)
    named = f", {when} after the start" if len(resumed_s) <= _NAMED else ""
    return (
        f" The coordinator was away and went on {times}{named} (dashed lines); while it was away, "
        "the time of what was under way went on."
    )
