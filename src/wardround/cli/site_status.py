"""``wardround site status``: is the agent connected, what was asked, what was refused and why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wardround.site.home import SiteHome
    from wardround.site.status import SiteStatus


def status(
    folder: Annotated[Path, typer.Argument(help="The agent's folder.")] = Path(),
    run: Annotated[
        bool, typer.Option("--run", help="Ask the coordinator, too, what the run waits for.")
    ] = False,
    json: Json = False,
) -> None:
    """Say whether the agent is connected, what it was asked last, and what it refused and why.

    The reasons stay here: the coordinator has the same events by their incident numbers alone.
    With --run it also says what the run waits for, since when, and what comes next: what the
    coordinator tells this hospital of its own part.
    """
    from datetime import UTC

    from wardround.site.home import SiteHome
    from wardround.site.status import status as look

    now = datetime.now(UTC)
    found = look(SiteHome(folder), now)
    document, rows = _document(found), {} if json else _rows(found, now)
    if run:
        _add_run(SiteHome(folder), document, rows)
    emit(document, json, human=None if json else _shown(found, rows))


def _add_run(home: SiteHome, document: dict[str, object], rows: dict[str, str]) -> None:
    """What the coordinator says now; where it says nothing, why. The rest is shown all the same."""
    from wardround.errors import WardroundError
    from wardround.site.asking import ask_waiting

    try:
        waiting = ask_waiting(home)
    except WardroundError as error:
        document["run"] = {"code": error.code, "problem": error.problem}
        rows["run"] = f"{error.code}: {error.problem}"
        return
    document["run"] = asdict(waiting)
    rows["run"] = f"{waiting.run or 'none under way'}, {waiting.state}"
    rows["waiting for"] = waiting.words
    if waiting.next:
        rows["then"] = waiting.next


def _document(found: SiteStatus) -> dict[str, object]:
    from wardround.cli.explain import pages

    document = asdict(found)
    for refusal in document["refusals"]:
        page = pages().get(refusal["code"])
        refusal["title"] = None if page is None else page.title
    return document


def _shown(found: SiteStatus, rows: dict[str, str]) -> RenderableType:
    from rich.console import Group

    parts: list[RenderableType] = [table(("", ""), list(rows.items()))]
    if found.refusals:
        parts += ["", _refusals(found)]
    return Group(*parts)


def _rows(found: SiteStatus, now: datetime) -> dict[str, str]:
    from wardround.coordinator.timewords import span

    def ago(at: datetime | None) -> str:
        return "" if at is None else f"{span((now - at).total_seconds())} ago"

    life = found.life
    agent = {
        "never": "has not run yet: `wardround site run`",
        "running": f"running, started {ago(life.started)}",
        "silent": f"not running: its last sign was {ago(life.at)}",
        "ended": f"ended {ago(life.at)}{_how(found)}",
    }[life.state]
    rows = {
        "hospital": found.site,
        "study": found.study or "none approved yet",
        "agent": agent,
        "coordinator": f"{found.url or 'none yet'}{_line(found, ago(life.heard))}",
    }
    if life.asked is not None:
        step = life.asked.get("step")
        where = f", step {step + 1}" if isinstance(step, int) else ""
        at = datetime.fromisoformat(str(life.asked["at"]))
        rows["asked last"] = f"{life.asked['what']}{where}: {life.asked['answer']} {ago(at)}"
    elif found.answered is not None:
        last = None if found.answered.at is None else datetime.fromisoformat(found.answered.at)
        rows["answered last"] = f"{found.answered.asks} {ago(last)}".rstrip()
    rows["answers"] = f"{found.answers} packets, in all runs"
    if found.expires is not None and found.renews is not None:
        left, renews = (found.expires - now).total_seconds(), (found.renews - now).total_seconds()
        if left <= 0:
            rows["certificate"] = "has expired: enrol again with a new invitation"
        else:
            when = f"in about {span(renews)}" if renews > 0 else "at any moment, by a running agent"
            rows["certificate"] = f"valid for {span(left)}; renewed {when}"
    if found.allowance is not None:
        spent, epsilon = found.allowance.spent, found.allowance.epsilon
        rows["ledger"] = (
            f"epsilon {spent:.3g} of {epsilon:.3g} spent on this study; "
            f"{found.allowance.entries} entries in all"
        )
    if found.ledger_code is not None:
        rows["ledger"] = f"refuses: `wardround explain {found.ledger_code}`"
    return rows


def _how(found: SiteStatus) -> str:
    ended = found.life.ended or {}
    if ended.get("how") == "finished":
        return ": the run has finished"
    return f": {ended['code']}: {ended['problem']}" if "code" in ended else ": it was stopped"


def _line(found: SiteStatus, heard: str) -> str:
    life = found.life
    if life.state in ("never", "ended"):
        return ""
    trouble = f"; {life.trouble['code']}: {life.trouble['problem']}" if life.trouble else ""
    if life.connected:
        return f", connected: it answered {heard}{trouble}"
    return f", not connected{f': it last answered {heard}' if heard else ''}{trouble}"


def _refusals(found: SiteStatus) -> RenderableType:
    from wardround.cli.explain import pages
    from wardround.coordinator.timewords import about

    rows = []
    for one in found.refusals:
        page = pages().get(one.code)
        at = (one.at or "").replace("T", " ")[:19]
        why = "" if page is None else page.title
        rows.append((at, about(one.scope), one.incident or "", one.code, why))
    return table(("refused (UTC)", "what", "incident", "code", "why; it stays here"), rows)
