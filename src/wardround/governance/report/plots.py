"""The report's plots, drawn as inline SVG without scripts, fonts or images from outside.

Strips (intervals, bars, the timeline) place everything in per cent of their width, so that they
fill a table's column at any size while marks stay round; the numbers stand beside them in the
table, so a strip is decoration to a screen reader. The two square plots carry a title and a
description of their own. Colours come from the page's style sheet by class, so that one drawing
serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STRIP_HEIGHT = 40
"""Pixels; as tall as a table row of one line, so that grid lines run through."""


@dataclass(frozen=True)
class Scale:
    """A linear axis from ``low`` to ``high``, with the ``ticks`` to be labelled."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Where a value lies, in per cent of the strip, kept inside it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100.0 * min(max(share, 0.0), 1.0), 3)

    @classmethod
    def around(
        cls, values: Sequence[float], *, floor: float | None = None, ceiling: float | None = None
    ) -> Scale:
        """Round limits that hold all values: the tightest 1-2-5 grid of three to six steps.

        ``floor`` and ``ceiling`` are ends that the axis must not pass, such as 0 and 1 of a share.
        """
        low, high = min(values), max(values)
        span = max(high - low, 1e-9 * max(abs(low), abs(high), 1.0))
        step = 10.0 ** math.floor(math.log10(span / 3.0))
        step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 5.0)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        ticks = tuple(round(step * i, 12) for i in range(first, last + 1))
        start = ticks[0] if floor is None else max(ticks[0], floor)
        stop = ticks[-1] if ceiling is None else min(ticks[-1], ceiling)
        return cls(start, stop, tuple(tick for tick in ticks if start <= tick <= stop))


@dataclass(frozen=True)
class Mark:
    """One estimate on a strip: its class (``alone``, ``federated``, ``pooled``) and interval."""

    kind: str
    value: float
    low: float | None = None
    high: float | None = None


def interval_strip(
    scale: Scale,
    marks: Sequence[Mark],
    *,
    origin: float | None = None,
    height: float = STRIP_HEIGHT,
) -> Markup:
    """Estimates with their intervals, one above the other when there are several."""
    parts = [_grid(scale, origin)]
    for row, mark in enumerate(marks, start=1):
        y = height * row / (len(marks) + 1)
        if mark.low is not None and mark.high is not None:
            x1, x2 = scale.percent(mark.low), scale.percent(mark.high)
            parts.append(
                f'<line class="whisker {mark.kind}" x1="{x1}%" x2="{x2}%" y1="{y:g}" y2="{y:g}"/>'
            )
        parts.append(_dot(mark.kind, scale.percent(mark.value), y))
    return _strip(parts, height)


def bar_strip(whole: float, filled: float, *, rest: float = 0.0) -> Markup:
    """A bar of ``filled`` out of ``whole``, followed by a lighter one of ``rest``."""
    scale = Scale(0.0, max(whole, 1e-12), ())
    middle, width = STRIP_HEIGHT / 2 - 4, scale.percent(filled)
    parts = [f'<rect class="bar" x="0" y="{middle:g}" width="{width}%" height="8" rx="1.5"/>']
    if rest > 0:
        extra = max(scale.percent(rest), 0.6)
        parts.append(
            f'<rect class="rest" x="{width}%" y="{middle:g}" width="{extra}%" height="8" rx="1.5"/>'
        )
    return _strip(parts)


@dataclass(frozen=True)
class Span:
    """One round or set-up on the timeline; times in seconds since the run began."""

    start_s: float
    length_s: float
    label: str
    completed: bool
    dropped: int


def timeline_strip(scale: Scale, spans: Sequence[Span], breaks: Sequence[float] = ()) -> Markup:
    """Rounds of one kind as bars in time; hollow when no total was opened.

    ``breaks`` are the times at which it was gone on with after a break, in seconds as well.
    """
    parts = [_grid(scale, None)]
    for at in breaks:
        x = scale.percent(at)
        parts.append(f'<line class="resumed" x1="{x}%" x2="{x}%" y1="0" y2="100%"/>')
    for span in spans:
        x = scale.percent(span.start_s)
        width = max(scale.percent(span.start_s + span.length_s) - x, 0.5)
        kind = "round" if span.completed else "round failed"
        parts.append(
            f'<rect class="{kind}" x="{x}%" y="14" width="{width}%" height="12" rx="2">'
            f"<title>{escape(span.label)}</title></rect>"
        )
        if span.dropped and span.completed:
            parts.append(f'<circle class="lost" cx="{x + width / 2:.3f}%" cy="8" r="2.5"/>')
    return _strip(parts)


def axis_strip(scale: Scale) -> Markup:
    """The numbers under a column of strips."""
    parts = []
    for tick in scale.ticks:
        x = scale.percent(tick)
        parts.append(f'<text x="{x}%" y="13" text-anchor="middle">{plain(tick)}</text>')
    return Markup('<svg class="axis" width="100%" height="18" aria-hidden="true">{}</svg>').format(
        _joined(parts)
    )


@dataclass(frozen=True)
class Curve:
    """A receiver operating characteristic: class and (false-positive rate, sensitivity)."""

    kind: str
    points: tuple[tuple[float, float], ...]


_SIZE, _LEFT, _TOP, _SIDE = 380, 44, 10, 322


def roc_plot(
    curves: Sequence[Curve],
    description: str,
    *,
    zoom: bool,
    allowed: Sequence[tuple[float, float]] = (),
) -> Markup:
    """ROC curves in a square; with ``zoom``, the corner that matters again, enlarged.

    A good classifier leaves the lower right half of the square empty: the enlargement of the
    region above 75 % sensitivity and below 25 % false positives goes there. ``allowed`` outlines,
    from (0, 0) or above it to (1, 1), what lies between it and the diagonal and is tinted.
    """
    parts = [_square_axes("False-positive rate", "Sensitivity"), _diagonal()]
    if allowed:
        corners = " ".join(
            f"{_LEFT + _SIDE * x:.2f},{_TOP + _SIDE * (1 - y):.2f}" for x, y in ((0, 0), *allowed)
        )
        parts.insert(0, f'<polygon class="allowed" points="{corners}"/>')
    if zoom:
        corner = _SIDE * 0.25
        parts.append(
            f'<rect class="lens" x="{_LEFT}" y="{_TOP}" width="{corner}" height="{corner}"/>'
        )
    parts += [_polyline(curve, _LEFT, _TOP, _SIDE, 0.0, 1.0) for curve in curves]
    if zoom:
        side = 176
        left, top = _LEFT + _SIDE - side - 12, _TOP + _SIDE - side - 30
        parts.append(
            f'<rect class="inset" x="{left}" y="{top}" width="{side}" height="{side}"/>'
            f'<text x="{left}" y="{top + side + 14}">0</text>'
            f'<text x="{left + side}" y="{top + side + 14}" text-anchor="end">0.25</text>'
            f'<text x="{left - 5}" y="{top + side}" text-anchor="end">0.75</text>'
            f'<text x="{left - 5}" y="{top + 9}" text-anchor="end">1</text>'
            f'<svg x="{left}" y="{top}" width="{side}" height="{side}"'
            f' viewBox="0 0 {side} {side}" class="clip">'
        )
        parts += [_polyline(curve, 0, 0, side, 0.0, 0.25) for curve in curves]
        parts.append("</svg>")
    return _square("Receiver operating characteristic", description, parts)


@dataclass(frozen=True)
class Bin:
    """A bin of a calibration plot; ``low`` and ``high`` bound the observed share."""

    predicted: float
    observed: float
    low: float
    high: float
    records: float


def calibration_plot(bins: Sequence[Bin], description: str) -> Markup:
    """Observed share against predicted risk, with intervals; below, where the records lie."""
    parts = [_square_axes("Predicted probability", "Observed share"), _diagonal()]
    most = max((entry.records for entry in bins), default=1.0)
    for entry in bins:
        x, y = _LEFT + _SIDE * entry.predicted, _TOP + _SIDE * (1 - entry.observed)
        low, high = _TOP + _SIDE * (1 - entry.low), _TOP + _SIDE * (1 - entry.high)
        height = 34 * entry.records / most
        parts.append(
            f'<rect class="mass" x="{x - 5:.1f}" y="{_TOP + _SIDE - height:.1f}" width="10"'
            f' height="{height:.1f}"/>'
            f'<line class="whisker federated" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}"'
            f' y2="{high:.1f}"/>'
        )
    joined = " ".join(
        f"{_LEFT + _SIDE * entry.predicted:.1f},{_TOP + _SIDE * (1 - entry.observed):.1f}"
        for entry in sorted(bins, key=lambda entry: entry.predicted)
    )
    parts.append(f'<polyline class="joint" points="{joined}"/>')
    for entry in bins:
        x, y = _LEFT + _SIDE * entry.predicted, _TOP + _SIDE * (1 - entry.observed)
        radius = 2.8 + 3.2 * math.sqrt(entry.records / most)
        parts.append(f'<circle class="dot federated" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
    return _square("Calibration", description, parts)


def plain(value: float) -> str:
    """A number as an axis shows it: no trailing zeros, a real minus sign."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")


def _grid(scale: Scale, origin: float | None) -> str:
    lines = [
        f'<line class="{"origin" if tick == origin else "grid"}" x1="{scale.percent(tick)}%"'
        f' x2="{scale.percent(tick)}%" y1="0" y2="100%"/>'
        for tick in scale.ticks
    ]
    return "".join(lines)


def _dot(kind: str, x: float, y: float) -> str:
    if kind == "pooled":
        # A diamond: told apart by shape, not by colour alone. A nested svg takes the per cent.
        return (
            f'<svg class="anchor" x="{x}%" y="{y:g}"><path class="dot pooled"'
            ' d="M0 -5.6 L5.6 0 L0 5.6 L-5.6 0 Z"/></svg>'
        )
    return f'<circle class="dot {kind}" cx="{x}%" cy="{y:g}" r="4.4"/>'


def _strip(parts: Sequence[str], height: float = STRIP_HEIGHT) -> Markup:
    return Markup(
        '<svg class="strip" width="100%" height="{:g}" aria-hidden="true">{}</svg>'
    ).format(height, _joined(parts))


def _square(title: str, description: str, parts: Sequence[str]) -> Markup:
    return Markup(
        '<svg class="square" viewBox="0 0 {} {}" role="img">'
        "<title>{}</title><desc>{}</desc>{}</svg>"
    ).format(_SIZE, _SIZE, title, description, _joined(parts))


def _joined(parts: Sequence[str]) -> Markup:
    # Everything in parts was written above from numbers, fixed class names and escaped text.
    return Markup("".join(parts))  # noqa: S704


def _square_axes(across: str, up: str) -> str:
    bottom, right = _TOP + _SIDE, _LEFT + _SIDE
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _LEFT + _SIDE * tick, bottom - _SIDE * tick
        parts.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>'
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
            f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{plain(tick)}</text>'
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{plain(tick)}</text>'
        )
    parts.append(
        f'<text class="label" x="{_LEFT + _SIDE / 2}" y="{bottom + 38}"'
        f' text-anchor="middle">{escape(across)}</text>'
        f'<text class="label" x="{-(_TOP + _SIDE / 2)}" y="11" text-anchor="middle"'
        f' transform="rotate(-90)">{escape(up)}</text>'
    )
    return "".join(parts)


def _diagonal() -> str:
    return (
        f'<line class="chance" x1="{_LEFT}" y1="{_TOP + _SIDE}" x2="{_LEFT + _SIDE}" y2="{_TOP}"/>'
    )


def _polyline(curve: Curve, left: float, top: float, side: float, start: float, span: float) -> str:
    """A curve whose false-positive rates ``start`` to ``start + span`` fill the square's width.

    The height covers sensitivities from ``1 - span`` to 1.
    """
    points = " ".join(
        f"{left + side * (x - start) / span:.2f},{top + side * (1 - y) / span:.2f}"
        for x, y in curve.points
    )
    return f'<polyline class="curve {curve.kind}" points="{points}"/>'
