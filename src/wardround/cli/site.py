"""``wardround site``: a hospital's agent, in the hands of its steward."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli import data
from wardround.cli.console import Json, emit, err, say, suggest, table
from wardround.cli.ledger import ledger
from wardround.cli.site_status import status
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.site.home import SiteHome

app = typer.Typer(rich_markup_mode=None)
app.add_typer(data.app, name="data", help="Look at the records and say what they mean.")

Folder = Annotated[Path, typer.Argument(help="The agent's folder.")]


@app.command()
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="The hospital's short name in studies.")],
    json: Json = False,
) -> None:
    """Make an agent's folder with the hospital's own signing key, which never leaves it."""
    from wardround.ids import SiteName
    from wardround.site.home import SiteHome

    _show(SiteHome.create(folder, SiteName(name)), json)
    say(f"The hospital's limits are in {folder / 'hospital.toml'}; the steward edits them.")
    suggest(f"wardround site enrol {folder} invitation.json", "When the invitation has come")


@app.command()
def show(folder: Folder, json: Json = False) -> None:
    """Print the lines that identify this hospital in a study."""
    from wardround.site.home import SiteHome

    _show(SiteHome(folder), json)


@app.command()
def enrol(
    folder: Folder,
    invitation: Annotated[Path, typer.Argument(help="The file from the study's coordinator.")],
    json: Json = False,
) -> None:
    """Trade a one-time invitation for the agent's first certificate."""
    import asyncio

    from wardround.site.enrol import enrol as trade
    from wardround.site.home import Invitation, SiteHome

    home = SiteHome(folder)
    asyncio.run(trade(home, Invitation.load(invitation)))
    emit({"site": home.name, "enrolled": True}, json, human="" if json else f"{home.name} enrolled")
    if home.has_study:
        suggest(f"wardround site run {folder}")
    else:
        suggest(f"wardround site approve {folder} study.toml --mapping mapping.toml")


@app.command()
def approve(
    folder: Folder,
    study: Annotated[Path, typer.Argument(help="The study to approve.")],
    mapping: Annotated[Path, typer.Option(help="The mapping of the hospital's records.")],
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Patients to leave out, one identifier a line. Without it the list that is "
            "signed already stays; a first one is empty."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: Json = False,
) -> None:
    """Show the study to the steward and, on a yes, sign it with the hospital's key.

    Also signs the mapping and the list of patients who are left out.
    """
    import sys
    from datetime import UTC, datetime

    from wardround.cli.studywords import details, summary
    from wardround.site.home import SiteHome
    from wardround.site.memory import lift_halt, require_allowance
    from wardround.site.outlook import look_ahead
    from wardround.study import Study

    home = SiteHome(folder)
    sealed = Study.load(study)
    excluded = None if exclude is None else _identifiers(exclude)
    standing = home.standing_exclusions(sealed) if excluded is None else None
    require_allowance(home, sealed, datetime.now(UTC))
    outlook = look_ahead(home, sealed, mapping, excluded)
    rows = [
        *summary(sealed),
        *details(sealed),
        (
            "patients left out",
            str(len(excluded or ()))
            if standing is None
            else f"{len(standing.patients)}, by the list of {standing.issued}, which stays",
        ),
        *outlook.rows(),
    ]
    if not json:
        err.print(table(("", ""), rows))
    if not yes:
        if not sys.stdin.isatty():
            raise WardroundError(
                "WR-CLI-010",
                "Approving asks for a yes, and there is no terminal to ask at.",
                "Run it in a terminal, or add --yes after reading the study.",
            )
        typer.confirm("Sign this study for the hospital?", abort=True)
    home.approve(sealed, mapping, excluded, datetime.now(UTC).date())
    lift_halt(home, sealed)
    left_out = _compare(SiteHome(folder))  # as it is now, with the mapping just signed
    answer = {"approved": sealed.digest, **left_out}
    emit(answer, json, human=None if json else f"approved {sealed.digest}")
    if SiteHome(folder).is_enrolled:
        suggest(f"wardround site run {folder}")
    else:
        suggest(f"wardround site enrol {folder} invitation.json", "When the invitation has come")


@app.command()
def exclude(
    folder: Folder,
    patients: Annotated[Path, typer.Argument(help="Identifiers, one a line; may be empty.")],
    json: Json = False,
) -> None:
    """Sign a new list of patients to leave out; it counts from the next answer on."""
    from datetime import UTC, datetime

    from wardround.site.home import SiteHome

    home = SiteHome(folder)
    home.exclude(_identifiers(patients), datetime.now(UTC).date())
    emit(_compare(home), json)


@app.command()
def run(
    folder: Folder,
    json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines on standard output.")
    ] = False,
) -> None:
    """Run the agent until the study's run has ended. It only makes outbound connections."""
    import asyncio

    from wardround.cli.events import printer
    from wardround.sandbox import agent_yields
    from wardround.site.home import SiteHome
    from wardround.site.serve import run as take_part

    home = SiteHome(folder)
    agent_yields(home.hospital.worker.priority)
    asyncio.run(take_part(home, printer(json)))


@app.command()
def journal(folder: Folder, json: Json = False) -> None:
    """Print the hospital's own journal: what was answered or refused, and why."""
    from wardround.cli import journal as page
    from wardround.site.home import SiteHome
    from wardround.site.memory import open_memory
    from wardround.site.tables import journal as leaves
    from wardround.store.leaves import SqlLeafStore
    from wardround.trust.journal import Journal

    home = SiteHome(folder)
    database = open_memory(home, make=False)
    try:
        page.show(Journal(SqlLeafStore(database, leaves), f"wardround/{home.name}"), json)
    finally:
        database.close()


app.command()(ledger)
app.command()(status)


@app.command()
def limits(
    folder: Annotated[
        Path | None,
        typer.Argument(help="An agent's folder: try the limits in its hospital.toml."),
    ] = None,
    json: Json = False,
) -> None:
    """Print what this host can enforce on computations, found out by trying."""
    from wardround.sandbox import describe, probe
    from wardround.site.home import SiteHome

    own = None if folder is None else SiteHome(folder).hospital.worker.limits
    rows = describe(probe(own))
    emit(
        [
            {"limit": row.limit.value, "enforced": row.enforced, "reason": row.reason}
            for row in rows
        ],
        json,
        human=None
        if json
        else table(
            ("limit", "enforced", "what it means, or why not"),
            [
                (row.limit.value, "yes" if row.enforced else "no", row.reason or row.meaning)
                for row in rows
            ],
        ),
    )


def _show(home: SiteHome, json: bool) -> None:
    """The block for the study, and the fingerprint."""
    key = home.signing_key.public
    lines = {"name": home.name, "signing_key": key.text, "fingerprint": key.fingerprint}
    text = f'[[sites]]\nname = "{home.name}"\nsigning_key = "{key.text}"'
    emit(lines, json, human=None if json else text)
    say(f"Fingerprint, to be compared by voice: {key.fingerprint}")


def _compare(home: SiteHome) -> dict[str, int | None]:
    """How many patients are left out, and how many of them the records don't know."""
    from wardround.site.consent import compare

    exclusions = home.exclusions()
    listed = len(exclusions.patients)
    if not listed:
        return {"excluded": 0, "unknown": 0}
    try:
        unknown = compare(exclusions, home.read_records()).unknown
    except WardroundError as error:
        say(f"The list was signed, but not compared with the records: {error}")
        return {"excluded": listed, "unknown": None}
    if unknown:
        say(
            f"{unknown} of the {listed} patients on the list have no usable record here. Check the "
            "spelling: identifiers are compared letter by letter."
        )
    return {"excluded": listed, "unknown": unknown}


def _identifiers(path: Path) -> tuple[str, ...]:
    try:
        # "-sig": editors on Windows put a mark before the first letter.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WardroundError(
            "WR-CLI-011",
            "The list of patients can't be read as UTF-8 text.",
            "Give a file with one identifier a line.",
            path=str(path),
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
