"""Serving the coordinator with uvicorn over TLS 1.3, with the client certificate in the scope."""

from __future__ import annotations

import asyncio.sslproto
import ssl
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

READ_BYTES = 64 << 10
"""What a connection reads at a time: asyncio's 256 KiB cost a megabyte for each site."""

GRACE_S = 3
"""How long pending long polls may hold up a shutdown."""


class CertificateProtocol(HttpToolsProtocol):
    """Hands the client's certificate to the application (ASGI TLS extension)."""

    def on_url(self, url: bytes) -> None:
        """Called by the parser when a request begins."""
        super().on_url(url)
        tls = cast("ssl.SSLObject | None", self.transport.get_extra_info("ssl_object"))
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        chain = [] if certificate is None else [ssl.DER_cert_to_PEM_cert(certificate)]
        self.scope.setdefault("extensions", {})["tls"] = {"client_cert_chain": chain}


def server(app: ASGIApp, host: str, port: int, context: ssl.SSLContext) -> uvicorn.Server:
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
    return uvicorn.Server(config)
