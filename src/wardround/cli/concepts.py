"""``wardround concepts``: find out what a field can mean, and how a concept is got from others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, say, suggest, table
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from rich.table import Table

    from wardround.clinical.concept import Concept
    from wardround.clinical.graph import ConceptGraph
    from wardround.trust.canonical import JSON

app = typer.Typer(help="Look up concepts: what a field can mean.", rich_markup_mode=None)
Id = Annotated[str, typer.Argument(metavar="ID", help="A concept, such as total_cholesterol.")]


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="A name in any of the languages, or a code.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="Show at most so many.")] = 10,
    json: Json = False,
) -> None:
    """Find concepts by what people call them, or by a code."""
    from wardround.clinical.graph import ConceptGraph

    hits = ConceptGraph.load().search(text, limit)
    if not hits:
        raise WardroundError(
            "WR-DATA-041",
            "No concept is called that.",
            "Try another word, an English one, or fewer letters of it.",
        )
    rows: list[JSON] = [
        {**_brief(hit.concept), "label": hit.label, "match": hit.match.name.lower()} for hit in hits
    ]
    human = table(
        ("concept", "name", "type", "unit", "found as"),
        [
            (
                hit.concept.id,
                hit.concept.name,
                hit.concept.type.value,
                hit.concept.unit or "",
                "" if hit.label in (hit.concept.id, hit.concept.name) else hit.label,
            )
            for hit in hits
        ],
    )
    emit(rows, json, human=human)
    suggest(f"wardround concepts show {hits[0].concept.id}")


@app.command()
def show(concept_id: Id, json: Json = False) -> None:
    """Show a concept: its meaning, unit, codes and names, and every way to get it."""
    from wardround.clinical.graph import ConceptGraph

    graph = ConceptGraph.load()
    concept = graph.concept(concept_id)
    emit(_facts(graph, concept), json, human=_grid(_rows(graph, concept)))
    suggest(f"wardround concepts graph {concept.id}", "As a picture")


@app.command()
def graph(
    concept_id: Id,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; by default ID.svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw what a concept can be got from, and what follows from it, as an SVG picture."""
    from wardround.clinical.graph import ConceptGraph
    from wardround.clinical.picture import picture

    known = ConceptGraph.load()
    drawn = picture(known, known.concept(concept_id))
    path = out or Path(f"{concept_id}.svg")
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise WardroundError(
            "WR-DATA-042",
            "The picture can't be written.",
            "Name a file in a folder that exists and that you may write to, with --out.",
            path=str(path),
        ) from error
    emit({"picture": str(path)}, json, human=str(path))
    say("Open it in a browser.")


def _brief(concept: Concept) -> dict[str, JSON]:
    return {
        "id": concept.id,
        "name": concept.name,
        "type": concept.type.value,
        "unit": concept.unit,
    }


def _facts(graph: ConceptGraph, concept: Concept) -> dict[str, JSON]:
    from wardround.clinical.concept import LANGUAGES

    return {
        **_brief(concept),
        "definition": concept.definition,
        "area": concept.area,
        "plausible": None if concept.plausible is None else list(concept.plausible),
        "levels": list(concept.levels),
        "codes": [{"system": code.system, "code": code.code} for code in concept.codes],
        "names": {
            language: [label.text for label in concept.labels if label.language == language]
            for language in LANGUAGES
        },
        "units": [path.words() for path in graph.common_units(concept.id)],
        "codings": [
            {"coding": known.coding, "words": known.words, "values": dict(known.values)}
            for known in graph.value_maps(concept.id)
        ],
        "derivations": [
            {
                "inputs": list(one.inputs),
                "words": one.words,
                "source": one.source,
                "estimate": one.estimate,
                "index_date": one.at_index,
            }
            for one in graph.derivations(concept.id)
        ],
        "is_a": list(concept.parents),
        "special_cases": [child.id for child in graph.children(concept.id)],
        "used_for": [one.target for one in graph.derivations_from(concept.id)],
    }


def _rows(graph: ConceptGraph, concept: Concept) -> list[tuple[str, str]]:
    from wardround.clinical.concept import LANGUAGES, ConceptType

    rows = [
        ("concept", concept.id),
        ("name", concept.name),
        ("", concept.definition),
        ("area", concept.area),
        ("type", concept.type.value),
    ]
    if concept.unit is not None:
        rows.append(("unit", concept.unit))
    if concept.plausible is not None and concept.type is ConceptType.NUMERIC:
        rows.append(("plausible", f"{concept.plausible[0]:g} to {concept.plausible[1]:g}"))
    rows += _listed("levels", concept.levels)
    for system in dict.fromkeys(code.system for code in concept.codes):
        rows.append((f"{system} codes", ", ".join(concept.codes_of(system))))
    for language, words in LANGUAGES.items():
        names = [label.text for label in concept.labels if label.language == language]
        if names:
            rows.append((words, ", ".join(names)))
    rows += _listed("from units", [path.words() for path in graph.common_units(concept.id)])
    rows += _listed(
        "from codings",
        [
            f"{known.coding}{f' ({known.words})' if known.words else ''}: "
            + ", ".join(f"{code} {_value(value)}" for code, value in known.values.items())
            for known in graph.value_maps(concept.id)
        ],
    )
    for one in graph.derivations(concept.id):
        notes = [note for note in (one.source, "an estimate" if one.estimate else "") if note]
        inputs = [*one.inputs, *(("the index date",) if one.at_index else ())]
        words = one.words + (f" ({', '.join(notes)})" if notes else "")
        rows.append(("derived", f"{words}; from {', '.join(inputs)}"))
    rows += _listed("is a kind of", concept.parents)
    rows += _listed("special cases", [child.id for child in graph.children(concept.id)])
    rows += _listed("used for", [one.target for one in graph.derivations_from(concept.id)])
    return rows


def _listed(name: str, items: list[str] | tuple[str, ...]) -> list[tuple[str, str]]:
    return [("" if number else name, item) for number, item in enumerate(items)]


def _value(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def _grid(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, words in rows:
        grid.add_row(Text(name, "dim"), Text(words))
    return grid
