"""Writes the report: one HTML file that loads nothing, runs no script and prints well.

All text goes through the template's escaping (:mod:`wardround.pages`); what is marked as safe was
built in `plots` from numbers and escaped text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from wardround.governance.files import write_whole
from wardround.governance.findings import LEVELS
from wardround.governance.report import plots
from wardround.governance.report.absences import effect, steps
from wardround.governance.report.attendance import attendance
from wardround.governance.report.data import (
    CalibrationBin,
    Coefficient,
    LocalReport,
    ModelFacts,
    Performance,
    ReportData,
    RoundFacts,
)
from wardround.governance.report.moved import moved
from wardround.governance.report.protections import adversary, in_force, limits
from wardround.governance.report.spans import lanes, place, rounds_note
from wardround.learning.metrics import wilson
from wardround.pages import Page
from wardround.privacy.statement import short

Z95 = 1.959963984540054
"""The normal quantile of two-sided 95 % intervals."""

_HOW = {
    "newton": "secure Newton steps",
    "fedavg": "federated averaging",
    "dp-sgd": "noisy gradient steps over all hospitals together",
    "noisy-statistics": "one noisy sum of products",
}


def render_report(data: ReportData) -> str:
    """The whole page as text; the same data always give the same page."""
    shares = _ShareAxes.of(data)
    curves = _curves(data)
    zoomed = (data.evaluation.held_out.auroc or 0.0) >= 0.9
    coefficients, coefficient_axis = _coefficients(data.model.coefficients)
    ridges, ridge_axis = _ridges(data.model)
    drawn, time_axis = lanes(data)
    return _PAGE.render(
        data=data,
        study=data.study,
        verification=data.verification,
        level_meaning=LEVELS[data.level],
        headline=_headline(data),
        comparison=_comparison(data, shares) if shares else (),
        roc=plots.roc_plot(curves, _roc_description(data), zoom=zoomed) if curves else None,
        zoomed=zoomed,
        any_alone=any(curve.kind == "alone" for curve in curves),
        calibration=_calibration(data.evaluation.calibration),
        calibration_note=_calibration_note(data),
        model_note=_model_note(data),
        coefficient_heading="Log odds" if data.model.kind == "logistic" else "Effect",
        coefficients=coefficients,
        ridges=ridges,
        budget=_budget(data),
        delta="" if data.privacy is None else short(data.privacy.delta),
        egress=_egress(data.sites),
        records=[_record_row(site, data.sites) for site in data.sites],
        lanes=drawn,
        rounds_note=rounds_note(data),
        moved=moved(data),
        attendance=attendance(data.study.sites, data.rounds),
        incidents=_incidents(data.rounds),
        absences=_absences(data),
        effect=effect(data.rounds),
        axes={
            "auroc": plots.axis_strip(shares.auroc) if shares else None,
            "accuracy": plots.axis_strip(shares.accuracy) if shares else None,
            "coefficients": coefficient_axis,
            "ridges": ridge_axis,
            "timeline": time_axis,
        },
        in_force=in_force(data),
        limits=limits(data),
        adversary=adversary(data),
        facts=_facts(data),
    )


def save_report(data: ReportData, path: Path) -> None:
    """Write ``report.html``, replacing an older one in one step."""
    write_whole(path, render_report(data).encode())


def share(value: float) -> str:
    """A share with three decimals."""
    return f"{value:.3f}"


_PAGE = Page(Path(__file__).parent, "report", Path(__file__).parents[1] / "sheet.css", share=share)


def size(count: int) -> str:
    """A size in decimal units, three significant digits."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000.0
    return f"{value:.3g} {unit}" if unit != "B" else f"{count} B"


def signed(value: float) -> str:
    """Two decimals with a real minus sign."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class _ShareAxes:
    auroc: plots.Scale
    accuracy: plots.Scale

    @classmethod
    def of(cls, data: ReportData) -> _ShareAxes | None:
        shown = [p for _, p in _models(data)]

        def axis(name: str) -> plots.Scale | None:
            ends = ("", "_low", "_high")
            values = [getattr(p, name + end) for p in shown for end in ends]
            known = [value for value in values if value is not None]
            return plots.Scale.around([*known, 1.0], floor=0.0, ceiling=1.0) if known else None

        auroc, accuracy = axis("auroc"), axis("accuracy")
        return cls(auroc, accuracy) if auroc and accuracy else None


def _models(data: ReportData) -> list[tuple[str, Performance]]:
    """Every model with figures of its own, as (class, figures)."""
    alone = [("alone", site.alone) for site in data.sites if site.alone]
    exact = [("federated", data.exact)] if data.exact else []
    pooled = [("pooled", data.pooled)] if data.pooled else []
    return [*alone, ("federated", data.evaluation.held_out), *exact, *pooled]


def _comparison(data: ReportData, axes: _ShareAxes) -> list[dict[str, object]]:
    labels = [(site.name, f"{site.n_train:,} records") for site in data.sites if site.alone]
    trained = sum(site.n_train for site in data.sites)
    labels.append(("All, federated", "no record moved"))
    if data.exact:
        labels.append(("The same, measured exactly", "possible in a demonstration only"))
    labels.append(("All, pooled", f"{trained:,} records, reference" if trained else "reference"))
    rows: list[dict[str, object]] = []
    for (kind, performance), (label, note) in zip(_models(data), labels, strict=False):
        row: dict[str, object] = {
            "kind": kind,
            "label": label,
            "note": note,
            "performance": performance,
        }
        for name, axis in (("auroc", axes.auroc), ("accuracy", axes.accuracy)):
            value = getattr(performance, name)
            ends = (getattr(performance, name + "_low"), getattr(performance, name + "_high"))
            marks = [plots.Mark(kind, value, *ends)] if value is not None else []
            row[name] = plots.interval_strip(axis, marks, height=62)
        rows.append(row)
    return rows


def _headline(data: ReportData) -> list[dict[str, str]]:
    held_out = data.evaluation.held_out
    items: list[dict[str, str]] = []

    def add(name: str, figure: str, note: str, of: str = "") -> None:
        items.append({"name": name, "figure": figure, "note": note, "of": of})

    for name, label in (("auroc", "AUROC"), ("accuracy", "Accuracy")):
        value, low = getattr(held_out, name), getattr(held_out, name + "_low")
        if value is not None:
            high = getattr(held_out, name + "_high")
            ends = f"95 %: {share(low)}–{share(high)}" if low is not None else "held out"
            add(label, share(value), ends)
    if held_out.r_squared is not None:
        add("Variance explained", share(held_out.r_squared), "on held-out records")
    if held_out.rmse is not None:
        add("Typical error", f"{held_out.rmse:.3g}", "root mean square, held out")
    if data.privacy is not None:
        note = f"δ {short(data.privacy.delta)}, a patient at one hospital"
        add("Epsilon", f"{data.privacy.epsilon:.3g}", note)
    add("Hospitals", str(len(data.study.sites)), "each signed the study")
    if data.sites:
        used = sum(site.records_used for site in data.sites)
        total = sum(site.records_total for site in data.sites)
        add("Records used", f"{used:,}", "none left its hospital", f"of {total:,}")
        sent = sum(site.bytes_out for site in data.sites)
        add("Left the hospitals", size(sent), "masked and signed, in all")
    completed = sum(entry.completed for entry in data.rounds)
    seconds = (data.finished - data.started).total_seconds()
    add("Rounds", str(completed), f"in {seconds:.1f} s")
    return items


def _curves(data: ReportData) -> list[plots.Curve]:
    order = {"alone": 0, "pooled": 2, "federated": 1}
    drawn = [(kind, p.roc) for kind, p in _models(data) if len(p.roc) > 1]
    drawn.sort(key=lambda item: order[item[0]])
    return [plots.Curve(kind, points) for kind, points in drawn]


def _roc_description(data: ReportData) -> str:
    parts = [
        f"{kind}: {p.auroc:.3f}"
        for kind, p in _models(data)
        if p.auroc is not None and len(p.roc) > 1
    ]
    return "Sensitivity against false-positive rate. Area under the curve, " + "; ".join(parts)


def _calibration(bins: tuple[CalibrationBin, ...]) -> Markup | None:
    drawn = []
    for entry in bins:
        if entry.records > 0:
            low, high = wilson(entry.observed * entry.records, entry.records)
            drawn.append(plots.Bin(entry.predicted, entry.observed, low, high, entry.records))
    if not drawn:
        return None
    words = "; ".join(f"predicted {b.predicted:.2f}, observed {b.observed:.2f}" for b in drawn)
    return plots.calibration_plot(drawn, words)


def _calibration_note(data: ReportData) -> str:
    evaluation = data.evaluation
    parts = ["On the diagonal, predictions mean what they say; pale columns show where records lie"]
    if evaluation.calibration_slope is not None:
        parts.append(f"slope {signed(evaluation.calibration_slope)}")
    if evaluation.calibration_intercept is not None:
        parts.append(f"intercept {signed(evaluation.calibration_intercept)}")
    if evaluation.brier is not None:
        parts.append(f"Brier score {share(evaluation.brier)}")
    return "; ".join(parts) + "."


def _model_note(data: ReportData) -> str:
    model = data.model
    kind = "Logistic" if model.kind == "logistic" else "Linear"
    penalty = f" with ridge {model.ridge:g}" if model.ridge else ""
    if model.ridge_losses:
        penalty += f" (of {len(model.ridge_losses)}, by {model.folds}-fold cross-validation)"
    how = _HOW.get(model.algorithm, model.algorithm)
    if data.privacy is not None and model.algorithm == "fedavg":
        how = "averages of models that each hospital trained by noisy steps of its own"
    stop = f" Stopped: {model.stopping}." if model.stopping else ""
    return (
        f"{kind} regression{penalty} by {how}. Coefficients are per standard deviation of the "
        f"feature over all hospitals.{stop}"
    )


def _coefficients(rows: tuple[Coefficient, ...]) -> tuple[list[dict[str, object]], Markup | None]:
    if not rows:
        return [], None
    intervals = [
        (row.value, row.value, row.value)
        if row.standard_error is None
        else (
            row.value,
            row.value - Z95 * row.standard_error,
            row.value + Z95 * row.standard_error,
        )
        for row in rows
    ]
    scale = plots.Scale.around([0.0, *(value for ends in intervals for value in ends)])
    drawn: list[dict[str, object]] = []
    for row, (value, low, high) in zip(rows, intervals, strict=True):
        known = row.standard_error is not None
        mark = (
            plots.Mark("federated", value, low, high) if known else plots.Mark("federated", value)
        )
        drawn.append(
            {
                "label": row.label,
                "unit": "" if row.unit == "1" else row.unit,  # UCUM for no unit
                "strip": plots.interval_strip(scale, [mark], origin=0.0),
                "value": signed(value),
                "low": signed(low) if known else "",
                "high": signed(high) if known else "",
            }
        )
    return drawn, plots.axis_strip(scale)


def _ridges(model: ModelFacts) -> tuple[list[dict[str, object]], Markup | None]:
    """Each ridge's loss on what its fits did not see; the one that was chosen is marked."""
    if not model.ridge_losses:
        return [], None
    scale = plots.Scale.around([row.loss for row in model.ridge_losses])
    drawn: list[dict[str, object]] = [
        {
            "ridge": f"{row.ridge:g}",
            "strip": plots.interval_strip(
                scale, [plots.Mark("federated" if row.ridge == model.ridge else "alone", row.loss)]
            ),
            "loss": f"{row.loss:.4f}",
            "chosen": row.ridge == model.ridge,
        }
        for row in model.ridge_losses
    ]
    return drawn, plots.axis_strip(scale)


def _budget(data: ReportData) -> list[dict[str, object]]:
    if data.privacy is None:
        return []
    most = max(line.share for line in data.privacy.budget)
    return [
        {
            "purpose": line.purpose.capitalize(),
            "strip": plots.bar_strip(most, line.share),
            "share": f"{line.share:.0%}",
            "answered": f"{line.answered:,}",
            "allowed": f"{line.releases + line.spare:,}",
            "noise": f"{line.noise_multiplier:g}",
            "sampling": ""
            if line.sampling_rate == 1
            else f"each patient with chance {line.sampling_rate:g}",
        }
        for line in data.privacy.budget
    ]


def _egress(sites: tuple[LocalReport, ...]) -> list[dict[str, object]]:
    most = max((site.bytes_out for site in sites), default=0)
    return [
        {
            "name": site.name,
            "strip": plots.bar_strip(most, site.bytes_out),
            "size": size(site.bytes_out),
            "opened": f"{site.opened_numbers:,}",
        }
        for site in sites
    ]


def _record_row(site: LocalReport, sites: tuple[LocalReport, ...]) -> dict[str, object]:
    largest = max(other.records_total for other in sites)
    aside = site.records_total - site.records_used
    return {
        "name": site.name,
        "source": site.source or "",
        "strip": plots.bar_strip(largest, site.records_used, rest=aside),
        "used": f"{site.records_used:,}",
        "total": f"{site.records_total:,}",
        "train": f"{site.n_train:,}",
        "test": f"{site.n_test:,}",
        "let_pass": [
            f"{one.check}{f' ({one.concept})' if one.concept else ''}: {one.override}"
            for one in site.let_pass
        ],
        "reasons": ", ".join(
            f"{count}\u00d7 {reason.replace('_', ' ')}" for reason, count in site.quarantine.items()
        ),
    }


def _incidents(rounds: tuple[RoundFacts, ...]) -> list[str]:
    lines = []
    for entry in rounds:
        if entry.completed:
            continue
        who = ", ".join(entry.dropped)
        reason = entry.reason or "no total was opened"
        lines.append(f"{place(entry)}: {reason}" + (f" (missing: {who})." if who else "."))
    return lines


def _absences(data: ReportData) -> list[dict[str, object]]:
    return [
        {
            "site": one.site,
            "present": f"{one.present:,}",
            "missing": steps(one.missing),
            "not_asked": steps(one.not_asked),
        }
        for one in data.absences
    ]


def _facts(data: ReportData) -> list[tuple[str, str, str]]:
    study = data.study
    facts = [
        ("Study", f"{study.id}, version {study.version}", ""),
        ("Purpose", study.purpose, ""),
        ("Outcome", study.outcome.replace("_", " "), ""),
        ("Hospitals", ", ".join(study.sites), ""),
        ("Coordinator", study.coordinator, ""),
        ("Run", data.run, ""),
        ("Time", f"{data.started:%d %B %Y, %H:%M:%S} to {data.finished:%H:%M:%S %Z}", ""),
        ("Approval ends", f"{study.expires:%d %B %Y}" if study.expires else "", ""),
        ("Digest of the study", study.digest, "mono"),
        ("Digest of the model", data.model.digest, "mono"),
    ]
    return [fact for fact in facts if fact[1]]
