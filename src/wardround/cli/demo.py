"""``wardround demo``: the whole way on one machine, with what happens shown as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wardround.cli.console import Json, emit, err, say, suggest, table

if TYPE_CHECKING:
    from wardround.governance.report import Performance
    from wardround.simulation.demo import Demonstration

_STEPS = {
    "outcome_counts": "counting outcomes",
    "moments": "means and variances",
    "histogram": "quantiles",
    "newton_logistic": "Newton step",
    "newton_linear": "Newton step",
    "fold_newton": "cross-validation",
    "fold_scores": "cross-validation",
    "fedavg": "federated averaging",
    "score_histogram": "evaluation",
    "prediction_moments": "evaluation",
    "private_moments": "noisy means and variances",
    "private_histogram": "noisy histograms",
    "private_gradient": "noisy step",
    "private_scores": "noisy evaluation",
}


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where everything is written.")] = Path(
        "demo-output"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="The folder of the UCI heart-disease data: four real hospitals instead."),
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="Add noise: differential privacy with epsilon 1.5."),
    ] = False,
    json: Json = False,
) -> None:
    """Run a coordinator and four hospital agents as separate processes, and show the result.

    The biopsies are real and public; the four hospitals are artificial. With --data the hospitals
    are real as well: Cleveland, Budapest, Switzerland and Long Beach. Profile secure-sum: masked
    sums, no differential privacy; with --private the profile private.
    """
    from wardround.governance.summary import summarise
    from wardround.simulation.demo import run_demo
    from wardround.simulation.demo_studies import biopsies, heart_disease
    from wardround.study import Profile

    if private and data is not None:
        raise typer.BadParameter("The heart-disease study has no private form: leave --data out.")
    profile = Profile.PRIVATE if private else Profile.SECURE_SUM
    played = biopsies(profile) if data is None else heart_disease(data)
    say(played.opening)
    screen = _Screen()
    with screen:
        done = run_demo(folder, played, screen.take)
    summary = summarise(done.data).model_dump(mode="json")
    emit(summary, json, human=None if json else _table(done))
    _say_what_holds(done)
    suggest(f"wardround verify {done.folder / 'evidence.json'} --model {done.folder / 'model'}")
    say(f"Report: {done.folder / 'report.html'}")


class _Screen:
    """One line a party, refreshed where a person looks; plain lines where nobody does."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, str]] = {}
        self._line = "Making keys"
        self._live = Live(self, console=err, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if err.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if err.is_terminal:
            self._live.stop()

    def __rich__(self) -> Group:
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("hospital", "records", "answers", "state"):
            grid.add_column(name, justify="right" if name in ("records", "answers") else "left")
        for who, row in self._rows.items():
            grid.add_row(who, row.get("records", ""), row.get("answers", "0"), row.get("state", ""))
        return Group(grid, Text(self._line, style="bold"))

    def take(self, who: str, event: dict[str, object]) -> None:
        """Show an event of one party."""
        before = self._line
        match event:
            case {"event": "keys"}:
                self._line = "Making keys and writing the study"
            case {"event": "listening"}:
                self._line = "The coordinator listens; the hospitals enrol"
            case {"event": "approving"}:
                self._line = "Every hospital signs the study with its own key"
            case {"event": "run"}:
                self._line = "The run has begun"
            case {"event": "round", "step": int(step), "kind": str(kind)}:
                seconds = event.get("seconds", 0.0)
                survivors, roster = event.get("survivors"), event.get("roster")
                self._line = (
                    f"Sum {step + 1}: {_STEPS.get(kind, kind)}, "
                    f"{survivors} of {roster} hospitals, {seconds:.2f} s"
                )
            case {"event": "published"}:
                self._line = "The evidence is verified, the report written"
            case _:
                self._hospital(who, event)
        if self._line != before and not err.is_terminal:
            say(self._line)

    def _hospital(self, who: str, event: dict[str, object]) -> None:
        if who in ("coordinator", "everyone"):
            return
        row = self._rows.setdefault(who, {})
        match event:
            case {"event": "records", "used": used, "total": total}:
                row["records"], row["state"] = f"{used} of {total}", "records harmonised"
            case {"event": "sandbox"}:
                row["state"] = "worker confined"
            case {"event": "connected"}:
                row["state"] = "connected"
            case {"event": "answered", "what": what}:
                row["answers"] = str(int(row.get("answers", "0")) + 1)
                row["state"] = _STEPS.get(str(what), str(what))
            case {"event": "refused"}:
                row["state"] = "refused"
            case {"event": "finished"}:
                row["state"] = "model checked and countersigned"


def _table(done: Demonstration) -> Table:
    """What each model was worth; fits 80 columns."""
    data = done.data
    made = table((), ())
    # Short enough for 80 columns; on a narrower terminal intervals go to a line of their own.
    for name in ("fitted to", "records", "AUROC (95 %)", "accuracy (95 %)", "sent"):
        made.add_column(name, justify="left" if name == "fitted to" else "right")
    made.show_header = True
    for site in data.sites:
        made.add_row(
            site.name,
            f"{site.records_used} of {site.records_total}",
            *_figures(site.alone),
            _size(site.bytes_out),
        )
    used = sum(site.records_used for site in data.sites)
    total = sum(site.records_total for site in data.sites)
    made.add_section()
    made.add_row(
        "all, federated",
        f"{used} of {total}",
        *_figures(data.evaluation.held_out),
        _size(sum(site.bytes_out for site in data.sites)),
        style="bold",
    )
    if data.exact is not None:
        made.add_row("same, exact (demo only)", "", *_figures(data.exact), "")
    made.add_row("all, pooled", f"{used} of {total}", *_figures(data.pooled), "all")
    return made


def _size(count: int) -> str:
    return f"{count / 1000:.0f} kB" if count < 999_500 else f"{count / 1e6:.1f} MB"


def _figures(performance: Performance | None) -> tuple[str, str]:
    if performance is None:
        return "–", "–"
    return (
        _interval(performance.auroc, performance.auroc_low, performance.auroc_high),
        _interval(performance.accuracy, performance.accuracy_low, performance.accuracy_high),
    )


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def _say_what_holds(done: Demonstration) -> None:
    data = done.data
    verified = data.verification is not None and data.verification.ok
    checks = len(data.verification.checks) if data.verification else 0
    say(f"Evidence: {checks} checks, {'all hold' if verified else 'NOT ALL HOLD'}.")
    if data.privacy is None:
        say("Profile secure-sum: masked sums, no differential privacy.")
    else:
        say(f"Profile private: masked sums with noise. {data.privacy.words}")
        say("Alone and pooled are fitted without noise, for comparison: nothing of them leaves.")
        say("Federated is fitted and measured with noise; its intervals include the measuring.")
        if data.exact is not None:
            say("Exact is the same model on the public records: only a demonstration can know it.")
    say("Hospitals alone are tested on their own held-out records, so their rows don't compare.")
    say("Pooled is the reference that no real study has: all records in one place.")
    for note in done.notes:
        say(note)
    if done.missing_limits:
        for name, reason in sorted(done.missing_limits.items()):
            say(f"Sandbox: this host does not enforce {name}: {reason}")
    else:
        say("Sandbox: everything that Wardround can ask of a host was enforced.")
    say(f"Took {done.seconds:.0f} s.")
