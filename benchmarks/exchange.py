"""One exchange, masked, beside moving the same bytes unmasked over the same HTTPS stack.

Eight sites and a coordinator are processes of their own with mutual TLS on loopback. An exchange
is everything from asking for a task to its opened total: the model down, confined computation,
encoding, masking, spooling, packets up, votes, recovery, opening, and every durable write.
Set-ups are batched (one per 64 rounds) and reported apart, as the slowest exchange.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks._parties import prepare
from benchmarks._process import Party, free_port
from benchmarks.report import Cell, Report
from wardround.trust.canonical import JSON

SITES = 8
REPEATS = 20
SIZES = {"10k": 10_000, "1m": 1_000_000, "10m": 10_000_000}


def run() -> Report:
    """All sizes with eight sites, and the coordinator's memory with eight and with four."""
    rows: list[dict[str, Cell]] = []
    figures: dict[str, float] = {}
    with federation_of(SITES) as federation:
        for name, length in SIZES.items():
            row = federation.measure(length, REPEATS)
            rows.append({"sites": SITES, "floats": name, **row})
            figures[f"s_{name}"] = row["exchange_s"]
            figures[f"ratio_{name}"] = row["exchange_s"] / row["plain_s"]
    memory = {sites: _memory(sites, SIZES["10m"]) for sites in (SITES // 2, SITES)}
    extra = (memory[SITES] - memory[SITES // 2]) / (SITES - SITES // 2)
    figures["mb_per_extra_site"] = extra / 1e6
    rows += [
        {"sites": sites, "floats": "10m", "coordinator_peak_mb": peak / 1e6}
        for sites, peak in memory.items()
    ]
    notes = [
        f"Medians of {REPEATS}. plain: the same bytes down and up over the same stack, unmasked.",
        "Aims: s_10k 0.06 (at most 0.1), s_1m 0.4, ratio_10m 2, mb_per_extra_site 2.",
    ]
    return Report(rows, figures, notes)


def _memory(sites: int, length: int) -> float:
    """The coordinator's peak memory over a few exchanges, in bytes."""
    with federation_of(sites) as federation:
        federation.coordinator.ask({"do": "sum", "length": 1000})
        federation.coordinator.ask({"do": "forget_peak"})
        for _ in range(3):
            federation.coordinator.ask({"do": "sum", "length": length})
        return float(str(federation.coordinator.ask({"do": "memory"})["peak_bytes"]))


class _Federation:
    def __init__(self, coordinator: Party, sites: list[Party]) -> None:
        self.coordinator = coordinator
        self.sites = sites

    def sum(self, length: int) -> float:
        """The seconds that one exchange takes."""
        return float(str(self.coordinator.ask({"do": "sum", "length": length})["seconds"]))

    def measure(self, length: int, repeats: int) -> dict[str, float]:
        """Median seconds of an exchange and of moving the same bytes, in turn."""
        exchange, plain = [], []
        self.coordinator.ask({"do": "sum", "length": length})
        for number in range(repeats):
            answer = self.coordinator.ask({"do": "sum", "length": length})
            exchange.append(float(str(answer["seconds"])))
            started = time.perf_counter()
            for site in self.sites:
                site.tell({**answer, "name": f"{length}-{number}"})
            for site in self.sites:
                site.hear()
            plain.append(time.perf_counter() - started)
            self.coordinator.ask({"do": "drop", "round": f"{length}-{number}"})
        return {
            "exchange_s": statistics.median(exchange),
            "plain_s": statistics.median(plain),
            "fastest_s": min(exchange),
            "slowest_s": max(exchange),
        }


@contextmanager
def federation_of(
    sites: int, kbit_s: int | None = None, deadline_s: int = 120, place: Path | None = None
) -> Iterator[_Federation]:
    """A coordinator and its sites, each site on a line of ``kbit_s`` both ways, if any.

    Their state is in a folder in ``place``, or where temporary files are.
    """
    with tempfile.TemporaryDirectory(dir=place) as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        url = f"https://127.0.0.1:{port}"
        cohort: JSON = {"rounds_per_setup": 64, "deadline_s": deadline_s}
        prepare(folder, sites, url, cohort=cohort)
        coordinator = Party("benchmarks._parties", "coordinator", name, str(port))
        stack.callback(coordinator.end)
        coordinator.hear()
        parties = []
        line = [] if kbit_s is None else [str(kbit_s)]
        for number in range(sites):
            words = ("site", name, url, f"site-{number:02d}", *line)
            parties.append(Party("benchmarks._parties", *words))
            stack.callback(parties[-1].end)
        for party in parties:
            party.hear()
        yield _Federation(coordinator, parties)
