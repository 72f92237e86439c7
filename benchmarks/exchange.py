"""One exchange, masked, beside moving the same bytes unmasked over the same HTTPS stack.

Eight sites and a coordinator are processes of their own with mutual TLS on loopback. An exchange
is everything from asking for a task to its opened total: the model down, confined computation,
encoding, masking, spooling, packets up, votes, recovery, opening, and every durable write.
Set-ups are batched (one per 64 rounds) and reported apart, as the slowest exchange.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks._parties import prepare
from benchmarks.report import Cell, Report

SITES = 8
REPEATS = 20
SIZES = {"10k": 10_000, "1m": 1_000_000, "10m": 10_000_000}


def run() -> Report:
    """All sizes with eight sites, and the coordinator's memory with eight and with four."""
    rows: list[dict[str, Cell]] = []
    figures: dict[str, float] = {}
    with parties(SITES) as federation:
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
    with parties(sites) as federation:
        federation.coordinator.ask({"do": "sum", "length": 1000})
        federation.coordinator.ask({"do": "forget_peak"})
        for _ in range(3):
            federation.coordinator.ask({"do": "sum", "length": length})
        return float(str(federation.coordinator.ask({"do": "memory"})["peak_bytes"]))


class _Party:
    """A process that obeys JSON lines."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._parties", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, order: Mapping[str, object]) -> dict[str, object]:
        """Give an order and wait for the answer."""
        self.tell(order)
        return self.hear()

    def tell(self, order: Mapping[str, object]) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, object]:
        """Wait for an answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a party of the benchmark has died; its words are above")
        answer: dict[str, object] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Federation:
    """The parties of an exchange, each a process."""

    def __init__(self, coordinator: _Party, sites: list[_Party]) -> None:
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
def parties(sites: int, place: Path | None = None) -> Iterator[Federation]:
    """So many site processes and a coordinator, all with their state in a folder in ``place``."""
    with tempfile.TemporaryDirectory(dir=place) as name, ExitStack() as stack:
        folder = Path(name)
        port = _free_port()
        url = f"https://127.0.0.1:{port}"
        prepare(folder, sites, url)
        coordinator = _Party("coordinator", name, str(port))
        stack.callback(coordinator.end)
        coordinator.hear()
        started = []
        for number in range(sites):
            started.append(_Party("site", name, url, f"site-{number:02d}"))
            stack.callback(started[-1].end)
        for party in started:
            party.hear()
        yield Federation(coordinator, started)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
