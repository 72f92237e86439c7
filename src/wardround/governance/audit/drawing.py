"""The audit page's own pictures, as inline SVG beside those of the report (`report.plots`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wardround.governance.report.plots import Mark, Scale, plain
from wardround.privacy.attacks import most_true_positives

_WIDTH, _HALF, _BINS = 640, 74, 64


def canary_histogram(
    scores: NDArray[np.float64], included: NDArray[np.bool_], guesses: int
) -> Markup:
    """Scores of canaries that were in (upwards) and out (downwards); the guessed ends are tinted.

    The ends are what the auditor dares to guess: at the left *out*, at the right *in*.
    """
    ordered = np.sort(scores)
    out = guesses // 2
    low, high = float(ordered[0]), float(ordered[-1])
    span = (high - low) or 1.0
    edges = np.linspace(low, low + span, _BINS + 1)
    above, below = (np.histogram(scores[which], bins=edges)[0] for which in (included, ~included))
    tallest = max(int(above.max(initial=0)), int(below.max(initial=0)), 1)

    def place(score: float) -> float:
        return _WIDTH * (score - low) / span

    first_in = place(float(ordered[len(ordered) - (guesses - out)]))
    parts = [
        f'<rect class="guessed" x="{first_in:.1f}" y="0" width="{_WIDTH - first_in:.1f}"'
        f' height="{2 * _HALF}"/>'
    ]
    if out:
        parts.append(
            f'<rect class="guessed" x="0" y="0" width="{place(float(ordered[out - 1])):.1f}"'
            f' height="{2 * _HALF}"/>'
        )
    width = _WIDTH / _BINS
    for number, (up, down) in enumerate(zip(above.tolist(), below.tolist(), strict=True)):
        for kind, count, top in (
            ("in", up, _HALF - _HALF * up / tallest),
            ("out", down, float(_HALF)),
        ):
            if count:
                parts.append(
                    f'<rect class="{kind}" x="{number * width + 0.4:.1f}" y="{top:.1f}"'
                    f' width="{width - 0.8:.1f}" height="{_HALF * count / tallest:.1f}"/>'
                )
    parts.append(f'<line class="base" x1="0" x2="{_WIDTH}" y1="{_HALF}" y2="{_HALF}"/>')
    return Markup(
        '<svg class="canaries" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(
        _WIDTH,
        2 * _HALF,
        "Scores of canaries that were in, upwards, and out, downwards",
        # Written above from numbers and fixed class names.
        Markup("".join(parts)),  # noqa: S704
    )


def bound_strip(bound: float, claim: float, scale: Scale) -> Markup:
    """The bound as a bar from 0, the claim as a line across it."""
    x, at = scale.percent(bound), scale.percent(claim)
    kind = "shown over" if bound > claim else "shown"
    return Markup(
        '<svg class="strip bound" width="100%" height="56" aria-hidden="true">'
        '<rect class="room" x="0" y="20" width="{}%" height="16" rx="2"/>'
        '<rect class="{}" x="0" y="20" width="{}%" height="16" rx="2"/>'
        '<line class="claim" x1="{}%" x2="{}%" y1="10" y2="46"/></svg>'
    ).format(at, kind, max(x, 0.3), at, at)


def allowed_region(epsilon: float, delta: float) -> list[tuple[float, float]]:
    """The most that (epsilon, delta) allows a test: true-positive by false-positive rate."""
    corner = (1.0 - delta) / (1.0 + math.exp(epsilon))
    rates = sorted({0.0, corner, 1.0 - delta if delta < 1 else 1.0, 1.0})
    return [(rate, most_true_positives(rate, epsilon, delta)) for rate in rates]


def error_scale(errors: Sequence[float]) -> Scale:
    """Whole powers of ten that hold all (positive) errors, and 1, with few labels."""
    logs = [math.log10(max(error, 1e-16)) for error in (*errors, 1.0)]
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), 1)
    step = max(1, math.ceil((high - low) / 6))
    ticks = tuple(float(tick) for tick in range(0, low - 1, -step)) + tuple(
        float(tick) for tick in range(step, high + 1, step)
    )
    return Scale(float(low), float(high), tuple(sorted(ticks)))


def error_mark(kind: str, error: float) -> Mark:
    """An error on `error_scale`."""
    return Mark(kind, math.log10(max(error, 1e-16)))


def error_axis(scale: Scale) -> Markup:
    """The numbers under a column of errors: powers of ten as people write them."""
    parts = []
    for tick in scale.ticks:
        x = scale.percent(tick)
        words = plain(10.0**tick) if -2 <= tick <= 3 else ""
        if words:
            label = Markup("{}").format(words)
        else:
            label = Markup('10<tspan dy="-5" font-size="9">{}</tspan>').format(plain(tick))
        parts.append(Markup('<text x="{}%" y="15" text-anchor="middle">{}</text>').format(x, label))
    return Markup('<svg class="axis" width="100%" height="20" aria-hidden="true">{}</svg>').format(
        Markup("").join(parts)
    )
