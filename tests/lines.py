"""A ward over real TLS whose hospitals have the agent's own connections, through faulty lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from fault_proxy import FaultProxy
from ward import WARDS, Hospital, HttpsWard, Line, open_ward, policy
from wardround.federation.federation import Total
from wardround.ids import SiteName
from wardround.simulation.inprocess import Keys
from wardround.site.door import Custody
from wardround.site.link import Patience, https_client
from wardround.study import Study
from wardround.study.hospital import Network
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context

BRISK = Patience(wait_s=1.0, answer_s=0.5, connect_s=1.0)
"""An agent that takes a line for dead after a second and a half."""


class Client(httpx.AsyncBaseTransport):
    """The agent's own client, as what `Line` listens to."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.client.send(request)

    async def aclose(self) -> None:
        await self.client.aclose()


class LinesWard(HttpsWard):
    """Each hospital's line goes through a `FaultProxy` of its own, ``lines[site]``."""

    def __init__(self, folder: Path, study: Study, keys: Keys) -> None:
        super().__init__(folder, study, keys)
        self.patience = BRISK
        self.lines: dict[SiteName, FaultProxy] = {}
        self.inspecting: dict[SiteName, Path] = {}
        """The authority of a proxy that a hospital lets open its connection."""

    async def serve(self) -> None:
        await super().serve()
        for site in self.study.site_keys:
            if site not in self.lines:
                self.lines[site] = FaultProxy(lambda: self._port, self.loopback)
                await self.lines[site].__aenter__()

    def transport(self, site: SiteName, certificate: bytes) -> httpx.AsyncBaseTransport:
        if site not in self._clients:
            context = client_context(
                self.tls / "ca.pem",
                self.tls / f"{site}.pem",
                self.tls / f"{site}.key",
                inspecting_ca=self.inspecting.get(site),
            )
            client = Client(https_client(self.way(site), context, patience=self.patience))
            self._clients[site] = client
        return self._clients[site]

    def way(self, site: SiteName) -> str:
        """The address under which a hospital reaches the coordinator."""
        return self.address(self.lines[site].port)

    def invite(self, site: SiteName, custody: Custody, agent_key: SigningKey) -> Hospital:
        authority = self.inspecting.get(site)
        network = Network(
            longest_wait_s=self.patience.wait_s,
            inspecting_proxy_ca=None if authority is None else str(authority),
        )
        hospital = policy(network=network)
        made = super().invite(site, replace(custody, hospital=hospital), agent_key)
        line: Line = made.line
        return replace(
            made, client=lambda: httpx.AsyncClient(transport=line, base_url=self.way(site))
        )

    async def close(self) -> None:
        await super().close()
        for line in self.lines.values():
            await line.__aexit__()


WARDS["lines"] = LinesWard


@asynccontextmanager
async def open_lines(folder: Path, **changes: object) -> AsyncIterator[LinesWard]:
    """See `ward.open_ward`."""
    async with open_ward(folder, "lines", **changes) as ward:
        assert isinstance(ward, LinesWard)
        yield ward


async def total_of(ward: LinesWard, kind: str = "outcome_counts") -> Total:
    """One step of the run; a test that hangs fails."""
    return await asyncio.wait_for(ward.driver.sum(ward.task(kind)), 30)
