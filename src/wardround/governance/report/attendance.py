"""Who answered in which round, as a strip for each hospital.

Only what the rounds themselves make public: who was in a total, who was asked and was not. How long
an answer took is never told: it may say how many records a hospital has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from markupsafe import Markup

from wardround.governance.report.data import RoundFacts

MOST_CELLS = 120
"""A longer run is drawn with several rounds in a cell, which shows the worst of them."""

HEIGHT = 28
_CELL_HEIGHT = 12


class Part(StrEnum):
    """A hospital's part in a round, the worst last."""

    NOT_ASKED = "out"
    HERE = "here"
    MISSING = "missing"
    REFUSED = "refused"


_WORDS = {
    Part.NOT_ASKED: "not asked",
    Part.HERE: "answered",
    Part.MISSING: "asked, no answer in time",
    Part.REFUSED: "refused",
}
_RANK = {part: rank for rank, part in enumerate(Part)}


def attendance(sites: Iterable[str], rounds: Sequence[RoundFacts]) -> list[dict[str, object]]:
    """A row for each hospital that was asked in any round of its group."""
    rows: list[dict[str, object]] = []
    for site in sites:
        groups = {one.group for one in rounds if _part(site, one) is not Part.NOT_ASKED}
        mine = [one for one in rounds if one.group in groups]
        parts = [_part(site, one) for one in mine]
        asked = [part for part in parts if part is not Part.NOT_ASKED]
        if asked:
            rows.append(
                {
                    "site": site,
                    "strip": strip(mine, parts),
                    "answered": asked.count(Part.HERE),
                    "asked": len(asked),
                }
            )
    return rows


def _part(site: str, one: RoundFacts) -> Part:
    if site in one.survivors:
        return Part.HERE
    if site in one.refused:
        return Part.REFUSED
    return Part.MISSING if site in one.dropped else Part.NOT_ASKED


def strip(rounds: Sequence[RoundFacts], parts: Sequence[Part]) -> Markup:
    """Cells from left to right, the first round first."""
    each = -(-len(parts) // MOST_CELLS)
    cells = [range(start, min(start + each, len(parts))) for start in range(0, len(parts), each)]
    width = 100.0 / max(len(cells), 24)  # a short run keeps cells of the same size as others
    drawn = []
    for number, cell in enumerate(cells):
        part = max((parts[index] for index in cell), key=_RANK.__getitem__)
        if part is Part.NOT_ASKED:
            continue
        first, last = (f"step {rounds[index].step + 1}" for index in (cell[0], cell[-1]))
        where = first if first == last else f"{first} to {last}"
        drawn.append(
            Markup(
                '<rect class="{}" x="{:.3f}%" y="8" width="{:.3f}%" height="{}" rx="1.5">'
                "<title>{}: {}</title></rect>"
            ).format(part.value, number * width, width * 0.72, _CELL_HEIGHT, where, _WORDS[part])
        )
    return Markup('<svg class="strip" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        HEIGHT, Markup("").join(drawn)
    )
