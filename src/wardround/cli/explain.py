"""The pages of the error codes: ``cli/errors/<AREA>.md``, one section per code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import typer

from wardround.cli.console import Json, emit, out, table
from wardround.errors import WardroundError

if TYPE_CHECKING:
    from rich.console import RenderableType

_HEADING = re.compile(r"^## (WR-[A-Z]+-\d{3}) · (.+)$")


@dataclass(frozen=True)
class Page:
    """What one error code means, why it stops, and how to mend it (Markdown)."""

    code: str
    title: str
    text: str


@cache
def pages() -> Mapping[str, Page]:
    """Every documented code, in the order of the codes."""
    found: dict[str, Page] = {}
    for file in files("wardround.cli").joinpath("errors").iterdir():
        if file.name.endswith(".md"):
            found.update((page.code, page) for page in parse(file.read_text(encoding="utf-8")))
    return dict(sorted(found.items()))


def parse(text: str) -> list[Page]:
    """The sections of one area's file."""
    made: list[Page] = []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            made.append(Page(heading[1], heading[2], ""))
        elif made:
            last = made[-1]
            made[-1] = Page(last.code, last.title, f"{last.text}{line}\n")
    return [Page(page.code, page.title, page.text.strip()) for page in made]


def explain(
    code: Annotated[
        str | None, typer.Argument(help="Such as WR-STUDY-004; without one, all are listed.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain an error code: what it means, why it stops, and how to mend it."""
    if code is None:
        rows = [(page.code, page.title) for page in pages().values()]
        listed = [{"code": number, "title": title} for number, title in rows]
        emit(listed, json, human=table(("code", "meaning"), rows))
        return
    page = pages().get(code.upper())
    if page is None:
        raise WardroundError(
            "WR-CLI-002",
            f"There is no error code {code!r}.",
            "Codes look like WR-STUDY-004; `wardround explain` lists them all.",
        )
    markdown = f"# {page.code} · {page.title}\n\n{page.text}"
    human: RenderableType = markdown
    if out.is_terminal:
        from rich.markdown import Markdown

        human = Markdown(markdown)
    emit({"code": page.code, "title": page.title, "text": page.text}, json, human=human)
