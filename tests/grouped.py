"""Eight hospitals whose sums are over groups, and their whole runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import orjson

from ward import Ward, until
from wardround.algorithms import Candidate
from wardround.algorithms.plan import run_study
from wardround.coordinator.federate import GroupedDriver, federate
from wardround.coordinator.results import Published, gather_evidence, publish
from wardround.governance import EvidenceFile, verify
from wardround.governance.artefact import encode_model, sign_model
from wardround.ids import SiteName
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

EIGHT = tuple(SiteName(f"site-{letter}") for letter in "abcdefgh")


async def federated(ward: Ward) -> GroupedDriver:
    return await asyncio.wait_for(
        federate(ward.coordinator, lambda event, facts: ward.said.append((event, dict(facts)))), 30
    )


@dataclass
class _Home:
    results: Path


async def play(ward: Ward, results: Path) -> tuple[Candidate, EvidenceFile, Published]:
    """Start the agents of a ward, run its study to the end, and publish what came of it."""
    for hospital in ward.hospitals.values():
        hospital._ending = lambda documents, _model: digest(
            Envelope.from_json(documents["signature"]).payload
        )
        await hospital.start()
    await ward.coordinator.wait_for_sites(len(EIGHT), 10.0)
    ward.drive()
    candidate = await asyncio.wait_for(run_study(await federated(ward)), 120)
    evidence, published = await conclude(ward, candidate, results)
    return candidate, evidence, published


async def conclude(
    ward: Ward, candidate: Candidate, results: Path
) -> tuple[EvidenceFile, Published]:
    """Have all hospitals countersign what came of a run, and publish it."""
    coordinator, exchange = ward.coordinator, ward.coordinator.exchange
    model = encode_model(candidate, ward.study, exchange.run)
    signature = orjson.loads(sign_model(model, coordinator.key).to_json())
    exchange.finish(
        {"description": model.description.decode(), "signature": signature}, model.weights
    )
    await until(lambda: len(exchange.witnesses) == len(ward.hospitals))
    evidence = gather_evidence(coordinator, candidate)
    return evidence, publish(_Home(results), coordinator, candidate, evidence)


def failures(evidence: EvidenceFile) -> set[str]:
    """The checks that evidence does not pass."""
    return {check.name for check in verify(evidence).failures}
