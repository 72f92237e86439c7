"""A picture of one concept: what it can be got from, on the left, and what it leads to.

A self-contained SVG without scripts, fonts or images from outside, in the colours of the report,
light or dark as the viewer prefers. Everything is placed by the code below; a card is as tall as
its lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from wardround.clinical.concept import EVERY_BOOLEAN, Concept, ConceptType
from wardround.clinical.picture_text import text, width, wrap

if TYPE_CHECKING:
    from wardround.clinical.graph import ConceptGraph

_NARROWEST: Final = 780.0
_MARGIN: Final = 44.0
_SIDE: Final = 366.0  # a card of the outer columns
_CENTRE: Final = 268.0
_REACH: Final = 76.0  # from a column to the next: the length of an edge
_PAD: Final = 16.0
_GAP: Final = 16.0
_LINE: Final = 19.0
_MOST_CARDS: Final = 7
_MOST_LINES: Final = 7

_STYLE: Final = """
svg { --paper:#fdfcfa; --ink:#1b1f23; --soft:#565d64; --line:#ddd8cf; --card:#ffffff;
  --accent:#0a6c6b; --wash:#dcebe8; --other:#8d949a; --warn:#a8481f;
  font-family:Inter,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper:#15181b; --ink:#e8e5df; --soft:#a3aab0;
  --line:#343a3f; --card:#1b1f23; --accent:#62c6bc; --wash:#1c3635; --other:#7f878e;
  --warn:#e39a6c; } }
.paper { fill:var(--paper); }
.card { fill:var(--card); stroke:var(--line); }
.heart { fill:var(--wash); stroke:var(--accent); stroke-width:1.5; }
.chip { fill:var(--paper); stroke:var(--line); }
.rule { stroke:var(--line); }
.edge { fill:none; stroke:var(--other); stroke-width:1.5; }
.edge.formula { stroke:var(--accent); stroke-width:2; }
.edge.estimate { stroke:var(--warn); stroke-width:2; stroke-dasharray:2 5; stroke-linecap:round; }
.edge.kind { stroke-dasharray:7 5; }
.dot { fill:var(--other); } .dot.formula { fill:var(--accent); } .dot.estimate { fill:var(--warn); }
text { fill:var(--ink); font-size:13px; }
.kicker { fill:var(--soft); font-size:13px; letter-spacing:.03em; }
.title { font:500 32px "Iowan Old Style","Palatino Linotype",Palatino,Charter,Georgia,serif; }
.lead { fill:var(--soft); font-size:15px; }
.head { fill:var(--soft); font-size:12px; letter-spacing:.04em; }
.name { font-size:14px; font-weight:600; }
.note { fill:var(--soft); font-size:12px; }
.warn { fill:var(--warn); font-size:12px; }
.mono { font:12.5px ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace; }
.quiet { fill:var(--soft); font:11.5px ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace; }
.unit { font:500 25px "Iowan Old Style","Palatino Linotype",Palatino,Charter,Georgia,serif; }
"""  # noqa: E501  (a style sheet)


@dataclass(frozen=True)
class _Line:
    """A line of a card: text on the left, and perhaps on the right."""

    content: str
    style: str
    right: str = ""
    right_style: str = "note"


@dataclass(frozen=True)
class _Card:
    """A box in an outer column; ``kind`` is the class of its edge, ``chips`` are concepts."""

    kind: str
    lines: tuple[_Line, ...]
    chips: tuple[str, ...] = ()

    @property
    def height(self) -> float:
        chips = _chip_rows(self.chips)
        return 2 * _PAD - 5 + _LINE * len(self.lines) + (27.0 * len(chips) - 3 if chips else 0.0)

    def draw(self, x: float, y: float) -> str:
        parts = [f'<rect class="card" x="{x}" y="{y:.1f}" width="{_SIDE}" height="{self.height}"']
        parts.append(' rx="8"/>')
        at = y + _PAD + 9
        for line in self.lines:
            parts.append(text(x + _PAD, at, line.content, line.style))
            if line.right:
                parts.append(text(x + _SIDE - _PAD, at, line.right, line.right_style, anchor="end"))
            at += _LINE
        at -= 10
        for row in _chip_rows(self.chips):
            left = x + _PAD
            for chip in row:
                room = _chip_width(chip)
                parts.append(
                    f'<rect class="chip" x="{left:.1f}" y="{at:.1f}" width="{room:.1f}"'
                    ' height="22" rx="11"/>'
                )
                parts.append(text(left + room / 2, at + 15, chip, "quiet", anchor="middle"))
                left += room + 6
            at += 27
        return "".join(parts)


def picture(graph: ConceptGraph, concept: Concept) -> str:
    """Return the drawing of a concept's neighbourhood, a whole SVG document."""
    sources, results = _sources(graph, concept), _results(graph, concept)
    x_centre = _MARGIN + (_SIDE + _REACH if sources else 0.0)
    x_right = x_centre + _CENTRE + _REACH
    right = x_right + _SIDE if results else x_centre + _CENTRE
    page = max(right + _MARGIN, _NARROWEST)
    title = wrap(concept.name, 32, page - 2 * _MARGIN, most=2)
    lead = wrap(concept.definition, 15, min(page - 2 * _MARGIN, 860.0), most=3)
    top = 64.0 + 40 * len(title) + 22 * len(lead) + 44
    heart = _Heart(concept)
    tallest = max(_stack(sources), _stack(results), heart.height)
    height = top + tallest + _MARGIN + 34
    middle = top + tallest / 2
    edges, cards = [], []
    for column, x, near, far in (
        (sources, _MARGIN, _MARGIN + _SIDE, x_centre),
        (results, x_right, x_right, x_centre + _CENTRE),
    ):
        y = middle - _stack(column) / 2
        ends = _ends(middle, heart.height, len(column))
        for card, end in zip(column, ends, strict=True):
            edges.append(_edge(card.kind, near, y + card.height / 2, far, end))
            cards.append(card.draw(x, y))
            y += card.height + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {page:g} {height:.0f}"'
        f' width="{page:g}" height="{height:.0f}" role="img">',
        f"<title>{escape(concept.name)}</title>",
        f"<desc>What {escape(concept.id)} can be got from, and what it leads to.</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{page:g}" height="{height:.0f}"/>',
        text(_MARGIN, 46, concept.area, "kicker"),
        *(text(_MARGIN, 88 + 40 * n, line, "title") for n, line in enumerate(title)),
        *(
            text(_MARGIN, 76 + 40 * len(title) + 22 * n, line, "lead")
            for n, line in enumerate(lead)
        ),
        text(_MARGIN, top - 20, "can be got from", "head") if sources else "",
        text(x_right, top - 20, "leads to", "head") if results else "",
        *edges,
        *cards,
        heart.draw(x_centre, middle - heart.height / 2),
        _legend({card.kind for card in (*sources, *results)}, height - 30),
        "</svg>\n",
    ]
    return "".join(parts)


class _Heart:
    """The card of the concept itself."""

    def __init__(self, concept: Concept) -> None:
        room = _CENTRE - 2 * _PAD
        self._unit = concept.unit or {"boolean": "yes or no"}.get(concept.type, concept.type.value)
        rows = [_Line(line, "mono") for line in wrap(concept.id, 12.5, room, mono=True)]
        self._id = rows
        facts: list[_Line] = []
        if concept.plausible is not None and concept.type is ConceptType.NUMERIC:
            low, high = concept.plausible
            facts.append(_Line("plausible", "note", f"{low:g} to {high:g}", "note"))
        facts += [
            _Line("level" if not n else "", "note", line, "note")
            for n, line in enumerate(concept.levels)
        ]
        for system in dict.fromkeys(code.system for code in concept.codes):
            codes = wrap(", ".join(concept.codes_of(system)), 11.5, room - 84, most=3, mono=True)
            facts += [
                _Line(system if not n else "", "note", line, "quiet")
                for n, line in enumerate(codes)
            ]
        self._facts = facts

    @property
    def height(self) -> float:
        return 92.0 + 18 * (len(self._id) - 1) + _LINE * len(self._facts) + 12

    def draw(self, x: float, y: float) -> str:
        parts = [
            f'<rect class="heart" x="{x}" y="{y:.1f}" width="{_CENTRE}" height="{self.height:.1f}"'
            ' rx="12"/>'
        ]
        at = y + 30
        for line in self._id:
            parts.append(text(x + _CENTRE / 2, at, line.content, line.style, anchor="middle"))
            at += 18
        parts.append(text(x + _CENTRE / 2, at + 16, self._unit, "unit", anchor="middle"))
        at += 48
        for line in self._facts:
            parts.append(text(x + _PAD, at, line.content, line.style))
            parts.append(text(x + _CENTRE - _PAD, at, line.right, line.right_style, anchor="end"))
            at += _LINE
        return "".join(parts)


def _sources(graph: ConceptGraph, concept: Concept) -> list[_Card]:
    cards = [*_unit_cards(graph, concept)]
    own = [known for known in graph.value_maps(concept.id) if known.concept != EVERY_BOOLEAN]
    for known in own:
        pairs = [(code, str(value).lower()) for code, value in known.values.items()]
        lines = [_Line(f"in codes: {known.coding}", "name")]
        lines += _wrapped(known.words, "note", 12, most=2)
        lines += _cropped([_Line(code, "mono", level) for code, level in pairs])
        cards.append(_Card("unit", tuple(lines)))
    for one in graph.derivations(concept.id):
        lines = _wrapped(one.words, "name", 14, most=3)
        notes = [note for note in (one.source, "an estimate" if one.estimate else "") if note]
        if notes:
            lines.append(_Line(", ".join(notes), "warn" if one.estimate else "note"))
        inputs = (*one.inputs, *(("the index date",) if one.at_index else ()))
        cards.append(_Card("estimate" if one.estimate else "formula", tuple(lines), inputs))
    children = graph.children(concept.id)
    if children:
        caution = "where it is true" if concept.type is ConceptType.BOOLEAN else ""
        head = _Line("a special case", "name", caution)
        cards.append(_Card("kind", (head, *_cropped([_Line(c.name, "") for c in children]))))
    return _limited(cards)


def _unit_cards(graph: ConceptGraph, concept: Concept) -> list[_Card]:
    by_reason: dict[str, list[_Line]] = {}
    for path in graph.common_units(concept.id):
        reason = "; ".join(dict.fromkeys(step.reason for step in path.steps if step.reason))
        line = _Line(path.source, "mono", path.sum_words(digits=6), "quiet")
        by_reason.setdefault(reason, []).append(line)
    cards = []
    for reason, lines in by_reason.items():
        head = [_Line("in another unit", "name")]
        head += _wrapped(reason, "note", 12, most=3)
        cards.append(_Card("unit", (*head, *_cropped(lines))))
    return cards


def _results(graph: ConceptGraph, concept: Concept) -> list[_Card]:
    cards = []
    for one in graph.derivations_from(concept.id):
        target = graph.concept(one.target)
        lines = [*_wrapped(target.name, "name", 14, most=2)]
        lines += _wrapped(one.words, "note", 12, most=2)
        others = tuple(f"with {name}" for name in one.inputs if name != concept.id)
        kind = "estimate" if one.estimate else "formula"
        cards.append(_Card(kind, tuple(lines), others[:6]))
    if concept.parents:
        names = [_Line(graph.concept(parent).name, "") for parent in concept.parents]
        cards.append(_Card("kind", (_Line("is a kind of", "name"), *names)))
    return _limited(cards)


def _limited(cards: list[_Card]) -> list[_Card]:
    if len(cards) <= _MOST_CARDS:
        return cards
    more = len(cards) - _MOST_CARDS + 1
    rest = _Card("unit", (_Line(f"and {more} more: wardround concepts show", "note"),))
    return [*cards[: _MOST_CARDS - 1], rest]


def _wrapped(content: str, style: str, size: float, *, most: int) -> list[_Line]:
    # Names are set bold, which is wider.
    room = (_SIDE - 2 * _PAD) / (1.07 if style == "name" else 1.0)
    return [_Line(line, style) for line in wrap(content, size, room, most=most)]


def _cropped(lines: Sequence[_Line]) -> list[_Line]:
    if len(lines) <= _MOST_LINES:
        return list(lines)
    return [*lines[: _MOST_LINES - 1], _Line(f"and {len(lines) - _MOST_LINES + 1} more", "note")]


def _chip_width(chip: str) -> float:
    return width(chip, 11.5, mono=True) + 20


def _chip_rows(chips: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    used = _SIDE
    for chip in chips:
        room = _chip_width(chip)
        if used + room > _SIDE - 2 * _PAD:
            rows.append([])
            used = 0.0
        rows[-1].append(chip)
        used += room + 6
    return rows


def _stack(cards: Sequence[_Card]) -> float:
    return sum(card.height for card in cards) + _GAP * max(len(cards) - 1, 0)


def _ends(middle: float, height: float, number: int) -> list[float]:
    """Where the edges of a column meet the concept's card: spread over its inner height."""
    room = height - 40
    return [middle - room / 2 + room * (n + 1) / (number + 1) for n in range(number)]


def _edge(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    bend = (x2 - x1) * 0.55
    return (
        f'<path class="edge {kind}" d="M{x1:.1f} {y1:.1f} C{x1 + bend:.1f} {y1:.1f}'
        f' {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"/>'
        f'<circle class="dot {kind}" cx="{x2:.1f}" cy="{y2:.1f}" r="3.5"/>'
    )


def _legend(kinds: set[str], y: float) -> str:
    parts, x = [], _MARGIN
    for kind, words in (
        ("unit", "conversion or coding"),
        ("formula", "exact derivation"),
        ("estimate", "estimate"),
        ("kind", "special case"),
    ):
        if kind in kinds:
            parts.append(
                f'<line class="edge {kind}" x1="{x:.1f}" x2="{x + 34:.1f}" y1="{y}" y2="{y}"/>'
            )
            parts.append(text(x + 44, y + 4, words, "note"))
            x += 44 + width(words, 12) + 28
    return "".join(parts)
