"""``wardround coordinator``: set up and run the study's coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wardround.cli.console import Json, emit, say, suggest, table

app = typer.Typer(rich_markup_mode=None)

RUN_OVER = 3
"""The exit code where the latest run had failed before, so that starting again changes nothing."""

Folder = Annotated[Path, typer.Argument(help="The coordinator's folder.")]


@app.command()
def init(
    folder: Folder,
    url: Annotated[str, typer.Option(help="The address the hospitals will reach: https://...")],
    json: Json = False,
) -> None:
    """Make a coordinator's folder with its keys and its own certificate authority."""
    from wardround.coordinator.home import CoordinatorHome

    home = CoordinatorHome.create(folder, url)
    _show(home.folder, json)
    suggest(f"wardround coordinator invite {folder} study.toml", "When the study has all keys")


@app.command()
def show(folder: Folder, json: Json = False) -> None:
    """Print the lines that identify this coordinator in a study."""
    _show(folder, json)


@app.command()
def invite(
    folder: Folder,
    study: Annotated[Path, typer.Argument(help="The study, with everyone's keys in it.")],
    site: Annotated[
        list[str] | None, typer.Option(help="Only this site; may be given several times.")
    ] = None,
    json: Json = False,
) -> None:
    """Take the study in and write an invitation with a one-time token for each hospital."""
    from wardround.coordinator.home import CoordinatorHome
    from wardround.ids import SiteName
    from wardround.study import Study, refuse_if_incomplete

    home = CoordinatorHome(folder)
    sealed = Study.load(study)
    refuse_if_incomplete(sealed)
    home.take_study(sealed)
    names = sealed.site_names if site is None else tuple(SiteName(name) for name in site)
    paths = {name: str(home.invite(name)) for name in names}
    emit(paths, json, human=None if json else table(("site", "invitation"), list(paths.items())))
    say("Hand each file to its hospital; the token in it works once.")
    suggest(f"wardround coordinator serve {folder}")


@app.command()
def serve(
    folder: Folder,
    wait_s: Annotated[
        float, typer.Option(help="Start after this long even if hospitals are missing.")
    ] = 3600.0,
    once: Annotated[bool, typer.Option(help="Stop when the run has ended.")] = False,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Begin another run, though the latest has ended.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines on standard output.")
    ] = False,
) -> None:
    """Serve the hospitals and run the study; an interrupted run is carried on.

    A run that has ended is not repeated without --new-run. The exit code is 3 if it had failed.
    """
    import asyncio

    from wardround.cli.console import fail
    from wardround.cli.events import printer
    from wardround.coordinator.farewell import RUN_FAILED
    from wardround.coordinator.home import CoordinatorHome
    from wardround.coordinator.serve import serve as run
    from wardround.errors import WardroundError

    tell = printer(json)
    home = CoordinatorHome(folder)
    work = run(
        home,
        lambda event, facts: tell(event, **facts),
        wait_s=wait_s,
        once=once,
        new_run=new_run,
    )
    try:
        published = asyncio.run(work)
    except WardroundError as error:
        if error.code != RUN_FAILED:
            raise
        fail(error, json=json)
        raise typer.Exit(RUN_OVER) from error  # for service managers: don't start it again
    if published is not None:
        suggest(f"wardround verify {published.evidence}")


@app.command()
def journal(folder: Folder, json: Json = False) -> None:
    """Print the coordinator's journal: who said what, what was opened, who was turned away."""
    from wardround.cli import journal as page
    from wardround.coordinator.home import CoordinatorHome

    coordinator = CoordinatorHome(folder).open()
    try:
        page.show(coordinator.state.journal, json)
    finally:
        coordinator.close()


def _show(folder: Path, json: bool) -> None:
    from wardround.coordinator.home import CoordinatorHome

    home = CoordinatorHome(folder)
    lines = {
        "url": home.url,
        "signing_key": home.signing_key.public.text,
        "ca": home.authority.sha256,
    }
    text = "[coordinator]\n" + "\n".join(f'{key} = "{value}"' for key, value in lines.items())
    fingerprint = home.signing_key.public.fingerprint
    emit({**lines, "fingerprint": fingerprint}, json, human=None if json else text)
    say(f"Fingerprint of the signing key, to be compared by voice: {fingerprint}")
