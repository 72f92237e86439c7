"""An agent's certificate that the coordinator's TLS does not accept: told apart from a bad line."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from steward import ME, Steward
from ward import code_of, stranger_authority
from wardround.simulation.inprocess import Keys
from wardround.site.home import SiteHome
from wardround.site.link import Link, https_client, unreachable
from wardround.trust.authority import CertificateAuthority, make_csr
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context

IDENTITY = SpiffeId.of_site("localhost", "breast-mass", ME)


@contextmanager
def server(folder: Path, keys: Keys) -> Iterator[str]:
    """A TLS server that says why it ends a handshake, as those of load balancers do.

    (asyncio's, which the coordinator runs on, hangs up without the alert.)
    """
    folder.mkdir()
    keys.authority.save(folder)
    key = SigningKey.generate()
    key.save(folder / "server.key")
    pem = keys.authority.issue_server(key.public, ["localhost"], datetime.now(UTC))
    (folder / "server.pem").write_bytes(pem)
    context = server_context(folder / "server.pem", folder / "server.key", folder / "ca.pem")

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            line = context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
            with line, suppress(OSError):
                with suppress(ssl.SSLError):
                    line.do_handshake()
                line.shutdown(socket.SHUT_WR)
                while line.recv(65536):  # or the alert could be overtaken by a reset
                    pass

    with socket.create_server(("localhost", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def papers(steward: Steward, authority: CertificateAuthority, days_ago: int = 0) -> SiteHome:
    """The agent's papers with a certificate from that authority."""
    steward.ready()
    key = SigningKey.load(steward.home.agent_key_path)
    now = datetime.now(UTC) - timedelta(days=days_ago)
    pem = authority.issue_agent(make_csr(key), IDENTITY, now)
    steward.home.certificate_path.write_bytes(pem)
    return steward.home


@pytest.mark.parametrize("harm", ["another authority", "expired"])
@pytest.mark.parametrize("transport", ["own line", "httpx, as through a proxy"])
async def test_it_ends_the_agent_with_its_own_code(
    tmp_path: Path, harm: str, transport: str
) -> None:
    steward = Steward(tmp_path)
    if harm == "expired":
        home = papers(steward, steward.keys.authority, days_ago=2)
    else:
        home = papers(steward, stranger_authority())
    context = client_context(home.ca_path, home.certificate_path, home.agent_key_path)
    with server(tmp_path / "tls", steward.keys) as url:
        if transport == "own line":
            client = https_client(url, context)
        else:
            client = httpx.AsyncClient(verify=context, base_url=url)
        link = Link(client, SigningKey.load(home.agent_key_path), IDENTITY)
        assert await asyncio.wait_for(code_of(link.next(0)), 20) == "WR-SITE-068"
        await link.close()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "nobody answers at its address"),
        (httpx.ConnectTimeout("late"), "nobody answers at its address"),
        (httpx.ReadTimeout("late"), "did not answer in time"),
        (httpx.RemoteProtocolError("closed"), "broke before it answered"),
    ],
)
def test_a_line_that_fails_says_how(error: httpx.TransportError, words: str) -> None:
    made = unreachable(error)
    assert made.code == "WR-SITE-040" and words in made.problem
    assert ("certificate" in made.remedy) is isinstance(error, httpx.RemoteProtocolError)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("TLSV1_ALERT_UNKNOWN_CA", "WR-SITE-068"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "WR-SITE-068"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "WR-SITE-068"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "WR-SITE-068"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "WR-SITE-068"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "WR-SITE-040"),
        ("UNEXPECTED_EOF_WHILE_READING", "WR-SITE-040"),
        (None, "WR-SITE-040"),
    ],
)
async def test_only_alerts_about_the_certificate_end_it(reason: str | None, code: str) -> None:
    cause = ssl.SSLError("handshake")
    cause.reason = reason
    error = httpx.ReadError("cut")
    error.__cause__ = cause

    async def tell() -> None:
        raise unreachable(error)

    assert await code_of(tell()) == code
