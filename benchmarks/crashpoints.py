"""Every point at which a party of a three-site run can die, one run for each.

The points are recorded in a run in which nobody dies: each statement, commit, write, sync, rename,
making and removal of a name, at the coordinator and at each hospital; at those where something is
not synced, twice more without power. Each is died once, the party is started again, and the run
must come to the same totals, once each, with journals, ledgers and evidence in order. The harness
is that of the tests (``tests/faults``); on two cores it takes half an hour.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.report import Cell, Report

TESTS = Path(__file__).parent.parent / "tests"


def run() -> Report:
    """How many there are, and how many were survived."""
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        shares = pool.starmap(_share, [(number, cores) for number in range(cores)])
    died: Counter[tuple[str, str]] = Counter()
    lost: list[str] = []
    for counts, problems in shares:
        died.update(counts)
        lost += problems
    rows: list[dict[str, Cell]] = [
        {"party": party, "how": how, "points": count}
        for (party, how), count in sorted(died.items())
    ]
    points = sum(died.values())
    figures = {"points": float(points), "survived": float(points - len(lost))}
    return Report(rows, figures, lost[:20])


def _share(number: int, of: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Every ``of``-th death; what was died, and what went wrong."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    harness: Any = importlib.import_module("faults.enumeration")
    died: Counter[tuple[str, str]] = Counter()
    lost = []
    with harness.enumeration() as every:
        for death in every.deaths[number::of]:
            problem = asyncio.run(every.survives(death))
            died[death.party, death.loss.value] += 1
            if problem is not None:
                lost.append(problem)
    return died, lost
