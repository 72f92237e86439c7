"""A timeline for the eye: what is waited for on top, a line for each hospital below."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wardround.cli.console import printable
from wardround.coordinator import timewords as words
from wardround.coordinator.stages import Stage
from wardround.coordinator.timeline import Doing, Lane, Mark, Timeline

_MARKS = {
    Mark.ANSWERED: ("●", "green"),
    Mark.OPEN: ("◌", "cyan"),
    Mark.MISSING: ("○", "yellow"),
    Mark.REFUSED: ("×", "red"),
    Mark.LEFT_OUT: ("·", "dim"),
    Mark.NOT_READY: ("·", "dim"),
}
_LEGEND = "● answered  ○ missing  × refused  · not in the cohort  ◌ open"

_BAR = 24
"""The longest bar of answers, in letters."""

_LIGHTS = {
    Doing.ANSWERED: "green",
    Doing.WAITED_FOR: "cyan",
    Doing.REFUSED: "red",
    Doing.MISSING: "yellow",
    Doing.LEFT_OUT: "yellow",
    Doing.NOT_ENROLLED: "red",
    Doing.NOT_APPROVED: "red",
    Doing.NOT_ASKED: "dim",
}


def picture(found: Timeline, width: int = 100, folder: Path = Path()) -> RenderableType:
    """The whole timeline; ``width`` decides how many rounds are shown.

    ``folder`` is the coordinator's, as it was typed: for the command that comes next.
    """
    parts: list[RenderableType] = [Text(printable(words.headline(found)), style="bold"), ""]
    parts += [_stage(found, stage) for stage in found.stages]
    if not found.alive and found.state in ("waiting", "running", "ending"):
        serve = f"wardround coordinator serve {quote(str(folder))}"
        parts.append(
            Text(printable(f"No coordinator is serving this folder: `{serve}`."), "yellow")
        )
    parts += ["", _lanes(found, max(6, min(40, width - 62)))]
    if any(lane.marks for lane in found.lanes):
        parts.append(Text(f"\n{_LEGEND}", style="dim"))
    parts += _refusals(found)
    return Group(*parts)


def lines(found: Timeline) -> list[str]:
    """What is new, as plain lines for a log."""
    time = f"{found.at:%H:%M:%S}"
    told = []
    for stage in found.stages:
        where = words.place(found, stage)
        next_ = words.following(found, stage)
        told.append(
            f"{time}  {f'{where}: ' if where else ''}waiting for {words.waiting(found, stage)}"
            + (f"; next: {next_}" if next_ else "")
        )
    for lane in found.lanes:
        if lane.hindered is not None:
            told.append(f"{time}  {lane.site} {words.hindrance(found, lane)}")
        if lane.doing is Doing.REFUSED:
            told.append(f"{time}  {lane.site} {words.refusal(lane) or 'refused'}")
    return [printable(line) for line in told]


def _stage(found: Timeline, stage: Stage) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = (
        ("at", words.place(found, stage), ""),
        ("waiting for", words.waiting(found, stage), "bold cyan" if stage.waits_for else ""),
        ("then", words.following(found, stage), ""),
    )
    for name, text, style in rows:
        if text:
            grid.add_row(name, Text(printable(text), style))
    if stage.asked:
        grid.add_row("answers", _bar(len(stage.answered), stage.asked, stage.enough))
    return grid


def _bar(answered: int, asked: int, enough: int | None) -> Text:
    """How many have answered, of how many, and how many suffice once the deadline has passed."""
    length = min(_BAR, asked * 4)
    done = round(length * min(answered / asked, 1.0))
    need = "" if enough is None or enough >= asked else f", {enough} are enough at the deadline"
    return Text.assemble(
        ("━" * done, "green"),
        ("━" * (length - done), "bright_black"),
        f" {answered} of {asked}{need}",
    )


def _lanes(found: Timeline, rounds: int) -> Table:
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column("hospital", no_wrap=True)
    made.add_column("now", overflow="fold")
    made.add_column("for", justify="right", no_wrap=True)
    made.add_column("answered", justify="right", no_wrap=True)
    made.add_column("rounds", no_wrap=True)
    for lane in found.lanes:
        phase = _phase_of(found, lane)
        age = "" if lane.since is None else words.span((found.at - lane.since).total_seconds())
        made.add_row(
            Text.assemble(("▌ ", _LIGHTS[lane.doing]), printable(lane.site)),
            Text(words.doing(found, lane, phase), style=_LIGHTS[lane.doing]),
            Text(age, style="dim"),
            words.tally(lane),
            _strip(lane.marks[-rounds:]),
        )
    return made


def _phase_of(found: Timeline, lane: Lane) -> str:
    stage = next((one for one in found.stages if one.group == lane.group), found.stages[0])
    return stage.phase


def _strip(marks: tuple[Mark, ...]) -> Text:
    return Text.assemble(*(_MARKS[mark] for mark in marks))


def _refusals(found: Timeline) -> list[RenderableType]:
    """What each hospital waits for at its own end, and its last refusal: for the telephone."""
    shown: list[RenderableType] = []
    for lane in found.lanes:
        if lane.hindered is not None:
            waits = f" {words.hindrance(found, lane)}"
            shown.append(Text.assemble((printable(lane.site), "bold"), waits, style="yellow"))
        if lane.refusal is not None:
            at = "" if lane.refusal.at is None else f"{lane.refusal.at:%H:%M:%S} "
            text = Text.assemble(
                (f"{at}", "dim"), (printable(lane.site), "bold"), f" {words.refusal(lane)}"
            )
            shown.append(text)
    return ["", *shown] if shown else []
