"""How soon one of 1,000 connected agents is woken, and what keeping them costs the coordinator.

The coordinator is the product's, in a process of its own. A study has at most 64 sites, so 1,000
agents can't each be a site: the connections are made under the certificates of seven sites, many
for each, as one agent with many connections would make them (the coordinator refuses two agents of
one site, and is not talked out of that). Every connection is a real one: mutual TLS 1.3, a
certificate that is checked, every request signed and checked against replay, a long poll of 25
seconds.

One more site has a single connection: the agent that is woken. It is asked by starting a set-up
among nine others of the study's sites, of which eight have answered before anyone hears of it. The
round trip is from there until its answer, signed and verified, is on the coordinator's disk and the
round's driver knows. The client is light: an agent's own writing to its disk is not in it.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._parties import prepare
from benchmarks._process import Party, free_port
from benchmarks.report import Cell, Report
from wardround.trust.canonical import JSON

IDLE_SITES, POOL = 7, 9
CONNECTIONS = 1000
PROCESSES = 4
WAKES = 300
CONNECT_S = 300.0
_COHORT: JSON = {"rounds_per_setup": 1, "deadline_s": 120}
_ADVERSARY: JSON = {"corrupt_sites": 0}


def run() -> Report:
    """A thousand agents, and for comparison one alone."""
    rows = [_measure(IDLE_SITES + 1, WAKES), _measure(CONNECTIONS, WAKES)]
    full = rows[-1]
    figures = {name: float(str(full[name])) for name in ("p50_ms", "p99_ms", "coordinator_mb")}
    figures["kb_per_connection"] = (
        1e3
        * (figures["coordinator_mb"] - float(str(rows[0]["coordinator_mb"])))
        / (CONNECTIONS - IDLE_SITES - 1)
    )
    notes = [
        f"{WAKES} wakes. Aims: p50_ms at most 5, p99_ms at most 50, coordinator_mb at most 300.",
        "coordinator_mb is the highest resident memory of the coordinator's process (VmHWM).",
    ]
    return Report(rows, figures, notes)


def _measure(connections: int, wakes: int) -> dict[str, Cell]:
    with _connected(connections) as service:
        woken, busy = [], []
        for _ in range(wakes):
            answer = service.coordinator.ask({"do": "wake", "site": service.site})
            woken.append(1e3 * float(str(answer["seconds"])))
            busy.append(1e3 * float(str(answer["busy_s"])))
            time.sleep(random.uniform(0.0, 0.05))
        memory = service.coordinator.ask({"do": "memory"})
        held = service.coordinator.ask({"do": "present"})["connections"]
        troubles = sum(int(str(one.ask({})["troubles"])) for one in service.agents)
    if troubles or int(str(held)) < connections:
        raise RuntimeError(f"{troubles} requests failed; {held} connections at the end")
    p50, p99 = np.percentile(woken, (50, 99))
    return {
        "connections": int(str(held)),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "slowest_ms": max(woken),
        "coordinator_busy_ms": float(np.median(busy)),
        "coordinator_mb": float(str(memory["peak_bytes"])) / 1e6,
    }


@dataclass(frozen=True)
class _Service:
    coordinator: Party
    agents: list[Party]
    site: str


@contextmanager
def _connected(connections: int) -> Iterator[_Service]:
    """A coordinator with so many agents waiting for work."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        port = free_port()
        url = f"https://127.0.0.1:{port}"
        prepare(Path(name), IDLE_SITES + POOL, url, cohort=_COHORT, adversary=_ADVERSARY)
        coordinator = Party("benchmarks._idle_parties", "coordinator", name, str(port), str(POOL))
        stack.callback(coordinator.end)
        coordinator.hear()
        idle = Counter(f"site-{number % IDLE_SITES:02d}" for number in range(connections - 1))
        woken = f"site-{IDLE_SITES + POOL - 1:02d}"
        agents = []
        for number in range(PROCESSES):
            mine = dict([*idle.items(), (woken, 1)][number::PROCESSES])
            agents.append(Party("benchmarks._idle_parties", "agents", name, url, json.dumps(mine)))
            stack.callback(agents[-1].end)
        for one in agents:
            one.hear()
        _wait_for(coordinator, connections)
        coordinator.ask({"do": "open"})
        yield _Service(coordinator, agents, woken)


def _wait_for(coordinator: Party, connections: int) -> None:
    deadline = time.monotonic() + CONNECT_S
    while (held := int(str(coordinator.ask({"do": "present"})["connections"]))) < connections:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {held} of {connections} agents could connect")
        time.sleep(0.2)
