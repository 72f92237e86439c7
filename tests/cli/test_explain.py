"""``wardround explain``, and the promise behind it: every code has a page, every page a code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import requires
from commands import Command
from wardround.cli.explain import pages, parse

SOURCE = requires.ROOT / "src" / "wardround"
ERROR_PAGES = SOURCE / "cli" / "errors"
CODE = re.compile(r"WR-([A-Z]+)-\d{3}")


def codes_in_source() -> dict[str, set[str]]:
    """Each code that stands in the source as a text of its own, and the files it stands in."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and CODE.fullmatch(node.value)
            ):
                found.setdefault(node.value, set()).add(path.relative_to(SOURCE).as_posix())
    return found


def test_every_code_has_a_page() -> None:
    missing = {code: where for code, where in codes_in_source().items() if code not in pages()}
    assert missing == {}


def test_every_page_has_a_code() -> None:
    assert sorted(set(pages()) - set(codes_in_source())) == []


@pytest.mark.parametrize("path", sorted(ERROR_PAGES.glob("*.md")), ids=lambda path: path.stem)
def test_pages_are_in_the_file_of_their_area_once_and_say_something(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    made = parse(text)
    assert text.startswith("# ")
    assert len({page.code for page in made}) == len(made) == text.count("\n## ")
    for page in made:
        assert page.code.split("-")[1] == path.stem
        assert len(page.text) > 40, page.code


def test_a_page_is_found_in_any_case(command: Command) -> None:
    result = command("explain", "wr-cli-001")
    assert result.code == 0
    assert result.out.startswith("# WR-CLI-001 · ")
    assert pages()["WR-CLI-001"].text in result.out


def test_a_page_as_json_is_one_document(command: Command) -> None:
    page = json.loads(command("explain", "WR-CLI-001", "--json").out)
    assert page == {
        "code": "WR-CLI-001",
        "title": pages()["WR-CLI-001"].title,
        "text": pages()["WR-CLI-001"].text,
    }


def test_all_codes_are_listed(command: Command) -> None:
    assert [row["code"] for row in json.loads(command("explain", "--json").out)] == list(pages())
    assert "WR-CLI-001" in command("explain").out


def test_an_unknown_code_says_where_to_look(command: Command) -> None:
    result = command("explain", "WR-CLI-999")
    assert result.code == 1
    assert "WR-CLI-002" in result.err
