"""Eight hospitals, one ten times slower: time to a loss, against waiting for all of them.

The loss is what federated averaging has after thirty rounds that wait for everybody. The deadline
that adapts has nothing to go by at first, so its first rounds wait for everybody too; they count.
"""

from __future__ import annotations

import asyncio
import statistics

from benchmarks._asynchronous import asynchronous
from benchmarks._straggler import SITES, TIMES_SLOWER, USUAL_S, Race, synchronous
from benchmarks.report import Cell, Report
from wardround.trust.canonical import JSON

ROUNDS = 30
CEILING_S = 60
ALL: dict[str, JSON] = {"deadline_s": CEILING_S, "deadline_floor_s": CEILING_S}
QUORUM: dict[str, JSON] = {
    "deadline_s": CEILING_S,
    "deadline_floor_s": 1,
    "target_sites": len(SITES) - 1,
}


def run() -> Report:
    """Waiting for all, then with the deadline that adapts, then at everybody's own pace."""
    patient = asyncio.run(synchronous(ALL, ROUNDS, None))
    target = patient.losses[-1]
    quorum = asyncio.run(synchronous(QUORUM, 3 * ROUNDS, target))
    own_pace = asyncio.run(asynchronous(target, 30 * ROUNDS))
    rows = [
        _row("all are waited for", patient, target),
        _row("adaptive deadline", quorum, target),
        _row("asynchronous", own_pace, target),
    ]
    figures = {
        "deadline_speedup": patient.time_to(target) / quorum.time_to(target),
        "async_speedup": patient.time_to(target) / own_pace.time_to(target),
        "all_s": patient.time_to(target),
        "deadline_s": quorum.time_to(target),
        "async_s": own_pace.time_to(target),
    }
    notes = [
        f"The slow one's worker sleeps {USUAL_S * TIMES_SLOWER:g} s before it computes, the "
        f"others' {USUAL_S:g} s, all by a fifth longer or shorter by chance; nothing else is "
        "made up but the records.",
        f"target_sites = {len(SITES) - 1}. The loss is over the records of all hospitals, also "
        "of the one that is late; the hospitals are alike here, and real ones are not.",
    ]
    return Report(rows, figures, notes)


def _row(name: str, race: Race, target: float) -> dict[str, Cell]:
    spans = [later - at for at, later in zip([0.0, *race.seconds], race.seconds, strict=False)]
    return {
        "what": name,
        "rounds": len(race.seconds),
        "seconds": race.time_to(target),
        "median_round_s": statistics.median(spans),
        "loss": race.losses[-1],
        "hospitals_in_a_total": statistics.mean(race.survivors),
    }
