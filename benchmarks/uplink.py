"""A model of ten million numbers over a line of 20 Mbit/s, with and without compression.

Three sites and a coordinator are processes of their own with mutual TLS on loopback, as in
`exchange`. The line is the agent's own limit (``[network]`` in ``hospital.toml``): a token bucket
each way, and a narrow receive window. A round is one of FedAvg's: a model of float64 down, an
update up, masked, in ring elements of 64 bits or in lanes of 16 or 8 bits, opened and decoded.

What compression costs is measured twice: as the relative error of the sum, with updates a third as
long as the clipping norm; and as the AUROC of whole studies of the demonstration hospitals.
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
from wardround.ids import SiteName
from wardround.simulation.hospitals import FEATURES, OUTCOME
from wardround.simulation.inprocess import open_federation
from wardround.trust.canonical import JSON

LENGTH = 10_000_000
KBIT_S = 20_000
SITES = 3
SCHEMES = {"none": None, "rotate16": 16, "rotate8": 8}


def run() -> Report:
    """One round of each kind; then whole studies."""
    rows: list[dict[str, Cell]] = []
    figures: dict[str, float] = {}
    with federation_of(SITES, KBIT_S, deadline_s=900) as federation:
        for name, bits, step in (
            *((name, bits, False) for name, bits in SCHEMES.items()),
            ("rotate16, model as a delta", 16, True),
        ):
            order = {"do": "update", "length": LENGTH, "bits": bits, "step": step}
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
            short = name if not step else "delta"
            figures[f"s_{short}"] = told["seconds"]
            figures[f"mb_up_{short}"] = told["up"] / 1e6
            figures[f"error_{short}"] = told["error"]
    figures["mb_down_whole"] = float(str(rows[0]["down_mb"]))
    figures["mb_down_delta"] = float(str(rows[-1]["down_mb"]))
    with tempfile.TemporaryDirectory() as name:
        tables = demo_tables(Path(name) / "hospitals")
        for scheme in SCHEMES:
            auroc = asyncio.run(_auroc(scheme, tables, Path(name) / scheme))
            rows.append({"compression": f"{scheme}, whole study", "auroc": auroc})
            figures[f"auroc_{scheme}"] = auroc
    notes = [
        f"{SITES} sites, {LENGTH:,} float64 numbers, {KBIT_S:,} kbit/s each way and site, by the "
        "agent's own token bucket.",
        "Of an agent on a slow line each model comes as the difference to the last, where smaller: "
        "even of unrelated ones signs and exponents are alike.",
        "up and down: bytes of bodies per site; line alone: how long a line of that speed needs "
        "for them, one after the other.",
    ]
    return Report(rows, figures, notes)


async def _auroc(compression: str, tables: dict[SiteName, FeatureTable], folder: Path) -> float:
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
        candidate = await run_study(federation)
    held_out = candidate.evaluation["held_out"]
    assert isinstance(held_out, dict)
    return float(str(held_out["auroc"]))
