"""The profile page's small pictures, as inline SVG without scripts, fonts or images from outside.

They place everything in per cent of their width and take colours from the page's style sheet by
class. The numbers stand beside them, so they are decoration to a screen reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_HEIGHT = 56


def histogram(counts: Sequence[int]) -> Markup:
    """A small histogram of counts in equal bins, the least values at the left."""
    tallest = max(counts, default=0)
    parts = []
    for place, count in enumerate(counts):
        if count > 0:
            height = max(_HEIGHT * count / tallest, 1.0)
            x, width = 100.0 * place / len(counts), 100.0 / len(counts) - 0.5
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
