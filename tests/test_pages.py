"""A page allows its own style sheet and nothing else, and escapes what it is given."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2
import pytest

from wardround.pages import Page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    (tmp_path / "note.css").write_text("p > b { color: red }", encoding="utf-8")
    (tmp_path / "note.html.j2").write_text(
        "<style>{{ style }}</style>{{ style_hash }} {{ text|loud }}", encoding="utf-8"
    )
    return Page(tmp_path, "note", loud=lambda text: text.upper())


def test_the_style_is_the_sheet_and_its_hash_and_values_are_escaped(page: Page) -> None:
    sheet = "p > b { color: red }"
    hashed = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    assert page.render(text="<b>") == f"<style>{sheet}</style>sha256-{hashed} &lt;B&gt;"


def test_a_value_that_is_not_given_is_an_error_and_no_gap(page: Page) -> None:
    with pytest.raises(jinja2.UndefinedError):
        page.render()
