"""Which way the agent's connection takes out of the hospital: direct, or through its proxy.

The link's own, like `line`: nobody else in the package may import it. Proxies are those of the
environment (``HTTPS_PROXY``, ``NO_PROXY``), with a name and password in the address if they ask
for one. A proxy is only ever asked for a tunnel; who answers at its end is checked as everywhere.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from wardround.errors import WardroundError
from wardround.site.pace import Pace, TokenBucket
from wardround.site.say import printable

KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_TRIES = 15, 5, 4
"""When TCP asks whether the other side is still there (RFC 9293, section 3.8.4): address
translation in firewalls forgets idle connections after a minute or more, silently."""

_MOST_CONNECTIONS = 4


def keepalive_options() -> list[tuple[int, int, int]]:
    """The socket options that keep a connection known to whatever is on the way."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVE_TRIES),
    ):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def proxy_for(url: str) -> str | None:
    """The address of the proxy on the way to ``url``, password and all, or None for none.

    Raises WR-SITE-173 for a proxy that can't be used.
    """
    host = (urlsplit(url).hostname or "").lower()
    proxies = getproxies()
    excepted = [one.strip().strip("[]").lstrip(".").lower() for one in _excepted(proxies)]
    if "*" in excepted or any(
        one and (host == one or host.endswith(f".{one}")) for one in excepted
    ):
        return None
    found = proxies.get("https") or proxies.get("all")
    if not found:
        return None
    try:
        parts = urlsplit(found)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise WardroundError(
            "WR-SITE-173",
            "The proxy that the environment names can't be used.",
            "Set HTTPS_PROXY to http://host:port, with name and password as "
            "http://name:password@host:port if it asks for them, or unset it.",
            path="HTTPS_PROXY",
        )
    return found


def shown(proxy: str) -> str:
    """A proxy's address without its password."""
    parts = urlsplit(proxy)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


class ProxyTransport(httpx.AsyncBaseTransport):
    """Tunnels through one proxy (CONNECT), and says of a failure whether it was the proxy's."""

    def __init__(self, proxy: str, context: ssl.SSLContext) -> None:
        self._tunnels = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            proxy=httpx.Proxy(proxy),
            limits=httpx.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=120.0),
            socket_options=keepalive_options(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request through a tunnel."""
        with _proxys_own(request):
            return await self._tunnels.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every tunnel."""
        await self._tunnels.aclose()


class PacedTransport(httpx.AsyncBaseTransport):
    """Another transport, through which bodies go no faster than they may."""

    def __init__(self, inner: httpx.AsyncBaseTransport, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        if self._pace.up is not None:
            request.stream = _PacedStream(await request.aread(), self._pace.up)
        answer = await self._inner.handle_async_request(request)
        if self._pace.down is not None and isinstance(answer.stream, httpx.AsyncByteStream):
            answer.stream = _PacedStream(answer.stream, self._pace.down)
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


class _PacedStream(httpx.AsyncByteStream):
    def __init__(self, content: bytes | httpx.AsyncByteStream, bucket: TokenBucket) -> None:
        self._content = content
        self._bucket = bucket

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._content, bytes):
            step = self._bucket.slice_bytes
            for start in range(0, len(self._content), step):
                piece = self._content[start : start + step]
                yield piece
                await self._bucket.spend(len(piece))
            return
        async for piece in self._content:
            yield piece
            await self._bucket.spend(len(piece))

    async def aclose(self) -> None:
        if not isinstance(self._content, bytes):
            await self._content.aclose()


@contextmanager
def _proxys_own(request: httpx.Request) -> Iterator[None]:
    """A connection that doesn't come about is one to the proxy, unless TLS says otherwise."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                raise
            cause = cause.__cause__ or cause.__context__
        raise httpx.ProxyError("nobody answers", request=request) from error


def proxy_trouble(error: httpx.ProxyError) -> WardroundError:
    """What to say of a proxy that makes no tunnel; raises WR-SITE-170 where it asks who we are.

    A password that was refused is never tried again by itself: it would lock the account.
    """
    said = printable(str(error))[:100]
    if said.startswith("407"):
        raise WardroundError(
            "WR-SITE-170",
            "The hospital's proxy asks for a name and password, or does not take the ones given.",
            "Put them into HTTPS_PROXY as http://name:password@host:port (special letters "
            "percent-encoded), or ask the network team to let this machine through.",
            path="HTTPS_PROXY",
        ) from error
    return WardroundError(
        "WR-SITE-171",
        f"The hospital's proxy makes no connection to the coordinator: {said}.",
        "The agent tries again by itself; if it lasts, ask the network team to allow CONNECT to "
        "the coordinator's host and port.",
        path="HTTPS_PROXY",
    )


def _excepted(proxies: dict[str, str]) -> list[str]:
    return proxies.get("no", "").split(",")
