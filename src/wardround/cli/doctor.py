"""``wardround doctor``: what is wrong with an installation, and how to mend it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, printable, say
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wardround.checkup import Check, Result


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder of an agent or of a coordinator.")],
    json: Json = False,
) -> None:
    """Check an agent or a coordinator: what is wrong, and how to mend it.

    Changes nothing, and may run beside the service, as the same user. The exit code is 0 only if
    nothing is wrong and no check of security had to be skipped.
    """
    from wardround.checkup import examine, passed

    kind, checks = _checks(folder)
    results = examine(checks)
    well = passed(results)
    if json:
        emit(
            {
                "folder": str(folder),
                "kind": kind,
                "well": well,
                "checks": [
                    {
                        "area": one.area,
                        "name": one.name,
                        "state": one.state.value,
                        "security": one.security,
                        "found": one.found,
                        "code": one.code,
                        "remedy": one.remedy,
                        "path": one.path,
                    }
                    for one in results
                ],
            },
            json=True,
        )
    else:
        emit(None, human=_shown(results))
        say(_summary(results))
    if not well:
        raise typer.Exit(1)


def _checks(folder: Path) -> tuple[str, tuple[Check, ...]]:
    if (folder / "site.toml").exists():
        from wardround.site import doctor as site
        from wardround.site.home import SiteHome

        return "site", site.checks(SiteHome(folder))
    if (folder / "coordinator.toml").exists():
        from wardround.coordinator import doctor as coordinator
        from wardround.coordinator.home import CoordinatorHome

        return "coordinator", coordinator.checks(CoordinatorHome(folder))
    raise WardroundError(
        "WR-CLI-110",
        "This folder holds neither an agent nor a coordinator.",
        "Give the folder that `wardround site init` or `wardround coordinator init` made.",
        path=str(folder),
    )


_SIGNS = {
    "well": ("✓", "green"),
    "warning": ("!", "yellow"),
    "wrong": ("✗", "bold red"),
    "skipped": ("–", "dim"),
}


def _shown(results: tuple[Result, ...]) -> RenderableType:
    """One block for each area; under what is not well, how to mend it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    width = max(len(one.name) for one in results)
    parts: list[RenderableType] = []
    told: set[tuple[str | None, str | None]] = set()
    for area, group in groupby(results, key=lambda one: one.area):
        if parts:
            parts.append(Text())
        parts.append(Text(area[0].upper() + area[1:], style="bold"))
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, min_width=width)
        rows.add_column(overflow="fold")
        for one in group:
            sign, style = _SIGNS[one.state.value]
            found = Text()
            found.append(printable(one.found), style=style if one.state.value == "wrong" else "")
            if one.state.value == "skipped":
                found = Text(f"skipped: {printable(one.found)}", style="dim")
                if one.security:
                    found.append("  (security: not passed)", style="bold yellow")
            if (one.code, one.path) in told and one.remedy is not None:
                found.append(f"\nAs above: {one.code}", style="dim")
            elif one.remedy is not None:
                told.add((one.code, one.path))
                found.append(f"\n{printable(one.remedy)}")
                where = "" if one.path is None else f"{one.path} · "
                found.append(f"\n{printable(where)}wardround explain {one.code}", style="dim")
            rows.add_row(Text(sign, style=style), Text(one.name), found)
        parts.append(Padding(rows, (0, 0, 0, 2)))
    return Group(*parts)


def _summary(results: tuple[Result, ...]) -> str:
    states = [one.state.value for one in results]
    skipped = sum(one.state.value == "skipped" and one.security for one in results)
    parts = [f"{states.count('well')} of {len(states)} checks are well"]
    for state, one_of_them in (("wrong", "to be mended"), ("warning", "to be looked at")):
        if states.count(state):
            parts.append(f"{states.count(state)} {one_of_them}")
    if skipped:
        parts.append(f"{skipped} of security skipped, which is not a pass")
    return f"{', '.join(parts)}."
