"""The profile page's small pictures, as inline SVG without scripts, fonts or images from outside.

They place everything in per cent of their width and take colours from the page's style sheet by
class. The numbers stand beside them, so they are decoration to a screen reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

BARS = 28
_HEIGHT = 56


def masses(quantiles: Sequence[float], bars: int = BARS) -> NDArray[np.float64]:
    """Shares of the values in ``bars`` equal bins from the least to the greatest, summing to 1.

    ``quantiles`` are equally spaced in probability. Between two of them values are taken to be
    spread evenly; where several coincide, that share lies at one point, as a pile of zeros does.
    """
    points = np.asarray(quantiles, dtype=np.float64)
    low, high = points[0], points[-1]
    each = 1.0 / (len(points) - 1)
    if not high > low:
        return np.where(np.arange(bars) == bars // 2, 1.0, 0.0)
    edges = np.linspace(low, high, bars + 1)
    start, stop = points[:-1], points[1:]
    width = stop - start
    piled = width <= 0
    # Overlap of every bin with every stretch between quantiles: (bars, stretches), both small.
    overlap = np.minimum(edges[1:, None], stop) - np.maximum(edges[:-1, None], start)
    spread = np.clip(overlap, 0.0, None)[:, ~piled] / width[~piled]
    shares: NDArray[np.float64] = spread.sum(axis=1) * each
    where = np.clip(((start[piled] - low) / (high - low) * bars).astype(int), 0, bars - 1)
    np.add.at(shares, where, each)
    shares /= shares.sum()
    return shares


def histogram(quantiles: Sequence[float]) -> Markup:
    """A small histogram from quantiles, least value at the left, greatest at the right."""
    shares = masses(quantiles)
    tallest = shares.max()
    parts = []
    for place, share in enumerate(shares.tolist()):
        if share > 0:
            height = max(_HEIGHT * share / tallest, 1.0)
            x, width = 100.0 * place / BARS, 100.0 / BARS - 0.5
            parts.append(
                f'<rect class="bar" x="{x:.2f}%" y="{_HEIGHT - height:.1f}" '
                f'width="{width:.2f}%" height="{height:.1f}"/>'
            )
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{_HEIGHT}" y2="{_HEIGHT}"/>')
    return _svg("histogram", _HEIGHT + 1, parts)


def share_bar(share: float, kind: str) -> Markup:
    """A thin bar filled to ``share``; ``kind`` is its class, one of this program's own words."""
    width = 0.0 if share <= 0 else min(max(100.0 * share, 1.0), 100.0)
    parts = ['<rect class="rail" width="100%" height="6" rx="3"/>']
    if width:
        parts.append(f'<rect class="{kind}" width="{width:.2f}%" height="6" rx="3"/>')
    return _svg("share", 6, parts)


def _svg(kind: str, height: int, parts: Sequence[str]) -> Markup:
    # Everything in parts was written above from numbers and fixed class names.
    return Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        kind,
        height,
        Markup("".join(parts)),  # noqa: S704
    )
