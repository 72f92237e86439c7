"""Curves over a logarithmic axis, as one SVG of panels side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 28, 44, 46
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #33414d }
.title { font-size: 14px; font-weight: 600; fill: #16242f }
.grid { stroke: #d9e0e5; stroke-width: 1 }
.axis { stroke: #8a98a3; stroke-width: 1 }
.curve { fill: none; stroke: #0b6e8f; stroke-width: 2.2; stroke-linejoin: round }
.dashed { fill: none; stroke: #a56a1f; stroke-width: 1.6; stroke-dasharray: 5 4 }
.dot { fill: #0b6e8f }
.name { fill: #0b6e8f } .dashed-name { fill: #a56a1f }
"""


@dataclass(frozen=True)
class Curve:
    """Points of one name; a dashed one was not measured."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot, both axes logarithmic."""

    title: str
    unit: str
    curves: Sequence[Curve]


def draw(across: str, panels: Sequence[Panel]) -> str:
    """The panels as an SVG document; ``across`` names the horizontal axis."""
    width = _WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" role="img">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for place, panel in enumerate(panels):
        parts.append(f'<g transform="translate({place * _WIDTH} 0)">')
        parts += _panel(across, panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>\n"])


def _panel(across: str, panel: Panel) -> Iterable[str]:
    xs = sorted({x for curve in panel.curves for x in curve.x})
    ys = [y for curve in panel.curves for y in curve.y]
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))

    def right(x: float) -> float:
        span = math.log(xs[-1] / xs[0])
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(x / xs[0]) / span

    def down(y: float) -> float:
        span = math.log(high / low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * math.log(y / low) / span

    yield f'<text class="title" x="{_LEFT}" y="24">{escape(panel.title)}</text>'
    decade = float(low)
    while decade <= high * 1.001:
        at = down(decade)
        yield _line("grid", at)
        label = f"{decade:,.0f} {panel.unit}"
        yield f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
        decade *= 10
    base = _HEIGHT - _BOTTOM
    yield _line("axis", base)
    for x in xs:
        yield f'<text x="{right(x):.1f}" y="{base + 18}" text-anchor="middle">{x:,.0f}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:.0f}" y="{base + 36}" text-anchor="middle">{escape(across)}</text>'
    for curve in panel.curves:
        points = [(right(x), down(y)) for x, y in zip(curve.x, curve.y, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="{"dashed" if curve.dashed else "curve"}" points="{path}"/>'
        if not curve.dashed:
            for x, y in points:
                yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
        x, y = points[-1]
        name = "dashed-name" if curve.dashed else "name"
        lift, back = (4, 52) if curve.dashed else (40, 0)
        yield (
            f'<text class="{name}" x="{x - back:.1f}" y="{y + lift:.1f}" text-anchor="end">'
            f"{escape(curve.name)}</text>"
        )


def _line(kind: str, at: float) -> str:
    return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
