"""A hospital's HTTP proxy on the way: tunnels, passwords, refusals."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from fault_proxy import TunnelProxy
from lines import open_lines, total_of
from ward import SITES, code_of, until
from wardround.site.link import https_client
from wardround.site.pace import Pace, TokenBucket
from wardround.site.way import proxy_for, shown
from wardround.trust.authority import CertificateAuthority
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context

NAMES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("password", [None, "ward:round", "ward:r%40und"])
async def test_a_round_goes_through_tunnels(
    password: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TunnelProxy(password and password.replace("%40", "@")) as proxy:
        login = "" if password is None else f"{password}@"
        monkeypatch.setenv("HTTPS_PROXY", f"http://{login}localhost:{proxy.port}")
        async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
            assert (await total_of(ward)).survivors == SITES
        assert proxy.tunnels >= len(SITES)
        assert {line.split(" ")[0] for line in proxy.asked} == {"CONNECT"}


async def test_a_proxy_may_itself_be_reached_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own authority is the machine's; the one at the tunnel's end is the study's."""
    authority = CertificateAuthority.create("The network team", datetime.now(UTC))
    key = SigningKey.generate()
    key.save(tmp_path / "proxy.key")
    pem = authority.issue_server(key.public, ["localhost"], datetime.now(UTC))
    (tmp_path / "proxy.pem").write_bytes(pem)
    (tmp_path / "machine.pem").write_bytes(authority.certificate_pem)
    proxy = TunnelProxy("ward:round")
    proxy.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proxy.context.load_cert_chain(tmp_path / "proxy.pem", tmp_path / "proxy.key")
    async with proxy, open_lines(tmp_path / "ward", start=False) as ward:
        monkeypatch.setenv("HTTPS_PROXY", f"https://ward:round@localhost:{proxy.port}")
        context = client_context(ward.tls / "ca.pem")
        async with https_client(ward.address(ward._port), context) as client:
            with pytest.raises(httpx.ProxyError):
                await client.get("/v1/health")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "machine.pem"))
            assert (await client.get("/v1/health")).json()["state"] == "waiting"


async def test_a_tunnel_keeps_to_the_hospitals_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    pace = Pace(up=TokenBucket(32_000.0, lambda: 0.0, sleep))
    async with TunnelProxy() as proxy, open_lines(tmp_path, start=False) as ward:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        context = client_context(ward.tls / "ca.pem")
        async with https_client(ward.address(ward._port), context, pace=pace) as client:
            answer = await client.post("/v1/enrol", content=bytes(60_000))
        assert answer.status_code == 409 and proxy.tunnels == 1
    assert max(slept) == pytest.approx(60_000 / 32_000 - 0.25, abs=0.01)


async def test_a_proxy_that_closes_its_tunnels_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TunnelProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
            assert (await total_of(ward)).survivors == SITES
            for line in ward.lines.values():
                line.cut()
            assert (await total_of(ward, "moments")).survivors == SITES


async def test_a_password_that_is_refused_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying it again and again would lock the account."""
    async with TunnelProxy("ward:round") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ward:wrong@localhost:{proxy.port}")
        async with open_lines(tmp_path, start=False) as ward:
            hospital = ward.hospitals[SITES[0]]
            await hospital.start()
            assert hospital.task is not None
            assert await code_of(hospital.task) == "WR-SITE-170"
        assert len(proxy.asked) == 1


async def test_a_proxy_that_forbids_the_host_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = False
    async with TunnelProxy(allowed=lambda _target: allowed) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
        async with open_lines(tmp_path, start=False) as ward:
            hospital = ward.hospitals[SITES[0]]
            await hospital.start()
            await until(lambda: len(proxy.asked) >= 2)
            (trouble, *_) = [facts for event, facts in hospital.events if event == "trouble"]
            assert trouble["code"] == "WR-SITE-171" and "403" in trouble["problem"]
            allowed = True
            await until(lambda: ward.coordinator.present() == SITES[:1])


async def test_a_proxy_that_is_away_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    async with open_lines(tmp_path, start=False) as ward:
        hospital = ward.hospitals[SITES[0]]
        await hospital.start()
        await until(lambda: hospital.events)
        assert hospital.events[0][1]["code"] == "WR-SITE-171"


async def test_the_proxys_own_authority_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel that leads to somebody else, with a certificate of the wrong authority."""
    async with open_lines(tmp_path / "one") as ward, open_lines(tmp_path / "two") as other:

        class Misled(TunnelProxy):
            async def tunnelled(self, target: str, reader: object, writer: object) -> None:
                await super().tunnelled(f"localhost:{other._port}", reader, writer)

        async with Misled() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{proxy.port}")
            context = client_context(ward.tls / "ca.pem")
            async with ward.strange_client(context) as client:
                from wardround.site.link import unreachable

                async def ask() -> None:
                    try:
                        await client.get("/v1/health")
                    except Exception as error:
                        raise unreachable(error) from error

                assert await code_of(ask()) == "WR-SITE-041"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv("HTTPS_PROXY", "http://name:secret@proxy.example:3128")
    yield monkeypatch


@pytest.mark.parametrize(
    ("excepted", "through"),
    [
        ("", True),
        ("*", False),
        ("study.example", False),
        (".example", False),
        ("EXAMPLE", False),
        ("other.example, study.example", False),
        ("dy.example", True),
        ("study.example.org", True),
    ],
)
def test_no_proxy_is_honoured(
    environment: pytest.MonkeyPatch, excepted: str, through: bool
) -> None:
    environment.setenv("NO_PROXY", excepted)
    assert (proxy_for("https://study.example:8443") is not None) is through


def test_an_ipv6_address_can_be_excepted(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("NO_PROXY", "[::1]")
    assert proxy_for("https://[::1]:8443") is None
    environment.setenv("NO_PROXY", "::1")
    assert proxy_for("https://[::1]:8443") is None


def test_a_proxys_password_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    proxy = proxy_for("https://study.example:8443")
    assert proxy is not None and shown(proxy) == "http://proxy.example:3128"


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://", "http://proxy:99999"])
async def test_a_proxy_that_cannot_be_used_has_a_code(
    environment: pytest.MonkeyPatch, proxy: str
) -> None:
    environment.setenv("HTTPS_PROXY", proxy)

    async def ask() -> None:
        proxy_for("https://study.example:8443")

    assert await code_of(ask()) == "WR-SITE-173"
