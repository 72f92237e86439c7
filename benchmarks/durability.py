"""What durability costs: a round with its state on the disk, and on a memory file system.

Both federations are the product's own processes over mutual TLS (see ``exchange``) and run at the
same time, one round in turn. On a memory file system a sync costs nothing and nothing outlasts the
power, which is what an in-memory store would be; all else is the same.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.exchange import federation_of
from benchmarks.report import Cell, Report

SITES = 4
LENGTH = 1_000_000
REPEATS = 30
MEMORY = Path("/dev/shm")
SYNCS = 50


def run() -> Report:
    """Medians of both, their ratio, and what one sync costs here."""
    if not MEMORY.is_dir():
        return Report([], {}, [f"There is no memory file system at {MEMORY}: nothing measured."])
    seconds: dict[str, list[float]] = {"disk": [], "memory": []}
    with federation_of(SITES) as disk, federation_of(SITES, place=MEMORY) as memory:
        both = {"disk": disk, "memory": memory}
        for one in both.values():
            for _ in range(3):
                one.sum(LENGTH)
        for _ in range(REPEATS):
            for name, one in both.items():
                seconds[name].append(one.sum(LENGTH))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    ratio = medians["disk"] / medians["memory"]
    rows: list[dict[str, Cell]] = [
        {
            "state_on": name,
            "sites": SITES,
            "floats": LENGTH,
            "round_s": medians[name],
            "fastest_s": min(taken),
            "slowest_s": max(taken),
        }
        for name, taken in seconds.items()
    ]
    small, large = (_sync_s(size) for size in (4096, 4 * LENGTH))
    notes = [
        f"Medians of {REPEATS} rounds each, in turn. Aim: ratio at most 1.5.",
        f"A sync takes {small * 1000:.1f} ms here of 4 KiB, {large * 1000:.1f} ms of a total.",
    ]
    return Report(rows, {"ratio": ratio}, notes)


def _sync_s(size: int) -> float:
    """Median seconds to write and sync a file of this size where temporary files lie."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(SYNCS):
            file.seek(0)
            started = time.perf_counter()
            file.write(bytes(size))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
