"""``wardround study``: write, check and read a study document."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from wardround.cli.console import Json, emit, say, suggest
from wardround.errors import WardroundError
from wardround.study.document import Study
from wardround.study.profiles import PROMISES, Protection, refuse_if_incomplete
from wardround.study.rules import raise_all
from wardround.study.template import write_new_study
from wardround.trust.canonical import JSON
from wardround.trust.keys import VerifyKey

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
    study = Study.draft(path) if draft else Study.load(path)
    raise_all(_refusals(study))
    facts = _facts(study)
    emit(facts, json, human=_grid(_summary(study)))
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
    study = Study.draft(path)
    if canonical:
        typer.echo(study.canonical(), nl=False)
        return
    emit(_facts(study), json, human=_grid(_summary(study) + _details(study)))
    if study.is_draft:
        suggest(f"wardround study check {path}", "What is missing")
    else:
        say("Compare every fingerprint with its owner's by voice or on paper.")
        suggest("wardround site approve --help")


def _grid(rows: list[tuple[str, str]]) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, words in rows:
        grid.add_row(Text(name, "dim"), Text(words))
    return grid


def _refusals(study: Study) -> list[WardroundError]:
    found = []
    for refuse in (refuse_if_incomplete, lambda one: one.refuse_if_expired(_today())):
        try:
            refuse(study)
        except WardroundError as error:
            found.append(error)
    return found


def _facts(study: Study) -> dict[str, JSON]:
    """The study with what follows from it, for programs."""
    adversary, promise = study.adversary(), PROMISES[study.profile]
    document: dict[str, JSON] = study.model_dump(
        mode="json", by_alias=True, exclude={"schema_"}, exclude_none=True
    )
    return {
        "digest": None if study.is_draft else study.digest,
        "draft": study.is_draft,
        "study": document,
        "fingerprints": {
            name: VerifyKey.parse(key).fingerprint for name, key in _keys(study) if key
        },
        "adversary": {
            "sites": adversary.sites,
            "corrupt_sites": adversary.corrupt,
            "threshold": adversary.threshold,
            "minimum_survivors": study.minimum_survivors(),
        },
        "protections": [item.words for item in Protection if item in promise.protections],
        "caveats": list(promise.caveats),
    }


def _summary(study: Study) -> list[tuple[str, str]]:
    adversary, data, model = study.adversary(), study.data, study.model
    survivors = study.minimum_survivors()
    return [
        ("study", f"{study.id}, version {study.version}"),
        ("title", study.title),
        ("digest", "none yet: a draft" if study.is_draft else study.digest),
        ("expires", f"{study.expires.isoformat()} (UTC)"),
        ("model", f"{model.kind.value} by {model.algorithm.value}, ridge {model.ridge:g}"),
        ("predicts", f"{data.outcome} from {len(data.features)} features"),
        ("sites", ", ".join(study.site_names)),
        (
            "adversary",
            f"the coordinator and up to {adversary.corrupt} of {adversary.sites} sites",
        ),
        (
            "rounds",
            f"open a sum over at least {survivors} sites; {adversary.sites - survivors} may fail",
        ),
        ("profile", study.profile.value),
        *(("", caveat) for caveat in PROMISES[study.profile].caveats),
    ]


def _details(study: Study) -> list[tuple[str, str]]:
    data, disclosure = study.data, study.disclosure
    promised = PROMISES[study.profile].protections
    return [
        ("question", study.question),
        ("purpose", study.purpose),
        ("features", ", ".join(data.features)),
        ("test set", f"{data.test_fraction:.0%} of patients"),
        ("small groups", _who_stays_out(study)),
        (
            "small cells",
            f"in histograms of features, cells below {disclosure.minimum_cell} are sent as zero; "
            "cells of score histograms are exact",
        ),
        ("opened numbers", f"at most {disclosure.opened_numbers}"),
        *(
            ("protection", item.words + ("" if item.exists else " (DOES NOT EXIST YET)"))
            for item in Protection
            if item in promised
        ),
        ("coordinator", f"{study.coordinator.name}, {study.coordinator.url or 'no address yet'}"),
        *(
            (f"key of {name}", VerifyKey.parse(key).fingerprint if key else "missing")
            for name, key in _keys(study)
        ),
    ]


def _who_stays_out(study: Study) -> str:
    disclosure = study.disclosure
    group = "test records"
    if study.model.kind.value == "logistic":
        group = "with or without the outcome, in training or test part,"
    return (
        f"a site with fewer than {disclosure.minimum_cohort} training records, or fewer than "
        f"{disclosure.minimum_cell} {group} stays out of the study"
    )


def _keys(study: Study) -> list[tuple[str, str]]:
    sites = [(str(site.name), site.signing_key) for site in study.sites]
    return [("the coordinator", study.coordinator.signing_key), *sites]


def _today() -> date:
    return datetime.now(UTC).date()
