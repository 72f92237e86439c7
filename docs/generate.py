"""Write the reference pages that follow from the code: ``make docs``.

``tests/test_docs.py`` fails when a page differs from what this script would write, so a command, a
key or an error code can't be added without its page.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import cast

import typer

from wardround.cli import app as root
from wardround.cli.coordinator import RUN_OVER
from wardround.cli.explain import pages as error_pages
from wardround.cli.tradeoff_picture import draw
from wardround.clinical import Concept, ConceptGraph, ConceptType
from wardround.clinical.picture import picture
from wardround.clinical.quarantine import Reason
from wardround.study.document import Study, study_schema
from wardround.study.hospital import hospital_schema
from wardround.study.planning import SHARES, Proposal, complete, propose
from wardround.study.policy import policy_schema
from wardround.study.template import template
from wardround.trust.canonical import JSON

REFERENCE = Path(__file__).resolve().parent / "reference"
PICTURES = REFERENCE.parent / "pictures"
SOURCE = "*Written by `make docs` from the code; change it there.*"


def reference() -> dict[Path, str]:
    """Every generated page and its text."""
    texts = {
        "cli.md": commands_page(),
        "errors.md": errors_page(),
        "study.md": schema_page(
            "study.toml",
            study_schema(),
            "What the hospitals of a study agree on. `wardround study new` writes a commented "
            "first one; `wardround schema study` prints these rules for editors and programs.",
        ),
        "hospital.md": schema_page(
            "hospital.toml",
            hospital_schema(),
            "A hospital's own limits. Of each limit the tighter one of study and hospital holds, "
            "always. Every key may be left out.",
        ),
        "policy.md": schema_page(
            "The compliance policy",
            policy_schema(),
            "`ClinicalFederatedComplianceSchema`, which studies of the profile `clinical` carry "
            "in their section `policy`. That profile is refused until every protection in it "
            "exists; the policy itself can be written and checked today.",
        ),
        "concepts.md": concepts_page(),
        "set-aside.md": set_aside_page(),
    }
    graph = ConceptGraph.load()
    drawn = {
        PICTURES / "concept.svg": picture(graph, graph.concept("systolic_blood_pressure")),
        PICTURES / "privacy-plan.svg": draw(example_plan()),
    }
    return {REFERENCE / name: text for name, text in texts.items()} | drawn


def example_plan() -> Proposal:
    """The plan for what `plan-privacy.md` shows, put into the draft that `study new` writes."""
    page = (REFERENCE.parent / "how-to" / "plan-privacy.md").read_text(encoding="utf-8")
    asked = page.partition("```toml\n")[2].partition("```")[0]
    draft = tomllib.loads(template(date(2030, 1, 1)) + "\n" + asked)
    draft |= {"profile": "private", "expires": "2031-01-01"}
    draft["model"]["algorithm"] = "dp-sgd"
    return propose(Study.parse(complete(draft, SHARES), draft=True), SHARES)


def command_paths() -> Iterator[tuple[str, ...]]:
    """Every command, as words after ``wardround``; the root is the empty path."""

    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        children = getattr(command, "commands", {})
        for name in children if path else root.ENTRIES:
            yield from walk(children[name], (*path, name))

    yield from walk(typer.main.get_command(root.build(root.ENTRIES)), ())


def help_text(path: tuple[str, ...]) -> str:
    """What ``wardround PATH --help`` prints, in a width that does not depend on the terminal."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "88"
    try:
        with contextlib.redirect_stdout(printed):
            root.main([*path, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return printed.getvalue().rstrip()


def commands_page() -> str:
    """The reference of the commands."""
    parts = [
        "# Commands",
        SOURCE,
        "Data go to stdout, everything said along the way to stderr. `--json` prints one JSON "
        "document. `NO_COLOR` is respected. Nothing is ever asked without a terminal. Exit codes: "
        "0 done; 1 refused or failed, with a code that `wardround explain` knows; 2 the command "
        f"line was not understood; {RUN_OVER} from `coordinator serve` only: the latest run had "
        "failed before, and starting again changes nothing.",
    ]
    for path in command_paths():
        if path:
            parts.append(f"{'##' if len(path) == 1 else '###'} wardround {' '.join(path)}")
        parts.append(f"```text\n{help_text(path)}\n```")
    return _page(parts)


def errors_page() -> str:
    """The list of the error codes; their pages are in the source and in ``wardround explain``."""
    parts = [
        "# Error codes",
        SOURCE,
        "`wardround explain CODE` prints what a code means, why Wardround stops there, and how to "
        "mend it. No error ever holds a patient's value.",
    ]
    for area, group in groupby(error_pages().values(), key=lambda page: page.code.split("-")[1]):
        file = f"../../src/wardround/cli/errors/{area}.md"
        rows = "\n".join(f"| `{page.code}` | {page.title} |" for page in group)
        parts.append(f"## [{area}]({file})\n\n| code | meaning |\n|---|---|\n{rows}")
    return _page(parts)


def concepts_page() -> str:
    """The concepts that a study can name and a mapping can map to, area by area."""
    graph = ConceptGraph.load()
    parts = [
        "# Concepts",
        SOURCE,
        f"What a study can name as a feature or an outcome, and a mapping can map a field to: "
        f"{len(graph.concepts)} concepts. A value outside the plausible range is set aside. "
        "`wardround concepts search TEXT` finds one by any of its names (English, German, French, "
        "Spanish, Italian) or by a code; `wardround concepts show ID` says all that is known of "
        "it, and how it is got from other units, codings and concepts; `wardround concepts graph "
        "ID` draws that:",
        "![A concept, what it can be got from and what it leads to](../pictures/concept.svg)",
        "Units are UCUM codes. Records and mappings may also spell them as hospitals do (`mg/dl`, "
        "`mmHg`, `x10^9/L`, `Jahre`), and whatever UCUM or a concept's own edges can convert is "
        "converted exactly.",
    ]
    for area, group in groupby(graph.concepts, key=lambda concept: concept.area):
        rows = "\n".join(_concept_row(graph, concept) for concept in group)
        head = "| concept | | values | codes | derived from |\n|---|---|---|---|---|"
        parts.append(f"## {area}\n\n{head}\n{rows}")
        if area.startswith("Cell nuclei"):
            parts.append(
                'The data set of the demonstration states no unit of length: "um" is a label of '
                "ours."
            )
    return _page(parts)


def _concept_row(graph: ConceptGraph, concept: Concept) -> str:
    match concept.type:
        case ConceptType.NUMERIC:
            low, high = concept.plausible or (-math.inf, math.inf)
            unit = "" if concept.unit in ("1", "{score}") else concept.unit
            values = f"{low:g} to {high:g} {unit}".rstrip()
        case ConceptType.CATEGORY:
            values = ", ".join(concept.levels)
        case ConceptType.BOOLEAN:
            values = "yes or no"
        case ConceptType.DATE:
            values = "date"
    # One code of each system: the page is for reading, `concepts show` has them all.
    codes = ", ".join(
        f"{system} {concept.codes_of(system)[0]}"
        for system in ("loinc", "snomed", "icd10", "atc")
        if concept.codes_of(system)
    )
    ways = [f"{', '.join(one.inputs)}" for one in graph.derivations(concept.id)]
    return f"| `{concept.id}` | {concept.name} | {values} | {codes} | {'; or '.join(ways)} |"


def set_aside_page() -> str:
    """Why a record is not used."""
    rows = "\n".join(f"| `{reason.value}` | {reason.words} |" for reason in Reason)
    return _page(
        [
            "# Records that are set aside",
            SOURCE,
            "One bad record never stops a run and never disappears silently: every report says *N "
            "used of M*, and how many were set aside for which of these reasons. Only counts are "
            "kept, no values and no identifiers.",
            f"| reason | |\n|---|---|\n{rows}",
        ]
    )


def schema_page(title: str, schema: dict[str, JSON], introduction: str) -> str:
    """A document's keys, as tables, one for each section."""
    parts = [f"# {title}", SOURCE, introduction]
    definitions = cast("Mapping[str, dict[str, JSON]]", schema.get("$defs", {}))
    for path, section in _sections(schema, definitions):
        if path:
            parts.append(f"## `[{path}]`")
        parts.append(_words(section))
        parts.append(_keys(section, definitions))
    return _page([part for part in parts if part])


def _sections(
    section: Mapping[str, JSON], definitions: Mapping[str, dict[str, JSON]], path: str = ""
) -> Iterator[tuple[str, Mapping[str, JSON]]]:
    yield path, section
    for name, value in cast("Mapping[str, dict[str, JSON]]", section["properties"]).items():
        inner = _resolve(value, definitions)
        below = f"{path}.{name}".lstrip(".")
        if "properties" in inner:
            yield from _sections(inner, definitions, below)
        elif "properties" in (items := _resolve(_as_dict(inner.get("items")), definitions)):
            yield from _sections(items, definitions, f"[{below}]")


def _keys(section: Mapping[str, JSON], definitions: Mapping[str, dict[str, JSON]]) -> str:
    required = cast("list[str]", section.get("required", []))
    rows = ["| key | value | if left out | |", "|---|---|---|---|"]
    for name, value in cast("Mapping[str, dict[str, JSON]]", section["properties"]).items():
        inner = {**_resolve(value, definitions), **value}
        default = "*must be given*" if name in required else _default(inner.get("default"))
        rows.append(f"| `{name}` | {_value(inner, definitions)} | {default} | {_words(inner)} |")
    return "\n".join(rows)


def _words(value: Mapping[str, JSON]) -> str:
    """Its description on one line: a line break would end a table's row."""
    return " ".join(str(value.get("description", "")).replace("``", "`").split())


def _resolve(
    value: Mapping[str, JSON], definitions: Mapping[str, dict[str, JSON]]
) -> dict[str, JSON]:
    """Follow a reference, and look through "this or nothing"."""
    if "$ref" in value:
        return dict(definitions[str(value["$ref"]).rpartition("/")[2]])
    options = cast("list[dict[str, JSON]]", value.get("anyOf", []))
    for option in options:
        if option.get("type") != "null":
            return _resolve(option, definitions)
    return dict(value)


def _value(value: Mapping[str, JSON], definitions: Mapping[str, dict[str, JSON]]) -> str:
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in cast("list[str]", value["enum"]))
    if "properties" in value:
        return "section"
    if value.get("type") == "array":
        items = _resolve(_as_dict(value.get("items")), definitions)
        return f"list of: {_value(items, definitions)}"
    kind = {"integer": "whole number", "string": "text", "boolean": "true or false"}.get(
        str(value.get("type")), str(value.get("type", "text"))
    )
    if value.get("format") == "date":
        kind = "date"
    lower, upper = value.get("minimum"), value.get("maximum")
    if lower is None and "exclusiveMinimum" in value:
        kind += f" above {value['exclusiveMinimum']}"
    elif lower is not None and upper is None:
        kind += f", at least {lower}"
    if upper is not None:
        kind += f", {lower} to {upper}" if lower is not None else f", at most {upper}"
    return kind


def _default(value: JSON) -> str:
    match value:
        case None | "":
            return ""
        case dict():
            return "as below"
        case list():
            return ", ".join(f"`{item}`" for item in value)
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _as_dict(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


def _page(parts: list[str]) -> str:
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    for page, text in reference().items():
        page.write_text(text, encoding="utf-8")
        typer.echo(page.relative_to(Path.cwd()) if page.is_relative_to(Path.cwd()) else page)
