"""Every picture is a whole SVG in which no text leaves the page, its card, or meets another."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from wardround.clinical import ConceptGraph
from wardround.clinical.picture import picture
from wardround.clinical.picture_text import width, wrap

GRAPH = ConceptGraph.load()
SVG = "{http://www.w3.org/2000/svg}"
SIZES = {"title": 32, "unit": 25, "lead": 15, "name": 15, "mono": 12.5, "quiet": 11.5, "note": 12,
         "warn": 12, "head": 12.5, "kicker": 13.5, "": 13}  # fmt: skip


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float, str]]:
    found = []
    for element in root.iter(f"{SVG}text"):
        style, content = element.get("class", ""), element.text or ""
        size = SIZES[style]
        room = width(content, size, mono=style in ("mono", "quiet"))
        x, y = float(element.get("x", 0)), float(element.get("y", 0))
        left = x - {"end": room, "middle": room / 2}.get(element.get("text-anchor", ""), 0.0)
        found.append((left, y - 0.75 * size, left + room, y + 0.2 * size, content))
    return [box for box in found if box[4]]


@pytest.mark.parametrize("concept", GRAPH.concepts, ids=lambda concept: concept.id)
def test_texts_stay_on_the_page_and_apart(concept) -> None:  # type: ignore[no-untyped-def]
    drawn = picture(GRAPH, concept)
    root = ElementTree.fromstring(drawn)
    page_width, page_height = float(root.get("width", 0)), float(root.get("height", 0))
    texts = boxes(root)
    for left, top, right, bottom, content in texts:
        assert 0 <= left < right <= page_width, content
        assert 0 <= top < bottom <= page_height, content
    for number, (left, top, right, bottom, content) in enumerate(texts):
        for other in texts[number + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (content, other[4])


def test_a_picture_needs_nothing_from_outside() -> None:
    drawn = picture(GRAPH, GRAPH.concept("egfr"))
    assert re.findall(r"https?://[^\"\s]+", drawn) == ["http://www.w3.org/2000/svg"]
    assert "<script" not in drawn
    assert drawn == picture(GRAPH, GRAPH.concept("egfr"))


def test_a_picture_shows_sources_units_and_results() -> None:
    texts = [box[4] for box in boxes(ElementTree.fromstring(picture(GRAPH, GRAPH.concept("egfr"))))]
    assert {"creatinine", "age_years", "sex", "mL/min/{1.73_m2}"} <= set(texts)
    texts = [
        box[4]
        for box in boxes(ElementTree.fromstring(picture(GRAPH, GRAPH.concept("total_cholesterol"))))
    ]
    assert {"/ 38.665", "molar mass of cholesterol 386.65 g/mol", "LDL cholesterol"} <= set(texts)


def test_lines_are_broken_where_they_must_be() -> None:
    lines = wrap("one two three four", 10, 60)
    assert " ".join(lines) == "one two three four"
    assert all(width(line, 10) <= 60 for line in lines)
    assert wrap("one two three four", 10, 60, most=1)[0].endswith("…")
    assert width(wrap("x" * 100, 10, 60)[0], 10) <= 60
