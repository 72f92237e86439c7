"""The routes under requests that no agent sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ward import SITES, Ward, code_of, open_ward
from wardround.coordinator.http import MAXIMUM_ENROLMENT_BYTES, create_app
from wardround.errors import WardroundError


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    async with open_ward(tmp_path) as ward:
        yield ward


async def enrol(ward: Ward, body: bytes) -> httpx.Response:
    app = httpx.ASGITransport(create_app(ward.coordinator))
    async with httpx.AsyncClient(transport=app, base_url="https://localhost") as client:
        return await client.post("/v1/enrol", content=body)


async def test_a_stranger_cannot_send_a_large_enrolment(ward: Ward) -> None:
    answer = await enrol(ward, bytes(MAXIMUM_ENROLMENT_BYTES + 1))
    assert answer.json()["code"] == "WR-COORD-013"


@pytest.mark.parametrize(
    "body", [b"", b"junk", b"[]", b"{}", b'{"site": 1, "token": "s3cret", "csr": ""}']
)
async def test_a_malformed_enrolment_has_a_code_and_is_not_repeated(
    ward: Ward, body: bytes
) -> None:
    answer = await enrol(ward, body)
    assert answer.json()["code"] == "WR-ROUND-001"
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("wait", ["nan", "-1", "-inf", "long"])
async def test_a_wait_that_is_no_time_is_refused(ward: Ward, wait: str) -> None:
    agent = ward.hospitals[SITES[0]].agent
    assert agent is not None
    asked = agent.link._request("POST", f"/v1/next?wait={wait}&seen=0", b"")
    assert await code_of(asyncio.wait_for(asked, 5)) == "WR-ROUND-001"


async def test_a_payload_that_changed_on_disk_is_not_summed(ward: Ward) -> None:
    """As after a power cut: the process that took the payloads in is gone."""
    driver = ward.driver
    opened = driver._open_ring

    def after_a_power_cut(state: object) -> object:
        spool = driver.exchange.spool
        path = spool.path(state.round, SITES[1])
        path.write_bytes(bytes(path.stat().st_size))
        spool._parts.clear()
        return opened(state)

    driver._open_ring = after_a_power_cut
    with pytest.raises(WardroundError, match="WR-COORD-012"):
        await asyncio.wait_for(driver.sum(ward.task()), 30)
