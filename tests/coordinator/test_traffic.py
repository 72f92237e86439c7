"""Every byte of a body counts, for the hospital that it came from or went to, and its round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ward import SITES, Ward, code_of, open_ward
from wardround.coordinator import traffic
from wardround.coordinator.http import create_app
from wardround.governance.report import RoundFacts, SiteTraffic
from wardround.governance.report.render import _rounds_note
from wardround.simulation.inprocess import Certified

ME, PEER = SITES[:2]


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path) as ward:
        yield ward


def counted(ward: Ward, scope: str) -> dict[str, traffic.Moved]:
    ward.coordinator.exchange.save_checkpoint()
    with ward.coordinator.state.database.begin() as connection:
        return traffic.load(connection, [scope]).get(scope, {})


async def test_a_round_counts_what_each_hospital_sent_and_was_sent(ward: Ward) -> None:
    total = await ward.driver.sum(ward.task())
    exchange = ward.coordinator.exchange
    moved = counted(ward, total.round)
    assert set(moved) == set(SITES)
    for one in moved.values():
        assert one.bytes_in > exchange.manifest.payload_bytes
        assert one.bytes_out > len(exchange.task)


async def test_counts_add_up_over_checkpoints_and_are_a_hospitals_own(ward: Ward) -> None:
    total = await ward.driver.sum(ward.task())
    before = counted(ward, total.round)
    agent = ward.hospitals[ME].agent
    assert agent is not None
    body = bytes(1000)
    assert (await code_of(agent.link.renew(body))).startswith("WR-")
    after = counted(ward, total.round)
    assert after[ME].bytes_in == before[ME].bytes_in + len(body)
    assert after[ME].bytes_out > before[ME].bytes_out
    assert after[PEER] == before[PEER]


async def test_whoever_is_not_let_in_is_counted_for_nobody(ward: Ward) -> None:
    total = await ward.driver.sum(ward.task())
    before = counted(ward, total.round)
    app = Certified(create_app(ward.coordinator), ward.hospitals[ME].certificate)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
        assert (await client.post("/v1/renew", content=bytes(5000))).status_code == 409
        assert (await client.get("/v1/health")).status_code == 200
    assert counted(ward, total.round) == before


def test_the_report_says_what_was_moved() -> None:
    facts = {"kind": "moments", "started": "2026-11-21T09:14:00Z", "seconds": 1.0, "step": 0}
    moved = {"lakeside": SiteTraffic(bytes_in=1_500_000, bytes_out=2_000)}
    said = _rounds_note((RoundFacts(round="r", traffic=moved, **facts),))
    assert "1.5 MB" in said and "2 kB" in said
    assert "received" not in _rounds_note((RoundFacts(round="r", **facts),))
