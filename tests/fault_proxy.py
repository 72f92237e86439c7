"""Proxies between agents and a coordinator for tests: broken lines, tunnels, opened TLS.

`FaultProxy` moves bytes and does what its script says, connection by connection: cut, delay,
throttle, garble, forget (half-open), and reorder: hold a request back until later ones were
delivered. `TunnelProxy` is a hospital's CONNECT proxy, with or without a
password. `InspectingProxy` opens TLS under an authority of its own, so it sees whole requests: it
takes the client certificate away, and may repeat, reorder, alter or swallow what it saw.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx

from wardround.trust.authority import CertificateAuthority
from wardround.trust.keys import SigningKey

_PIECE = 16 << 10
_RECORD = 5
"""Bytes of a TLS record before its content."""
_ALERT = 2 + 1 + 16
"""An alert under TLS 1.3: itself, its kind and the tag."""


@dataclass(frozen=True)
class Fault:
    """What happens to one connection once ``after`` bytes have gone up it.

    ``kind`` is ``cut`` (RST), ``close`` (FIN), ``forget`` (neither side hears anything any more, as
    when a firewall forgets a connection), ``garble`` (one bit flips), ``twice`` (a piece of the
    stream comes twice). ``delay_s`` and ``bits_per_s`` hold for all of it, from the beginning.
    """

    kind: str = ""
    after: int = 0
    delay_s: float = 0.0
    bits_per_s: float = 0.0


@dataclass
class Connection:
    """One connection of an agent, and its other half to the coordinator."""

    fault: Fault
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter | None
    went_up: int = 0
    forgotten: bool = False
    held: asyncio.Event | None = None
    """Set when what is held back of what went up may be delivered."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        for one in (self.near, self.far):
            if one is not None:
                one.transport.abort()


class _Server:
    """A listener on a free port of the loopback."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.context: ssl.SSLContext | None = None
        """Of a proxy that is itself reached over TLS."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accepted, self.host, self.port, ssl=self.context
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                await self.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class FaultProxy(_Server):
    """Relays to ``target``; the script's next fault is for the next connection."""

    def __init__(self, target: Callable[[], int], host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.script: list[Fault] = []
        self.always = Fault()
        self.open: list[Connection] = []
        self.seen = 0
        self.dead = False
        self.overtaken = 0
        """So many requests were delivered, and answered, after others that were sent later."""
        self._target = target

    def cut(self) -> None:
        """Reset every connection."""
        for one in list(self.open):
            one.cut()

    def forget(self) -> None:
        """From now on no byte gets through, on any connection, old or new; nobody is told."""
        self.dead = True
        for one in self.open:
            one.forgotten = True

    def recover(self) -> None:
        """New connections work again; the old ones stay forgotten."""
        self.dead = False

    def hold(self) -> None:
        """What goes up the connections that are open now is kept, even if the agent gives up."""
        for one in self.open:
            one.held = one.held or asyncio.Event()

    def release(self) -> None:
        """Deliver what was held: after all that went up other connections meanwhile."""
        for one in self.open:
            if one.held is not None:
                one.held.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        fault = self.script.pop(0) if self.script else self.always
        line = Connection(fault, writer, None, forgotten=self.dead)
        self.open.append(line)
        try:
            if line.forgotten:
                await asyncio.Event().wait()  # accepted, and never answered
            back, line.far = await asyncio.open_connection(self.host, self._target())
            await asyncio.gather(
                self._relay(line, reader, line.far, up=True),
                self._relay(line, back, writer, up=False),
            )
        finally:
            self.open.remove(line)
            if line.far is not None:
                line.far.transport.abort()

    async def _relay(
        self,
        line: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        up: bool,
    ) -> None:
        fault, struck = line.fault, False
        while piece := await reader.read(_PIECE):
            if line.held is not None:
                if up:
                    return await self._hold_back(line, line.held, piece, reader, writer)
                self.overtaken += line.held.is_set() and not line.answered.is_set()
                line.answered.set()
                continue  # the agent has given up long since
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.bits_per_s:
                await asyncio.sleep(len(piece) * 8 / fault.bits_per_s)
            before, line.went_up = line.went_up, line.went_up + (len(piece) if up else 0)
            if up and fault.kind and not struck and line.went_up > fault.after:
                struck = True
                piece = self._strike(line, piece, fault.after - before)
            if line.forgotten:
                continue  # as into a hole
            writer.write(piece)
            await writer.drain()
        line.answered.set()
        if line.held is not None and not up:
            return None
        if not line.forgotten:
            writer.close()
        else:
            await asyncio.Event().wait()
        return None

    async def _hold_back(
        self,
        line: Connection,
        released: asyncio.Event,
        kept: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Keep a request until it is released, and the connection until it is answered."""
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                kept += piece
        await released.wait()
        writer.write(_without_goodbye(kept))
        await writer.drain()
        await line.answered.wait()
        writer.close()

    def _strike(self, line: Connection, piece: bytes, at: int) -> bytes:
        match line.fault.kind:
            case "cut":
                line.near.write(b"")
                line.cut()
            case "close":
                line.near.close()
            case "forget":
                line.forgotten = True
            case "garble":
                at = max(at, 0) % len(piece)
                return piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            case "twice":
                return piece + piece
        return piece


def _without_goodbye(sent: bytes) -> bytes:
    """TLS records but for the alert at their end, by which the agent took its leave meanwhile."""
    at = last = 0
    while at + _RECORD <= len(sent):
        last, at = at, at + _RECORD + int.from_bytes(sent[at + 3 : at + _RECORD], "big")
    return sent[:last] if at - last == _RECORD + _ALERT else sent


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The first line and the fields of a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return first, {name.lower(): value for name, value in fields.items()}


class TunnelProxy(_Server):
    """A hospital's HTTP proxy: CONNECT and nothing else.

    ``password`` is ``name:password``; ``allowed`` says which host:port a tunnel may lead to.
    """

    def __init__(
        self, password: str | None = None, allowed: Callable[[str], bool] = lambda _target: True
    ) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tunnels = 0
        self._password = password
        self._allowed = allowed

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, fields = await _head(reader)
        method, target, _ = first.split(" ")
        self.asked.append(first)
        if method != "CONNECT":
            return writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
        if self._password is not None:
            wanted = f"Basic {base64.b64encode(self._password.encode()).decode()}"
            if fields.get("proxy-authorization") != wanted:
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                    b'Proxy-Authenticate: Basic realm="hospital"\r\nContent-Length: 0\r\n\r\n'
                )
                return await writer.drain()
        if not self._allowed(target):
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return await writer.drain()
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        self.tunnels += 1
        await self.tunnelled(target, reader, writer)
        return None

    async def tunnelled(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, _, port = target.rpartition(":")
        back, far = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            await asyncio.gather(_pour(reader, far), _pour(back, writer))
        finally:
            far.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.close()


@dataclass
class Seen:
    """A request as the inspecting proxy sees it."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes
    replays: list[int] = field(default_factory=list)


class InspectingProxy(TunnelProxy):
    """Opens TLS. ``before`` sees each request and returns it as it is to go on.

    With ``twice`` each request goes to the coordinator a second time, after its answer came back;
    what that second time got stands in ``replays``.
    """

    def __init__(self, folder: Path, coordinator_ca: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = CertificateAuthority.create("The hospital's proxy", datetime.now(UTC))
        self.ca = folder / "proxy-ca.pem"
        self.ca.write_bytes(self.authority.certificate_pem)
        key = SigningKey.generate()
        key.save(folder / "proxy.key")
        pem = self.authority.issue_server(key.public, ["localhost"], datetime.now(UTC))
        (folder / "proxy.pem").write_bytes(pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "proxy.pem", folder / "proxy.key")
        self._outside = ssl.create_default_context(cafile=str(coordinator_ca))
        self.before: Callable[[Seen], Seen] = lambda seen: seen
        self.twice = False
        self.seen: list[Seen] = []
        self._client: httpx.AsyncClient | None = None

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        if self._client is not None:
            await self._client.aclose()

    async def tunnelled(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await writer.start_tls(self._context)
        if self._client is None:
            self._client = httpx.AsyncClient(verify=self._outside, timeout=60, trust_env=False)
        while True:
            first, fields = await _head(reader)
            method, path, _ = first.split(" ")
            body = await reader.readexactly(int(fields.get("content-length", "0")))
            seen = self.before(Seen(method, path, fields, body))
            self.seen.append(seen)
            answer = await self.forward(target, seen)
            if self.twice:
                seen.replays.append((await self.forward(target, seen)).status_code)
            kept = [
                (name, value)
                for name, value in answer.headers.items()
                if name not in ("content-length", "transfer-encoding", "connection")
            ]
            lines = [f"HTTP/1.1 {answer.status_code} So"]
            lines += [f"{name}: {value}" for name, value in kept]
            if answer.status_code != 204:
                lines.append(f"content-length: {len(answer.content)}")
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer.content)
            await writer.drain()

    async def forward(self, target: str, seen: Seen) -> httpx.Response:
        """Send a request on to the coordinator, as anybody could who holds its bytes."""
        assert self._client is not None
        return await self._client.request(
            seen.method, f"https://{target}{seen.target}", headers=seen.fields, content=seen.body
        )
