"""What a secure sum costs each client and the server, from 8 to 1,000 sites.

State machines in one process (`_large_cohort`), every message serialised and signed, 100,000
values of 32 bits, a fifth of the sites assumed corrupt, a fifth dropping out after they were dealt
to. Up to 32 sites all pairs mask together; above, each chooses its neighbours. A client's cost is
processor time in its own member for one whole sum, set-up included, so that other load on the
machine counts little; set-ups for many rounds at once cost less per round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks._curves import Curve, Panel, draw
from benchmarks._large_cohort import Played, play
from benchmarks.report import Cell, Report

SIZES = (8, 32, 128, 1000)
LENGTH = 100_000
SHARE = 5
"""One in so many is corrupt, and one in so many drops out."""
PICTURE = Path("benchmark-output/secagg_scale.svg")


def run() -> Report:
    """All sizes, and the picture of them."""
    rows: list[dict[str, Cell]] = []
    costs: dict[int, float] = {}
    neighbours: dict[int, float] = {}
    for sites in SIZES:
        # Small cohorts are over in a moment: the median of some keeps the noise out.
        repeats = 9 if sites <= 32 else 1
        played = [play(sites, sites // SHARE, sites // SHARE, LENGTH) for _ in range(repeats)]
        if not all(np.array_equal(one.total, one.expected) for one in played):
            raise AssertionError("a total is not the sum of what was put in")
        costs[sites] = float(np.median([_client_s(one) for one in played]))
        neighbours[sites] = played[0].neighbours
        rows.append(_row(sites, costs[sites], played[0]))
    ratio = costs[1000] / costs[32] / (neighbours[1000] / neighbours[32])
    figures = {
        "client_cost_over_k_ratio": ratio,
        "k_1000": neighbours[1000],
        "client_ms_1000": costs[1000] * 1e3,
        "server_s_1000": float(str(rows[-1]["server_s"])),
    }
    _picture(rows)
    notes = [
        f"k: with how many others a client masks. {played[0].rule.describe()}.",
        "client_cost_over_k_ratio: (client ms at 1,000 / at 32) / (k at 1,000 / 31), at most 1.2.",
        f"The picture is {PICTURE}.",
    ]
    return Report(rows, figures, notes)


def _client_s(played: Played) -> float:
    return float(np.mean([played.meter.seconds[site] for site in played.survivors]))


def _row(sites: int, client_s: float, played: Played) -> dict[str, Cell]:
    rule, meter = played.rule, played.meter
    carried = float(np.mean([meter.bytes[site] for site in played.survivors]))
    return {
        "sites": sites,
        "k": round(played.neighbours, 1),
        "holders": rule.degree + 1,
        "shares_needed": rule.share_threshold,
        "votes_needed": rule.adversary.threshold,
        "client_ms": client_s * 1e3,
        "client_kb": carried / 1e3,
        "overhead_kb": (carried - 4 * LENGTH) / 1e3,
        "server_s": played.server_s,
    }


def _picture(rows: list[dict[str, Cell]]) -> None:
    sites = [float(str(row["sites"])) for row in rows]
    client = [float(str(row["client_ms"])) for row in rows]
    carried = [float(str(row["overhead_kb"])) for row in rows]
    # All pairs beyond 32 sites, where nobody measures them: linear in the number of others.
    far = [count for count in sites if count >= 32]
    pairs = [(count - 1) / 31 for count in far]
    panels = (
        Panel(
            "A client's processor time for one sum",
            "ms",
            (
                Curve("all pairs, extrapolated", far, [client[1] * p for p in pairs], dashed=True),
                Curve("measured", sites, client),
            ),
        ),
        Panel(
            "What it sends and receives beside its vector",
            "kB",
            (
                Curve("all pairs, extrapolated", far, [carried[1] * p for p in pairs], dashed=True),
                Curve("measured", sites, carried),
            ),
        ),
    )
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw("sites", panels), "utf-8")
