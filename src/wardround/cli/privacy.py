"""``wardround privacy``: how a study divides what it may learn about a patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, say, suggest
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wardround.trust.canonical import JSON

app = typer.Typer(help="Divide a study's epsilon, and see what it buys.", rich_markup_mode=None)


@app.callback()
def _privacy() -> None:
    """Divide a study's epsilon, and see what it buys."""


@app.command()
def plan(
    path: Annotated[Path, typer.Argument(help="The study document, such as study.toml.")],
    statistics: Annotated[
        float, typer.Option(min=0, max=1, help="Share for counts, means and histograms.")
    ] = 0.2,
    training: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share for the fit; what is left over if not given."),
    ] = None,
    evaluation: Annotated[
        float, typer.Option(min=0, max=1, help="Share for finding out how good the model is.")
    ] = 0.15,
    gate: Annotated[
        float, typer.Option(min=0, max=1, help="Share for validation before a release.")
    ] = 0.1,
    monitoring: Annotated[
        float, typer.Option(min=0, max=1, help="Share for watching the released model.")
    ] = 0.05,
    steps: Annotated[
        int | None, typer.Option(min=1, help="So many training steps, whatever seems best.")
    ] = None,
    sampling_rate: Annotated[
        float | None,
        typer.Option(help="The chance of each patient to take part in a step; 1: everybody."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the trade-off into this file, as SVG.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the proposal into the study; comments stay.")
    ] = False,
    json: Json = False,
) -> None:
    """Find the noise, steps and samples with which a study keeps its epsilon."""
    from wardround.cli.tradeoff import facts, shown
    from wardround.cli.tradeoff_picture import draw
    from wardround.governance.files import write_whole
    from wardround.study.document import Study, read_document
    from wardround.study.plan import Purpose
    from wardround.study.planning import complete, propose

    given = {
        Purpose.STATISTICS: statistics,
        Purpose.EVALUATION: evaluation,
        Purpose.GATE: gate,
        Purpose.MONITORING: monitoring,
    }
    rest = max(0.0, 1 - sum(given.values())) if training is None else training
    shares = {Purpose.TRAINING: rest, **given}
    document = read_document(path)
    proposal = propose(
        Study.parse(complete(document, shares), draft=True),
        shares,
        steps=steps,
        sampling_rate=sampling_rate,
        learning_rate=_learning_rate(document),
    )
    emit(facts(proposal), json, human=shown(proposal))
    if plot is not None:
        write_whole(plot, draw(proposal).encode())
        say(f"Drew {plot}.")
    if write:
        _write(path, proposal.tables())
        say(f"Wrote the budget into {path}.")
        suggest(f"wardround study check --draft {path}")
    else:
        suggest(f"wardround privacy plan {path} --write", "To put this into the study")


def _learning_rate(document: Mapping[str, JSON]) -> float | None:
    """The one that the study states already, if it does; it has been checked, or will be."""
    found: JSON = document
    for key in ("privacy", "training", "learning_rate"):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def _write(path: Path, tables: Mapping[str, Mapping[str, JSON]]) -> None:
    """Set the proposed keys in the study's file, and leave everything else as it is."""
    import tomlkit

    from wardround.governance.files import write_whole
    from wardround.study.plan import Purpose

    if path.suffix == ".json":
        raise WardroundError(
            "WR-CLI-060",
            "The proposal is written into TOML only.",
            "Take the values under `privacy` from `wardround privacy plan --json`.",
            path=str(path),
        )
    # Read and checked a moment ago, so that it is TOML with a table of this name.
    document = tomlkit.parse(path.read_text(encoding="utf-8-sig"))
    privacy = document["privacy"]
    assert isinstance(privacy, tomlkit.items.Table)
    for purpose in Purpose:
        proposed = tables.get(purpose.value)
        if proposed is None:
            privacy.pop(purpose.value, None)
            continue
        if purpose.value not in privacy:
            privacy[purpose.value] = tomlkit.table()
        for key, value in proposed.items():
            privacy[purpose.value][key] = value
    write_whole(path, tomlkit.dumps(document).encode())
