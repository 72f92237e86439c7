"""Serving the coordinator with uvicorn over TLS 1.3, with the client certificate in the scope."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wardround.coordinator.driver import Say
from wardround.coordinator.home import CoordinatorHome, ServerTerms
from wardround.errors import WardroundError
from wardround.store.room import no_room, wants_room
from wardround.trust.authority import certificate_expiry

READ_BYTES = 64 << 10
"""What a connection reads at a time: asyncio's 256 KiB cost a megabyte for each site."""

GRACE_S = 3
"""How long pending long polls may hold up a shutdown."""


LOOK_EVERY_S = 3600.0
"""How often to see whether the server's certificate must be made anew."""


async def keep_server_certificate(
    home: CoordinatorHome,
    context: ssl.SSLContext,
    say: Say,
    terms: ServerTerms | None = None,
    every_s: float = LOOK_EVERY_S,
) -> None:
    """Make the server's certificate anew before it ends, for ever.

    Connections go on under the certificate that they began with; new ones see the new one, since
    the running server's context takes it in. Whatever comes in between, there are days left to try
    again, and nobody waits for this to end: so nothing does end it, and it is said.
    """
    path = home.keys / "server.pem"
    in_use = path.read_bytes()
    while True:
        await asyncio.sleep(every_s)
        try:
            home.renew_server_certificate(terms)
            made = path.read_bytes()
            if made != in_use:  # also one that was made before, and could not be taken in then
                context.load_cert_chain(path, home.keys / "server.key")
                in_use = made
                say("renewed", {"certificate": "server"})
        except Exception as error:  # noqa: BLE001 - of whatever kind
            say("trouble", {"what": "server certificate", **_told(error, in_use)})


def _told(error: Exception, in_use: bytes) -> dict[str, str | int | float]:
    """Why there is no new certificate, and how long the present one counts."""
    if wants_room(error):
        error = no_room()
    why = f"{type(error).__name__}."
    if isinstance(error, WardroundError):
        why = f"{error.code}: {error.problem}"
    hours = (certificate_expiry(in_use) - datetime.now(UTC)).total_seconds() / 3600
    return {
        "code": "WR-COORD-085",
        "problem": f"The server's certificate was not made anew: {why}",
        "remedy": "It is tried again every hour by itself; put right what is named here before the "
        "present one ends.",
        "hours_left": round(hours, 1),
    }


class CertificateProtocol(HttpToolsProtocol):
    """Hands the client's certificate to the application (ASGI TLS extension)."""

    def on_url(self, url: bytes) -> None:
        """Called by the parser when a request begins."""
        super().on_url(url)
        tls = cast("ssl.SSLObject | None", self.transport.get_extra_info("ssl_object"))
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        chain = [] if certificate is None else [ssl.DER_cert_to_PEM_cert(certificate)]
        self.scope.setdefault("extensions", {})["tls"] = {"client_cert_chain": chain}


class _Server(uvicorn.Server):
    """Calls ``stopped`` when nothing is served any more.

    A process that was told to end (SIGTERM) gets no further: uvicorn sends it the signal again.
    """

    def __init__(self, config: uvicorn.Config, stopped: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopped = stopped

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._stopped()


def server(
    app: ASGIApp,
    host: str,
    port: int,
    context: ssl.SSLContext,
    stopped: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """A server that is ready to run; port 0 picks a free one."""
    asyncio.sslproto.SSLProtocol.max_size = READ_BYTES  # for the whole process: it is a server's
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=CertificateProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=120,
        backlog=1024,
        ssl_context_factory=lambda _config, _default: context,
    )
    return _Server(config, stopped)
