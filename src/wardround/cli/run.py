"""``wardround run``: what a run is waiting for, since when, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit

if TYPE_CHECKING:
    from wardround.coordinator.timeline import Timeline

app = typer.Typer(rich_markup_mode=None)


@app.callback()
def run() -> None:
    """Look at a run."""


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The coordinator's folder.")] = Path(),
    run: Annotated[
        str | None, typer.Option("--run", help="Which run; by default the latest.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run has ended.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a run waits for, since when, who has answered, and what comes next.

    Works beside a coordinator that serves, and after it has ended: it only reads the folder.
    """
    from wardround.cli.console import out
    from wardround.cli.timeline_picture import picture

    look = _looking(folder, run)
    if follow:
        _follow(look, json, folder)
        return
    found = look()
    emit(_document(found), json, human=None if json else picture(found, out.width, folder))


def _looking(folder: Path, run: str | None) -> Callable[[], Timeline]:
    """A function that reads the folder afresh."""
    from datetime import UTC, datetime

    from wardround.coordinator import tables
    from wardround.coordinator.history import History
    from wardround.coordinator.home import CoordinatorHome
    from wardround.coordinator.presence import Presence
    from wardround.coordinator.timeline import timeline
    from wardround.ids import RunId
    from wardround.store.reading import reading

    home = CoordinatorHome(folder)
    study, history = home.study, History()
    name = None if run is None else RunId(run)

    def look() -> Timeline:
        now = datetime.now(UTC)
        presence = Presence.load(home.folder).as_of(now)
        with reading(home.folder / "state.db", tables.MIGRATIONS) as connection:
            rows = history.read(connection, presence, name)
        return timeline(rows, study, now)

    return look


def _document(found: Timeline) -> dict[str, object]:
    """For programs, and with the sentences that a person is shown."""
    from wardround.coordinator import timewords
    from wardround.coordinator.timeline import document

    words = [
        {
            "where": timewords.place(found, stage),
            "waiting": timewords.waiting(found, stage),
            "next": timewords.following(found, stage),
        }
        for stage in found.stages
    ]
    return {**document(found), "words": words}


def _follow(look: Callable[[], Timeline], json: bool, folder: Path) -> None:
    """A picture that is kept up to date in a terminal; elsewhere a line for each change."""
    import sys

    from wardround.cli.console import out

    if not json and out.is_terminal:
        _live(look, folder)
        return
    import orjson

    from wardround.cli.timeline_picture import lines

    before: tuple[object, ...] = ()
    for found in _until_over(look):
        now = found.changes
        if now == before:
            continue
        before = now
        for line in [orjson.dumps(_document(found)).decode()] if json else lines(found):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _live(look: Callable[[], Timeline], folder: Path) -> None:
    from rich.live import Live

    from wardround.cli.console import out
    from wardround.cli.timeline_picture import picture

    with Live(console=out, auto_refresh=False, vertical_overflow="visible") as live:
        for found in _until_over(look):
            live.update(picture(found, out.width, folder), refresh=True)


def _until_over(look: Callable[[], Timeline]) -> Iterator[Timeline]:
    """The timeline again and again, the last one when the run has ended."""
    import time

    while True:
        found = look()
        yield found
        if found.state in ("finished", "failed"):
            return
        time.sleep(1.0)
