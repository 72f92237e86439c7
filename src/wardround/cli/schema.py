"""``wardround schema``: the published JSON Schemas of the documents that people write."""

from __future__ import annotations

import typer

from wardround.cli.console import Json, emit

app = typer.Typer(help="Print the JSON Schemas of documents.", rich_markup_mode=None)


@app.command()
def study(json: Json = True) -> None:
    """Print the JSON Schema of study.toml (with or without --json: a schema is JSON)."""
    from wardround.study.document import study_schema

    emit(study_schema(), json=True)


@app.command()
def policy(json: Json = True) -> None:
    """Print the JSON Schema of the compliance policy."""
    from wardround.study.policy import policy_schema

    emit(policy_schema(), json=True)


@app.command()
def hospital(json: Json = True) -> None:
    """Print the JSON Schema of hospital.toml, a hospital's own limits."""
    from wardround.study.hospital import hospital_schema

    emit(hospital_schema(), json=True)
