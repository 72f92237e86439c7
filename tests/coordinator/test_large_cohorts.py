"""More than 32 hospitals: the services carry the sparse graph, and an auditor follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from sqlalchemy import select

from ward import Ward, open_ward, table, until
from wardround.algorithms.plan import run_study
from wardround.coordinator.results import gather_evidence
from wardround.errors import WardroundError
from wardround.federation.messages import Instruction
from wardround.governance import EvidenceFile, verify
from wardround.governance.artefact import encode_model, sign_model
from wardround.ids import SiteName
from wardround.learning.registry import compute
from wardround.secagg.messages import Deal
from wardround.site.custody import computable
from wardround.site.tables import tasks
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope

MANY = tuple(SiteName(f"hospital-{number:02}") for number in range(36))
# Few may drop out, so that the graph is sparse: 13 choices and about 21 neighbours of 35.
COHORT = {"minimum_sites": 30, "deadline_s": 20.0}


def large(folder: Path, start: bool = True, **cohort: float) -> object:
    tables = {site: table(site, 240) for site in MANY}
    changes = {"cohort": {**COHORT, **cohort}, "adversary": {"corrupt_sites": 3}}
    return open_ward(folder, sites=MANY, start=start, tables=tables, **changes)


def truth(ward: Ward, sites: tuple[SiteName, ...]) -> np.ndarray:
    task = ward.task()
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
    }
    parts = [
        compute(computable(ward.study, ward.hospitals[site].custody.table), request, None)
        for site in sites
    ]
    return np.sum(parts, axis=0)


async def test_thirty_six_hospitals_sum_over_a_sparse_graph(tmp_path: Path) -> None:
    async with large(tmp_path) as ward:
        rule = ward.study.graph_rule(36)
        assert not rule.is_complete
        total = await asyncio.wait_for(ward.driver.sum(ward.task()), 60)
        assert total.survivors == MANY
        assert list(total.values) == list(truth(ward, MANY))
        # Nobody was sent shares of everybody, and the graph is the one that the sites drew.
        graph = ward.coordinator.exchange.graph()
        assert all(len(graph.holders(site)) == rule.degree + 1 for site in MANY)
        assert {one.facts["site"] for one in ward.entries("choice")} == set(MANY)


@pytest.mark.parametrize(
    ("stage", "survives"),
    [
        pytest.param("choice", False, marks=pytest.mark.slow),
        pytest.param("deal", False, marks=pytest.mark.slow),
        pytest.param("packet", False, marks=pytest.mark.slow),
        pytest.param("vote", True, marks=pytest.mark.slow),
        ("shares", True),
    ],
)
async def test_hospitals_die_before(stage: str, survives: bool, tmp_path: Path) -> None:
    async with large(tmp_path, deadline_s=4.0) as ward:
        gone = MANY[:3]
        for site in gone:
            ward.hospitals[site].line.die_before(stage)
        total = await asyncio.wait_for(ward.driver.sum(ward.task()), 90)
        left = MANY if survives else MANY[3:]
        assert total.survivors == left
        assert list(total.values) == list(truth(ward, left))
        # Nobody is blamed for shares that were merely not enough yet.
        assert not ward.entries("bad-shares")
        if stage == "shares":  # whoever agreed is done with the task, shares given or not
            for site in gone:
                with ward.hospitals[site].database.begin() as connection:
                    assert connection.scalar(select(tasks.c.recovered)) is True


async def test_whoever_gave_shares_that_never_came_gives_the_same_total_again(
    tmp_path: Path,
) -> None:
    """All lost their keys when they had closed the task: it is repeated over a fresh graph."""
    async with large(tmp_path) as ward:
        gave = list(ward.hospitals.values())
        for one in gave:
            one.line.die_before("shares")
        work = asyncio.create_task(ward.driver.sum(ward.task()))
        await until(lambda: all("shares" in {leaf.kind for leaf in one.entries()} for one in gave))
        for one in gave:
            await one.kill()
            one.line.before = lambda _kind: None
            await one.start()
        total = await asyncio.wait_for(work, 120)
        assert total.survivors == MANY and list(total.values) == list(truth(ward, MANY))
        assert ward.coordinator.exchange.manifest.minimum_survivors == len(MANY)
        assert not ward.entries("bad-shares")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> EvidenceFile:
    """A whole run of 36 hospitals, to its evidence."""

    async def play() -> EvidenceFile:
        async with large(tmp_path_factory.mktemp("large"), start=False) as ward:
            for hospital in ward.hospitals.values():
                hospital._ending = lambda documents, _model: digest(
                    Envelope.from_json(documents["signature"]).payload
                )
                await hospital.start()
            await ward.coordinator.wait_for_sites(len(MANY), 20.0)
            driver = ward.drive()
            candidate = await asyncio.wait_for(run_study(driver), 240)
            coordinator = ward.coordinator
            exchange = coordinator.exchange
            model = encode_model(candidate, ward.study, exchange.run)
            signature = orjson.loads(sign_model(model, coordinator.key).to_json())
            exchange.finish(
                {"description": model.description.decode(), "signature": signature}, model.weights
            )
            await until(lambda: len(exchange.witnesses) == len(MANY))
            return gather_evidence(coordinator, candidate)

    return asyncio.run(play())


@pytest.mark.slow
def test_its_evidence_verifies(evidence: EvidenceFile) -> None:
    report = verify(evidence)
    assert report.ok, report.failures


@pytest.mark.slow
def test_a_deal_to_another_number_spoils_the_evidence(evidence: EvidenceFile) -> None:
    (batch, record), *_ = evidence.batches.items()
    site, envelope = next(iter(record.deals.items()))
    deal = Deal.from_wire(orjson.loads(envelope.payload))
    fewer = {**orjson.loads(envelope.payload), "sealed": dict(list(deal.sealed.items())[1:])}
    forged = Envelope(envelope.payload_type, orjson.dumps(fewer), envelope.signatures)
    changed = record.model_copy(update={"deals": {**record.deals, site: forged}})
    batches = {**evidence.batches, batch: changed}
    report = verify(evidence.model_copy(update={"batches": batches}))
    assert "Set-up" in {check.name for check in report.failures}


@pytest.mark.parametrize("ask", ["choose", "deal"])
async def test_an_instruction_without_its_tree_is_refused(ask: str, tmp_path: Path) -> None:
    async with large(tmp_path, start=False) as ward:
        hospital = ward.hospitals[MANY[0]]
        await hospital.start()
        seat = hospital.agent._seat
        batch = {"run": "run-1", "batch": "run-1.b.000000"}
        seat.advertise(Instruction(ask="advertise", pool=MANY, rounds=1, **batch))
        call: Callable[[Instruction], object] = getattr(seat, ask)
        with pytest.raises(WardroundError) as refused:
            call(Instruction(ask=ask, **batch))
        assert refused.value.code in ("WR-ROUND-001", "WR-SECAGG-010")
