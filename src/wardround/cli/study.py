"""``wardround study``: write, check and read a study document."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, say, suggest
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from wardround.study import Study
    from wardround.trust.canonical import JSON

app = typer.Typer(help="Write, check and read a study document.", rich_markup_mode=None)
File = Annotated[Path, typer.Argument(help="The study document, such as study.toml.")]


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="The file to write, or a folder for it.")] = Path(
        "study.toml"
    ),
    json: Json = False,
) -> None:
    """Write a commented draft of a study, and the schema that editors check it with."""
    from wardround.study.template import write_new_study

    study, schema = write_new_study(path, _today())
    written: JSON = {"study": str(study), "schema": str(schema)}
    emit(written, json, human=f"{study}\n{schema}")
    say("Edit the study; every key is explained in it.")
    suggest(f"wardround study check --draft {study}")


@app.command()
def check(
    path: File,
    draft: Annotated[
        bool,
        typer.Option("--draft", help="Accept that the coordinator's address or keys are missing."),
    ] = False,
    json: Json = False,
) -> None:
    """Check a study: each mistake is shown with its code, its place and how to mend it."""
    from wardround.cli.studywords import facts, grid, summary
    from wardround.study import Study
    from wardround.study.rules import raise_all

    study = Study.draft(path) if draft else Study.load(path)
    raise_all(_refusals(study))
    emit(facts(study), json, human=grid(summary(study)))
    if study.is_draft:
        say("Still a draft: the coordinator's address or somebody's key is missing.")
        suggest(f"wardround study check {path}", "When they are filled in")
    else:
        say("Nothing is wrong with this study.")
        suggest(f"wardround study show {path}")


@app.command()
def show(
    path: File,
    canonical: Annotated[
        bool,
        typer.Option("--canonical", help="Print the exact bytes that hospitals sign (RFC 8785)."),
    ] = False,
    json: Json = False,
) -> None:
    """Show a study in words, as a steward reads it before approving."""
    from wardround.cli.studywords import details, facts, grid, summary
    from wardround.study import Study

    study = Study.draft(path)
    if canonical:
        typer.echo(study.canonical(), nl=False)
        return
    emit(facts(study), json, human=grid(summary(study) + details(study)))
    if study.is_draft:
        suggest(f"wardround study check {path}", "What is missing")
    else:
        say("Compare every fingerprint with its owner's by voice or on paper.")
        suggest("wardround site approve --help")


def _refusals(study: Study) -> list[WardroundError]:
    from wardround.study import refuse_if_incomplete

    found = []
    for refuse in (refuse_if_incomplete, lambda one: one.refuse_if_expired(_today())):
        try:
            refuse(study)
        except WardroundError as error:
            found.append(error)
    return found


def _today() -> date:
    return datetime.now(UTC).date()
