"""Which way the agent's connection takes out of the hospital: direct, or through its proxy.

The link's own, like `line`: nobody else in the package may import it. Proxies are those of the
environment (``HTTPS_PROXY``, ``NO_PROXY``), with a name and password in the address if they ask
for one. A proxy is only ever asked for a tunnel; who answers at its end is checked as everywhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import httpx

from wardround.errors import WardroundError
from wardround.site.say import printable

KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVE_TRIES = 15, 5, 4
"""When TCP asks whether the other side is still there (RFC 9293, section 3.8.4): address
translation in firewalls forgets idle connections after a minute or more, silently."""

_MOST_HEAD_BYTES = 64 << 10

Spoken = TypeVar("Spoken", bound=asyncio.Protocol)


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


async def reach(
    url: httpx.URL,
    context: ssl.SSLContext,
    protocol: Callable[[], Spoken],
    proxy: str | None = None,
) -> Spoken:
    """A connection to the host of ``url`` over TLS, straight or through the proxy's tunnel.

    Raises `httpx.ProxyError` for what the proxy is to blame for, else `OSError`, of which
    `ssl.SSLError` is one.
    """
    loop = asyncio.get_running_loop()
    port = url.port or 443
    if proxy is None:
        transport, made = await loop.create_connection(
            protocol, url.host, port, ssl=context, server_hostname=url.host
        )
    else:
        tunnel = await _tunnel(proxy, url.host, port)
        made = protocol()
        try:
            inner = await loop.start_tls(tunnel, made, context, server_hostname=url.host)
        except BaseException:
            tunnel.abort()
            raise
        if inner is None:
            raise ConnectionResetError("the tunnel was closed")
        transport = inner
        made.connection_made(transport)
    _stay_known(transport)
    return made


class _Asking(asyncio.Protocol):
    """Waits for the head of a proxy's answer. (A stream would abort the tunnel when collected.)"""

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self.head.done():
            return
        if b"\r\n\r\n" in self._received:
            self.head.set_result(self._received)
        elif len(self._received) > _MOST_HEAD_BYTES:
            self.head.set_exception(ConnectionResetError("no end of the head"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(ConnectionResetError("it hung up"))


async def _tunnel(proxy: str, host: str, port: int) -> asyncio.WriteTransport:
    """Ask the proxy for a tunnel (RFC 9110, section 9.3.6)."""
    parts = urlsplit(proxy)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    try:
        transport, asking = await asyncio.get_running_loop().create_connection(
            _Asking, parts.hostname or "", parts.port or (443 if secure else 80), ssl=secure
        )
    except OSError as error:
        raise httpx.ProxyError("nobody answers") from error
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        lines.append(f"Proxy-Authorization: Basic {b64encode(login).decode()}")
    try:
        transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = await asking.head
        _, status, *reason = head.decode("latin-1").split("\r\n")[0].split(" ", 2)
        if not (status.startswith("2") and len(status) == 3):
            raise httpx.ProxyError(" ".join((status, *reason)))
        if not head.endswith(b"\r\n\r\n"):  # nobody speaks in a tunnel before TLS begins
            raise ValueError
    except (OSError, ValueError) as error:
        transport.abort()
        raise httpx.ProxyError("it hung up, or did not answer as a proxy") from error
    except BaseException:
        transport.abort()
        raise
    return transport


def _stay_known(transport: asyncio.BaseTransport) -> None:
    line = transport.get_extra_info("socket")
    for option in keepalive_options():
        line.setsockopt(*option)


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
