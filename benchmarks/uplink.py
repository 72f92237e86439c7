"""A model of ten million numbers over a line of 20 Mbit/s, with and without compression.

Three sites and a coordinator are processes of their own with mutual TLS on loopback, as in
`exchange`. The line is the agent's own limit (``[network]`` in ``hospital.toml``): a token bucket
each way, and a narrow receive window. A round is one of FedAvg's: a model of float64 down, an
update up, masked, in ring elements of 64 bits or in lanes of 16 or 8 bits, opened and decoded.

What compression costs is measured twice: as the relative error of a round's sum, with updates a
third as long as the clipping norm; and as the AUROC and the log loss after 20 rounds of whole
studies of the demonstration hospitals. Random-k sends a tenth of the coordinates exactly and leaves
the others for later rounds, so what it costs can be told from whole studies only; one whose
hospitals forget what they did not send shows what their memory is good for.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.exchange import federation_of
from benchmarks.glm_exact import demo_tables
from benchmarks.report import Cell, Report
from wardround.algorithms import run_study
from wardround.clinical.table import FeatureTable
from wardround.federation.federation import Total
from wardround.ids import SiteName
from wardround.simulation.hospitals import FEATURES, OUTCOME
from wardround.simulation.inprocess import InProcessFederation, open_federation
from wardround.study import Task
from wardround.trust.canonical import JSON

LENGTH = 10_000_000
KBIT_S = 20_000
SITES = 3
SCHEMES = ("none", "rotate16", "rotate8", "random-k")
FORGETFUL = "random-k without memory"
DELTAS = {"delta": "rotate16", "random_k_delta": "random-k"}
"""Rounds whose model differs from the last one by a step, and so comes as the difference."""


def run() -> Report:
    """One round of each kind; then whole studies."""
    rows: list[dict[str, Cell]] = []
    figures: dict[str, float] = {}
    with federation_of(SITES, KBIT_S, deadline_s=900) as federation:
        for short, scheme in (*((_short(one), one) for one in SCHEMES), *DELTAS.items()):
            step = short in DELTAS
            name = f"{scheme}, model as a delta" if step else scheme
            order = {"do": "update", "length": LENGTH, "scheme": scheme, "step": step}
            told = {key: float(str(one)) for key, one in federation.coordinator.ask(order).items()}
            line_s = (told["up"] + told["down"]) * 8 / (KBIT_S * 1000)
            rows.append(
                {
                    "compression": name,
                    "up_mb": told["up"] / 1e6,
                    "down_mb": told["down"] / 1e6,
                    "round_s": told["seconds"],
                    "line_alone_s": line_s,
                    "relative_error": told["error"],
                }
            )
            figures[f"s_{short}"] = told["seconds"]
            figures[f"mb_up_{short}"] = told["up"] / 1e6
            figures[f"mb_down_{short}"] = told["down"] / 1e6
            figures[f"error_{short}"] = told["error"]
    figures["mb_down_whole"] = figures["mb_down_none"]
    with tempfile.TemporaryDirectory() as name:
        tables = demo_tables(Path(name) / "hospitals")
        for scheme in (*SCHEMES, FORGETFUL):
            auroc, loss = asyncio.run(_study(scheme, tables, Path(name) / scheme))
            row: dict[str, Cell] = {"auroc": auroc, "log_loss": loss}
            rows.append({"compression": f"{scheme}, whole study", **row})
            figures[f"auroc_{_short(scheme)}"] = auroc
            figures[f"log_loss_{_short(scheme)}"] = loss
    notes = [
        f"{SITES} sites, {LENGTH:,} float64 numbers, {KBIT_S:,} kbit/s each way and site, by the "
        "agent's own token bucket.",
        "Of an agent on a slow line each model comes as the difference to the last, where smaller: "
        "even of unrelated ones signs and exponents are alike. With random-k only those numbers "
        "change that were sent.",
        "relative error of random-k: of the tenth that has its turn, with all that was left of it "
        "before; the others come in the next nine rounds. Of the "
        f"{len(FEATURES) + 1} coefficients of the whole study one travels in a round.",
        "up and down: bytes of bodies per site; line alone: how long a line of that speed needs "
        "for them, one after the other.",
    ]
    return Report(rows, figures, notes)


def _short(scheme: str) -> str:
    return scheme.replace("-", "_").replace(" ", "_")


class _Forgetful:
    """A federation whose hospitals keep nothing from one round to the next."""

    def __init__(self, federation: InProcessFederation) -> None:
        self._federation = federation
        self.study = federation.study
        self.stream = federation.stream
        self.say = federation.say

    async def sum(self, task: Task) -> Total:
        for agent in self._federation.agents.values():
            agent._door.carried.forget()
        return await self._federation.sum(task)


async def _study(
    scheme: str, tables: dict[SiteName, FeatureTable], folder: Path
) -> tuple[float, float]:
    """The AUROC on held-out records and the log loss on the others, after 20 rounds."""
    compression = scheme.removesuffix(" without memory")
    document: dict[str, JSON] = {
        "id": "uplink",  # by which it is drawn who is held out: the same patients each time
        "title": "Benchmark",
        "question": "What does compression cost?",
        "purpose": "Measurement on public data.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2099-12-31",
        "data": {"outcome": OUTCOME, "features": [*FEATURES]},
        "model": {
            "kind": "logistic",
            "ridge": 1.0,
            "algorithm": "fedavg",
            "fedavg": {"rounds": 20, "clipping_norm": 5.0, "compression": compression},
        },
        "disclosure": {"opened_numbers": 100_000},
    }
    async with open_federation(document, tables, folder) as federation:
        whom = _Forgetful(federation) if scheme == FORGETFUL else federation
        candidate = await run_study(whom)
    held_out, papers = candidate.evaluation["held_out"], candidate.description
    assert isinstance(held_out, dict)
    loss = -float(str(papers["log_likelihood"])) / int(str(papers["training_records"]))
    return float(str(held_out["auroc"])), loss
