"""``wardround verify``: what an auditor runs, offline, on the evidence of a finished study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, fail, say, suggest
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wardround.governance import VerificationReport


def verify(
    evidence: Annotated[Path, typer.Argument(help="The evidence.json of a finished study.")],
    study: Annotated[
        str | None, typer.Option(help="The study's digest (sha256:...) as you know it.")
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(help="The coordinator's key or fingerprint as you know it.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A model folder that should hold this study's model.")
    ] = None,
    json: Json = False,
) -> None:
    """Check a finished study from its evidence file, without a network.

    Says what was checked, what was found, and what no evidence can show. Exit code 1 when a check
    does not hold.
    """
    from wardround.governance import Trust
    from wardround.governance import verify as examine
    from wardround.trust.canonical import parse_digest

    known = None if study is None else parse_digest(study, path="--study")
    report = examine(evidence, Trust(known, coordinator), model=model)
    emit(
        {"verified": report.ok, **report.model_dump(mode="json")},
        json,
        human=None if json else _table(report),
    )
    if not report.ok:
        if json:
            raise typer.Exit(1)
        raise typer.Exit(
            fail(
                WardroundError(
                    "WR-GOV-020",
                    f"{len(report.failures)} of {len(report.checks)} checks do not hold.",
                    "Do not use the model. Keep the file, and ask the hospitals and whoever ran "
                    "the study.",
                    path=str(evidence),
                )
            )
        )
    if not json:
        say(f"Verified: all {len(report.checks)} checks hold (evidence {report.level}).")
        if study is None and coordinator is None:
            suggest(
                f"wardround verify {evidence} --study sha256:...",
                "To be sure that it is your study, give the digest that you know",
            )


def _table(report: VerificationReport) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")  # a digest must never be cut
    for check in report.checks:
        mark = Text("ok", style="green") if check.ok else Text("FAILED", style="bold red")
        table.add_row(mark, Text(check.name), Text(check.detail))
    lines = [Text("\nWhat no check could show:", style="bold")]
    lines += [Text(f"  - {line}", overflow="fold") for line in report.not_checked]
    return Group(table, *lines)
