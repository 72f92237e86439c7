"""The page of a simulated privacy audit: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from wardround.governance.audit import drawing
from wardround.governance.audit.result import Attribute, Membership, PrivacyAudit
from wardround.governance.files import write_whole
from wardround.governance.report import plots
from wardround.pages import Page
from wardround.privacy.attacks import Reconstruction
from wardround.privacy.attacks.membership import LOW
from wardround.privacy.statement import short

NAME = "simulated-privacy-audit.html"
"""What the page is called unless somebody says otherwise."""

CAN_NOT_SHOW = (
    (
        "That the claim is true.",
        "A bound from below says how much can be learnt at least. The claim says how much at most, "
        "and is a proof. Nothing found by an attack replaces it.",
    ),
    (
        "That no better attack exists.",
        "These four families of attacks were tried, in the strength that is described. Whoever "
        "knows a better one learns more, up to the claim.",
    ),
    (
        "What a hospital’s installation does.",
        "The same code ran here as runs there, but on this machine, over other data. An altered "
        "installation, a broken generator of randomness or a stolen key is not seen from here.",
    ),
    (
        "What leaves by another way.",
        "Times, sizes, refusals, logs and people are no part of the releases that were attacked.",
    ),
    (
        "What a population learns.",
        "That smoking goes with disease can be learnt with or without any one patient. Inferring a "
        "feature as well for strangers as for patients is knowledge, and no privacy definition "
        "for patients hides it.",
    ),
    (
        "More than chance allows.",
        "One bound in twenty at 95 % lies above the truth. Running again until the page looks "
        "better, or worse, voids it.",
    ),
)


def render_audit(audit: PrivacyAudit) -> str:
    """The whole page as text; the same audit always gives the same page."""
    canaries, statement = audit.canaries, audit.statement
    scale = plots.Scale.around([0.0, canaries.epsilon, canaries.claim], floor=0.0)
    rows, errors = _errors(audit.division, audit.search)
    return _PAGE.render(
        audit=audit,
        statement=statement,
        lines=_once(statement.lines()),
        headline=_headline(audit),
        bound=drawing.bound_strip(canaries.epsilon, canaries.claim, scale),
        bound_axis=plots.axis_strip(scale),
        histogram=drawing.canary_histogram(
            canaries.scores, canaries.included, canaries.plan.guesses
        ),
        share_right=f"{100 * canaries.correct / canaries.plan.guesses:.1f}",
        other_delta=canaries.plan.delta != statement.delta,
        roc=plots.roc_plot(
            [_curve("alone", audit.membership_clear), _curve("federated", audit.membership)],
            _roc_words(audit),
            zoom=False,
            allowed=drawing.allowed_region(statement.epsilon, statement.delta),
        ),
        rates=_rates(audit),
        errors=rows,
        error_axis=errors,
        attribute=_attribute(audit.attribute) if audit.attribute else None,
        can_not_show=CAN_NOT_SHOW,
        facts=_facts(audit),
    )


def save_audit(audit: PrivacyAudit, path: Path) -> None:
    """Write the page, replacing an older one in one step; raises WR-GOV-004 if it can't."""
    write_whole(path, render_audit(audit).encode())


def _percent(value: float) -> str:
    """A share in per cent, one decimal, with a real minus sign."""
    return f"{100 * value:.1f}\u00a0%".replace("-", "\N{MINUS SIGN}")


_PAGE = Page(
    Path(__file__).parent,
    "audit",
    Path(__file__).parents[1] / "sheet.css",
    short=short,
    percent=_percent,
)


def _once(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Labelled lines, of equal labels only the first one said."""
    before = [None, *(label for label, _ in lines)]
    return [
        ("" if label == earlier else label, text)
        for earlier, (label, text) in zip(before, lines, strict=False)
    ]


def _headline(audit: PrivacyAudit) -> list[dict[str, str]]:
    canaries, membership = audit.canaries, audit.membership
    division = audit.division
    return [
        {
            "name": "Claimed, at most",
            "figure": f"ε {short(audit.statement.epsilon)}",
            "note": f"at delta {short(audit.statement.delta)}",
        },
        {
            "name": "Shown, at least",
            "figure": f"ε {canaries.epsilon:.2f}",
            "note": f"by {canaries.plan.guesses:,} guesses, "
            f"{100 * canaries.plan.confidence:g} % confident",
            "bad": "bad" if audit.exceeded else "",
        },
        {
            "name": "Members found",
            "figure": _percent(membership.true_positives),
            "note": f"with {_percent(LOW)} false alarms; the claim allows "
            f"{_percent(audit.allowed_true_positives)}",
        },
        {
            "name": "Records rebuilt",
            "figure": str(division.exact),
            "of": f"of {division.patients}",
            "note": "within 1 %, by division, in spite of the noise",
        },
    ]


def _curve(kind: str, membership: Membership) -> plots.Curve:
    """At most a few hundred points: more would be a file, not a picture."""
    false, true = membership.curve.false_positives, membership.curve.true_positives
    stride = max(1, len(false) // 300)
    points = list(zip(false[::stride].tolist(), true[::stride].tolist(), strict=True))
    return plots.Curve(kind, (*points, (1.0, 1.0)))


def _roc_words(audit: PrivacyAudit) -> str:
    return (
        "True-positive against false-positive rate of the membership attack. Area under the curve "
        f"{audit.membership_clear.area:.3f} without noise, {audit.membership.area:.3f} with the "
        "study's noise; the tinted region is what the claim allows."
    )


def _rates(audit: PrivacyAudit) -> list[tuple[str, str, str, str]]:
    clear, noisy = audit.membership_clear, audit.membership
    return [
        (
            "Members found at 1 % false alarms",
            _percent(clear.true_positives),
            _percent(noisy.true_positives),
            _percent(audit.allowed_true_positives),
        ),
        ("Area under the curve", f"{clear.area:.3f}", f"{noisy.area:.3f}", ""),
        (
            "Advantage over a coin",
            _percent(clear.advantage),
            _percent(noisy.advantage),
            _percent(audit.allowed_advantage),
        ),
    ]


def _errors(
    division: Reconstruction, search: Reconstruction
) -> tuple[list[dict[str, object]], Markup]:
    both = (
        ("By division", "two divisions undo a layer with a bias; all steps added up", division),
        ("By search", "a small network without biases, one step", search),
    )
    values = [value for *_, one in both for value in (one.without_noise, one.with_noise)]
    scale = drawing.error_scale(values)
    rows: list[dict[str, object]] = []
    for label, note, one in both:
        marks = (
            drawing.error_mark("alone", one.without_noise),
            drawing.error_mark("federated", one.with_noise),
        )
        strip = plots.interval_strip(scale, marks, origin=0.0, height=54)
        rows.append(
            {
                "label": label,
                "note": f"{note}; {one.patients} patients",
                "strip": strip,
                "without": _error(one.without_noise),
                "noisy": _error(one.with_noise),
            }
        )
    return rows, drawing.error_axis(scale)


def _error(value: float) -> str:
    if value < 1e-4:
        return "exact"
    return f"{100 * value:.0f}\u00a0%" if value >= 0.01 else f"{100 * value:.2f}\u00a0%"


def _attribute(found: Attribute) -> dict[str, object]:
    shares = [
        share
        for one in (found.without_noise, found.with_noise)
        for share in (one.members, one.others, one.base_rate)
    ]
    scale = plots.Scale.around([*shares, 0.5, 1.0], floor=0.0, ceiling=1.0)
    rows = []
    for label, one in (
        ("Without noise", found.without_noise),
        ("With the study’s noise", found.with_noise),
    ):
        marks = (plots.Mark("federated", one.members), plots.Mark("alone", one.others))
        rows.append(
            {
                "label": label,
                "strip": plots.interval_strip(scale, marks, height=54),
                "members": _percent(one.members),
                "others": _percent(one.others),
                "advantage": _percent(one.advantage),
                "over": _percent(one.over_base_rate),
            }
        )
    return {
        "feature": found.feature.replace("_", " "),
        "base": _percent(found.with_noise.base_rate),
        "rows": rows,
        "axis": plots.axis_strip(scale),
    }


def _facts(audit: PrivacyAudit) -> list[tuple[str, str]]:
    settings = audit.settings
    rate = "everybody in every step"
    if audit.sampling_rate < 1:
        rate = f"each patient in a step with probability {short(audit.sampling_rate)}"
    left = f"; {audit.left_out:,} rows left out as incomplete or out of range"
    return [
        ("Study", f"{audit.study}, version {audit.version}"),
        ("Patients", f"{audit.patients:,} ({audit.source}){left if audit.left_out else ''}"),
        (
            "Training",
            f"{audit.algorithm}: {audit.steps:,} noisy steps, noise multiplier "
            f"{short(audit.noise_multiplier)}, {rate}",
        ),
        (
            "Simplified",
            "Features are standardised by the table’s own moments, the clipping norm is not "
            "adapted, all patients are at one hospital, and sums are divided by their expected "
            "number in the table",
        ),
        (
            "Canaries",
            f"{audit.canaries.plan.canaries:,}, each with a lane of its own in all "
            f"{audit.canaries.releases:,} releases that the plan allows, repeated rounds included",
        ),
        ("Shadow models", f"{settings.shadows}, and {settings.targets} attacked models"),
        ("Time", f"{audit.when:%d %B %Y, %H:%M %Z}; {audit.seconds:.1f} s"),
    ]
