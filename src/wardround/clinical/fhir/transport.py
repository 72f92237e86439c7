"""Connections to one FHIR server that end at a deadline, whatever the server does.

A timeout for each read does not end an exchange with a server that sends one byte every few
seconds; here every read, write and handshake also stops at the deadline of the whole request. It
is httpx's own seam (a transport), so that tests put a server in its place; a client above it would
log every address, and addresses hold search values.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from wardround.errors import WardroundError

CONNECT_S = 30.0
READ_S = 60.0
ANSWER_S = "wardround_answer_s"
"""The request extension that says how many seconds the whole exchange may take."""


def tls_context(
    ca_path: Path | None = None, cert_path: Path | None = None, key_path: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.2 or later to a hospital's own server, its name checked.

    With ``ca_path`` only the authorities in that file count, else those of this machine.
    ``cert_path`` and ``key_path`` are shown to servers that ask for a client's certificate.

    Raises:
        WardroundError: ``WR-DATA-068`` where a file can't be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # demands a certificate and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca_path is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca_path)
            # A list of revoked certificates, say, loads without complaint.
            if not context.cert_store_stats()["x509"]:
                raise unusable_secret(ca_path)
    except (OSError, ssl.SSLError):
        raise unusable_secret(ca_path) from None
    if cert_path is not None:
        try:
            # An empty password, or OpenSSL would ask the terminal for an encrypted key's.
            context.load_cert_chain(cert_path, key_path, password=b"")
        except (OSError, ssl.SSLError):
            raise unusable_secret(cert_path) from None
    return context


def unusable_secret(path: Path | None) -> WardroundError:
    """Return the error for a certificate or key file that can't be used."""
    return WardroundError(
        "WR-DATA-068",
        "A certificate or key for the FHIR server can't be loaded.",
        "Check that the file exists, that the agent's user may read it, and its form "
        "(PEM, not encrypted; a signing key also as JWK; RSA of at least 2048 bits or P-384).",
        path=None if path is None else path.name,
    )


def proxy_for(url: str) -> str | None:
    """The proxy that this machine's environment names for ``url``, or None."""
    address = httpx.URL(url)
    if address.host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(address.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class FhirTransport(httpx.BaseTransport):
    """HTTP/1.1 over TLS, or in the clear to this machine itself.

    One request is under way at a time. ``proxy`` is an address such as
    ``http://user:word@proxy:3128``; the server's TLS goes through it unopened.
    """

    def __init__(self, context: ssl.SSLContext, proxy: str | None = None) -> None:
        self._network = _Network()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            proxy=None if proxy is None else _proxy(proxy),
            max_connections=4,
            max_keepalive_connections=2,
            keepalive_expiry=30.0,
            network_backend=self._network,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body is read as it is iterated over.

        Raises:
            httpx.TransportError: where the connection fails or the deadline passes.
        """
        self._network.deadline = time.monotonic() + request.extensions.get(ANSWER_S, READ_S)
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.read(),
            extensions={
                "timeout": {
                    "connect": CONNECT_S,
                    "read": READ_S,
                    "write": READ_S,
                    "pool": CONNECT_S,
                }
            },
        )
        with _as_httpx():
            response = self._pool.handle_request(inner)
        assert isinstance(response.stream, Iterable)
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response.stream)
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._stream

    def close(self) -> None:
        close: Callable[[], None] | None = getattr(self._stream, "close", None)
        if close is not None:
            close()


class _Network(httpcore.NetworkBackend):
    """Sockets that know the deadline of the request under way."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self.deadline = 0.0

    def remaining(self, timeout: float | None, error: type[Exception]) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0.0:
            raise error("the deadline has passed")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self.remaining(timeout, httpcore.ConnectTimeout)
        stream = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, network: _Network) -> None:
        self._inner = inner
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._network.remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._network.remaining(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._network.remaining(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._network)

    def get_extra_info(self, info: str) -> Any:  # httpcore's own type
        return self._inner.get_extra_info(info)


def _proxy(address: str) -> httpcore.Proxy:
    url = httpx.URL(address)
    bare = str(url.copy_with(username=None, password=None))
    return httpcore.Proxy(bare, auth=(url.username, url.password) if url.username else None)


@contextmanager
def _as_httpx() -> Iterator[None]:
    """Turn httpcore's errors into httpx's; their texts may quote the server and are dropped."""
    try:
        yield
    except httpcore.TimeoutException:
        raise httpx.ReadTimeout("no answer in time") from None
    except httpcore.ConnectError:
        raise httpx.ConnectError("no connection") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError):
        raise httpx.RemoteProtocolError("the connection broke") from None
