"""The trade-off behind a proposed budget, as a picture: one SVG that loads nothing.

On the left how the number of steps and their samples matter, on the right how epsilon does. Both
axes are logarithmic, so that twice as much is as far everywhere. In the colours of the report,
light or dark as the viewer prefers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from wardround.privacy.statement import short
from wardround.study.plan import require_privacy
from wardround.study.planning import Proposal, percent

WIDTH, HEIGHT = 960, 490
_TOP, _BOTTOM = 170, 424
_STYLE = """
svg { --paper:#fdfcfa; --ink:#1b1f23; --soft:#565d64; --grid:#e9e6df; --accent:#0a6c6b;
  --wash:#dcebe8; --other:#8d949a; --warn:#a8481f;
  font-family:Inter,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper:#15181b; --ink:#e8e5df; --soft:#a3aab0;
  --grid:#272c30; --accent:#62c6bc; --wash:#1c3635; --other:#7f878e; --warn:#e39a6c; } }
.paper { fill:var(--paper); }
text { fill:var(--soft); font-size:12px; }
.title { fill:var(--ink); font:500 25px "Iowan Old Style","Palatino Linotype",Palatino,Charter,
  Georgia,serif; }
.lead { font-size:14px; }
.head { fill:var(--ink); font-size:14px; font-weight:600; }
.grid { stroke:var(--grid); }
.axis { stroke:var(--other); }
.curve { fill:none; stroke:var(--accent); stroke-width:2.25; stroke-linejoin:round; }
.loud { fill:none; stroke:var(--other); stroke-width:1.5; stroke-dasharray:5 4; }
.dot { fill:var(--accent); }
.loud-dot { fill:var(--paper); stroke:var(--other); stroke-width:1.5; }
.sample { fill:var(--paper); stroke:var(--accent); stroke-width:2; }
.ring { fill:none; stroke:var(--warn); stroke-width:2; }
.limit { stroke:var(--warn); stroke-dasharray:2 4; }
.name { fill:var(--accent); font-weight:600; }
.quiet { fill:var(--soft); }
.chosen { fill:var(--warn); font-weight:600; }
"""


@dataclass(frozen=True)
class _Axes:
    """One plot: where it lies, and what its axes reach."""

    left: float
    right: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        up = math.log(y / self.y[0]) / math.log(self.y[1] / self.y[0])
        return self.left + (self.right - self.left) * across, _BOTTOM - (_BOTTOM - _TOP) * up


def draw(proposal: Proposal) -> str:
    """The picture of a proposal, as the text of an SVG file."""
    study = proposal.study
    privacy = require_privacy(study)
    lead = (
        f"epsilon {short(privacy.epsilon)} at delta {short(privacy.delta_in_force)}, about "
        f"{privacy.patients:,} patients at {len(study.sites)} hospitals"
    )
    title = f"The noise that {study.id} needs"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(f'{lead}. {proposal.reason}')}</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        _text("title", 44, 50, title),
        _text("lead", 44, 76, lead),
        *_ways(proposal),
        *_budgets(proposal),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _ways(proposal: Proposal) -> Iterator[str]:
    designs = sorted(proposal.designs, key=lambda design: design.steps)
    noises = [noise for one in designs for noise in (one.step_noise, one.average_noise)]
    steps = [design.steps for design in designs]
    axes = _Axes(100, 500, (0.75 * min(steps), 1.4 * max(steps)), _decades(noises))
    yield _text("head", 44, 118, "Noise, in % of the clipping norm, by the number of steps")
    yield from _key(44, "dot", "left by everybody")
    yield from _key(188, "sample", "left by samples of a share")
    yield from _key(382, "loud-dot", "of one step")
    yield from _frame(axes, _thinned(steps, 7), lambda x: f"{x:g}", "steps")
    if axes.y[0] < 1 <= axes.y[1]:
        yield _rule("limit", axes, 1)
        x, y = axes.left + 4, axes.at(axes.x[0], 1)[1]
        yield _text("chosen", x, y + 17, "above this, a step is drowned")
    whole = [design for design in designs if design.sampling_rate == 1]
    samples = [design for design in designs if design.sampling_rate < 1]
    yield _polyline("loud", [axes.at(one.steps, one.step_noise) for one in designs])
    for design in designs:
        yield _dot("loud-dot", axes, design.steps, design.step_noise, 3)
    yield _polyline("curve", [axes.at(one.steps, one.average_noise) for one in whole])
    for design in whole:
        yield _dot("dot", axes, design.steps, design.average_noise, 4)
    for design in samples:
        yield _dot("sample", axes, design.steps, design.average_noise, 4)
        x, y = axes.at(design.steps, design.average_noise)
        yield _text("quiet", x, y - 10, percent(design.sampling_rate), "middle")
    yield from _ring(axes, proposal.chosen.steps, proposal.chosen.average_noise)


def _budgets(proposal: Proposal) -> Iterator[str]:
    epsilons = [epsilon for epsilon, _ in proposal.epsilons]
    axes = _Axes(
        600,
        WIDTH - 44,
        (0.8 * min(epsilons), 1.25 * max(epsilons)),
        _decades([noise for _, noise in proposal.epsilons]),
    )
    agreed = require_privacy(proposal.study).epsilon
    yield _text("head", 552, 118, "Noise left in the model, by epsilon")
    yield from _key(552, "dot", "trained as proposed")
    yield from _frame(axes, epsilons, short, "epsilon")
    yield _polyline("curve", [axes.at(*point) for point in proposal.epsilons])
    for epsilon, noise in proposal.epsilons:
        yield _dot("dot", axes, epsilon, noise, 4)
        if epsilon == agreed:
            yield from _ring(axes, epsilon, noise)
            x, y = axes.at(epsilon, noise)
            yield _text("chosen", x + 12, y - 10, percent(noise))


def _key(x: float, kind: str, words: str) -> Iterator[str]:
    """One entry of the legend, in a row below a plot's heading."""
    yield f'<circle class="{kind}" cx="{x + 5:g}" cy="138" r="4"/>'
    yield _text("quiet", x + 16, 142, words)


def _frame(
    axes: _Axes, ticks: Sequence[float], name: Callable[[float], str], across: str
) -> Iterator[str]:
    power = math.log10(axes.y[0])
    for step in range(round(math.log10(axes.y[1] / axes.y[0])) + 1):
        y = 10 ** (power + step)
        yield _rule("axis" if step == 0 else "grid", axes, y)
        yield _text("quiet", axes.left - 10, axes.at(axes.x[0], y)[1] + 4, _label(y), "end")
    for tick in ticks:
        x = axes.at(tick, axes.y[0])[0]
        yield _text("quiet", x, _BOTTOM + 20, name(tick), "middle")
    yield _text("quiet", (axes.left + axes.right) / 2, _BOTTOM + 44, across, "middle")


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten that hold all values, with some room for what is written beside them."""
    low, high = math.log10(0.8 * min(values)), math.log10(1.25 * max(values))
    return 10.0 ** math.floor(low), 10.0 ** max(math.ceil(high), math.floor(low) + 1)


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """Ticks that don't touch: of neighbours closer than a factor of 1.6 only the first."""
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or value >= 1.6 * kept[-1]:
            kept.append(value)
    return kept[:: math.ceil(len(kept) / most)] if len(kept) > most else kept


def _label(share: float) -> str:
    return f"{100 * share:.10g} %"


def _ring(axes: _Axes, x: float, y: float) -> Iterator[str]:
    yield _dot("ring", axes, x, y, 9)


def _dot(kind: str, axes: _Axes, x: float, y: float, radius: float) -> str:
    across, down = axes.at(x, y)
    return f'<circle class="{kind}" cx="{across:.1f}" cy="{down:.1f}" r="{radius:g}"/>'


def _rule(kind: str, axes: _Axes, y: float) -> str:
    down = axes.at(axes.x[0], y)[1]
    return (
        f'<line class="{kind}" x1="{axes.left:g}" x2="{axes.right:g}" y1="{down:.1f}" '
        f'y2="{down:.1f}"/>'
    )


def _polyline(kind: str, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _text(kind: str, x: float, y: float, words: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}'
        "</text>"
    )
