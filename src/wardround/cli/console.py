"""How commands speak: data on stdout, everything else on stderr, colour only where a person looks.

The pattern of a command::

    @app.command()
    def check(path: Path, json: Json = False) -> None:
        \"\"\"Check a study document.\"\"\"
        study = Study.load(path)                       # raises WardroundError: `main` prints it
        say("Checked 4 sites")                         # stderr, a person's progress
        emit({"id": study.id}, json=json, human=table) # stdout, the data
        suggest("wardround study show study.toml")     # stderr, what to do next
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import orjson
import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from wardround.errors import WardroundError, WardroundErrors

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
"""The type of every command's ``json`` parameter."""

out = Console(highlight=False)
"""Standard output: data only."""

err = Console(stderr=True, highlight=False)
"""Standard error: progress, hints, errors."""


def emit(data: object, json: bool = False, *, human: RenderableType | None = None) -> None:
    """Print a command's data: as one JSON document, or as ``human`` (by default, plain words)."""
    if json:
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    shown = _plain(data) if human is None else human
    if out.is_terminal:
        out.print(shown, markup=False, soft_wrap=isinstance(shown, str | Text))
    else:
        sys.stdout.write(_unbroken(shown))


def say(text: str) -> None:
    """One line of progress."""
    err.print(printable(text), markup=False, soft_wrap=True)


def printable(text: str) -> str:
    """Somebody else's text, safe for a terminal: what could steer one becomes a space.

    Cells and names come from records, and whoever writes those is not the one who reads them here.
    """
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)


def suggest(command: str, why: str = "Next") -> None:
    """The command that usually comes next."""
    err.print(Text.assemble((f"{why}: ", "dim"), (command, "bold")), soft_wrap=True)


def fail(*errors: WardroundError, json: bool = False) -> int:
    """Print errors, each with its code, place and remedy; returns the exit code."""
    flat = [
        part
        for error in errors
        for part in (error.errors if isinstance(error, WardroundErrors) else (error,))
    ]
    if json:
        emit({"errors": [_as_json(error) for error in flat]}, json=True)
        return 1
    for error in flat:
        where = f" ({error.path})" if error.path else ""
        err.print(
            Text.assemble(
                (error.code, "bold red"), printable(where), ": ", printable(error.problem)
            )
        )
        err.print(Text(f"  {error.remedy}"))
    for code in dict.fromkeys(error.code for error in flat):
        err.print(Text(f"  More: wardround explain {code}", style="dim"), soft_wrap=True)
    return 1


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table in the one style that all commands share; without names, a list of facts."""
    made = Table(box=None, header_style="bold", pad_edge=False, show_header=any(columns))
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        # A concept's id is for copying: it is never broken, other columns give way.
        made.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=name == "concept",
        )
    for row in rows:
        made.add_row(*(Text(printable(str(cell))) for cell in row))
    return made


def _unbroken(shown: RenderableType) -> str:
    """Text for a file or another program: no line is broken or padded."""
    wide = Console(file=io.StringIO(), width=100_000, highlight=False, no_color=True)
    with wide.capture() as captured:
        wide.print(shown, markup=False, soft_wrap=isinstance(shown, str | Text))
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _as_json(error: WardroundError) -> dict[str, str | None]:
    return {
        "code": error.code,
        "problem": error.problem,
        "remedy": error.remedy,
        "path": error.path,
    }


def _plain(data: object) -> str:
    if isinstance(data, Mapping):
        return "\n".join(f"{key}: {value}" for key, value in data.items())
    if isinstance(data, list | tuple):
        return "\n".join(str(value) for value in data)
    return str(data)
