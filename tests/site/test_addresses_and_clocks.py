"""IPv6, wrong clocks, and firewalls that forget idle connections."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from fault_proxy import TunnelProxy
from lines import open_lines, total_of
from ward import SITES, open_ward, until
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.serve import bound
from wardround.site.link import Link, Patience, https_client, unreachable
from wardround.trust.authority import CertificateAuthority
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context


def speaks_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not speaks_ipv6(), reason="ipv6: this machine has no ::1")


@needs_ipv6
async def test_a_coordinator_at_an_ipv6_address_runs_rounds(tmp_path: Path) -> None:
    """Certificates, names and addresses of one that the study reaches at ``https://[::1]``."""
    async with open_lines(tmp_path, url="https://[::1]:8443", cohort={"deadline_s": 20.0}) as ward:
        assert ward.way(SITES[0]).startswith("https://[::1]:")
        assert (await total_of(ward)).survivors == SITES
        identity = ward.coordinator.enrolment.identity(SITES[0])
        assert identity == SpiffeId.parse(identity.text)


@needs_ipv6
def test_a_coordinators_folder_takes_an_ipv6_address(tmp_path: Path) -> None:
    home = CoordinatorHome.create(tmp_path / "home", "https://[::1]:8443")
    assert (home.host, home.port) == ("::1", 8443)
    (listener,) = bound("::1", 0)
    with listener:
        assert listener.family == socket.AF_INET6


# Clocks


@pytest.mark.parametrize(("off", "way"), [(-400, "slow"), (400, "fast")])
async def test_an_agent_with_a_wrong_clock_is_told_by_how_much_and_goes_on_when_it_is_set(
    off: int, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ward(tmp_path, "lines", start=False) as ward:
        real = time.time

        class Skewed:
            off_by = off

            def time(self) -> float:
                return real() + self.off_by

        clock = Skewed()
        monkeypatch.setattr("wardround.site.link.time", clock)
        hospital = ward.hospitals[SITES[0]]
        await hospital.start()
        await until(lambda: hospital.events)
        event, facts = hospital.events[0]
        assert (event, facts["code"]) == ("trouble", "WR-TRUST-044")
        said = re.search(rf"clock is (\d+) seconds {way} ", facts["problem"])
        assert said is not None and 350 < int(said[1]) < 450
        assert ward.entries("turned-away")[0].facts["code"] == "WR-TRUST-044"
        clock.off_by = 0
        await until(lambda: ward.coordinator.present() == SITES[:1])


@pytest.mark.parametrize("when", ["expired", "not valid yet"])
async def test_a_certificate_of_another_time_is_told_apart_from_a_stranger(
    when: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    authority = CertificateAuthority.create("ours", now - timedelta(days=200))
    authority.save(tmp_path)
    key = SigningKey.generate()
    key.save(tmp_path / "server.key")
    issued = now + timedelta(days=100 if when == "not valid yet" else -100)
    pem = authority.issue_server(key.public, ["localhost"], issued)
    (tmp_path / "server.pem").write_bytes(pem)
    context = server_context(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    asked = await asyncio.start_server(lambda *_: None, "localhost", 0, ssl=context)
    port = asked.sockets[0].getsockname()[1]
    async with https_client(
        f"https://localhost:{port}", client_context(tmp_path / "ca.pem")
    ) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("/v1/health")
    asked.close()
    problem = unreachable(caught.value)
    assert problem.code == "WR-SITE-172" and when in problem.problem


# Firewalls that forget


def connected_to(port: int) -> list[socket.socket]:
    """This process's own sockets with that port at their far end."""
    found = [one for one in gc.get_objects() if isinstance(one, socket.socket)]
    ends = []
    for one in found:
        with suppress(OSError):
            if one.getpeername()[1:2] == (port,):
                ends.append(one)
    return ends


@pytest.mark.parametrize("way", ["direct", "through a proxy"])
async def test_idle_connections_are_kept_known_to_what_is_on_the_way(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP keep-alive on both ends, sooner than any firewall forgets."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with TunnelProxy() as proxy:
        if way != "direct":
            monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        async with open_lines(tmp_path) as ward:
            port = ward.lines[SITES[0]].port if way == "direct" else proxy.port
            agents = connected_to(port)
            assert agents
            for one in agents:
                assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30


def test_what_the_coordinator_accepts_is_kept_known_too() -> None:
    (listener, *_) = bound("localhost", 0)
    with listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30


async def test_a_request_for_work_is_open_no_longer_than_the_hospital_says() -> None:
    asked: list[str] = []

    def far(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["wait"])
        return httpx.Response(204)

    client = httpx.AsyncClient(transport=httpx.MockTransport(far), base_url="https://localhost")
    identity = SpiffeId.of_site("localhost", "breast-mass", SITES[0])
    link = Link(client, SigningKey.generate(), identity, wait_s=7.5)
    assert await link.next(0) is None
    assert asked == ["7.5"]
    assert Patience().wait_s == 25.0
