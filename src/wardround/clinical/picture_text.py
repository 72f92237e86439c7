"""Text in a drawing that nothing lays out: how wide it will be, and where to break it.

A viewer picks the font, so widths are those of DejaVu Sans, the widest of the usual ones: with any
other a line is shorter, and never runs into its neighbour.
"""

from __future__ import annotations

from html import escape

_NARROW = frozenset("iljI.,;:'|![]()/ tfr-")
_WIDE = frozenset("mwMW@%+=<>~")


def width(text: str, size: float, *, mono: bool = False) -> float:
    """An upper estimate of a text's width, in the unit of ``size``."""
    if mono:
        return 0.61 * size * len(text)
    ems = sum(
        0.39 if mark in _NARROW else 0.95 if mark in _WIDE else 0.72 if mark.isupper() else 0.63
        for mark in text
    )
    return ems * size


def wrap(text: str, size: float, room: float, *, most: int = 99, mono: bool = False) -> list[str]:
    """Break a text into lines that fit; what is beyond ``most`` lines ends in an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and width(longer, size, mono=mono) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    if line:
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} …"]
    return [_cut(one, size, room, mono=mono) for one in lines]


def _cut(line: str, size: float, room: float, *, mono: bool) -> str:
    """A single word may be too long: keep its beginning."""
    while width(line, size, mono=mono) > room and len(line) > 2:
        line = line[:-2].rstrip() + "…"
    return line


def text(x: float, y: float, content: str, style: str, *, anchor: str = "start") -> str:
    """One line of text as SVG; ``style`` is a class of the drawing's style sheet."""
    end = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}"{end}>{escape(content)}</text>'
