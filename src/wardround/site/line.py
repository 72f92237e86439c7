"""HTTP/1.1 on one connection, without the layers that an agent's only connection does not need.

httpx's own transport spends several times as much processor time on a small request, which is
most of what a small round costs a hospital. A protocol only: `link` opens the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

from wardround.federation.messages import MAXIMUM_HEAD_BYTES, MAXIMUM_MODEL_BYTES
from wardround.site.pace import UNLIMITED, Pace

_MOST_HEADERS = 200
_MOST_BYTES = MAXIMUM_HEAD_BYTES + MAXIMUM_MODEL_BYTES
"""Of an answer: the largest there can be is an instruction that brings a model along."""

_NARROW_BYTES = 64 << 10


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Line(asyncio.Protocol):
    """One connection: a request at a time, its answer parsed as it comes (httptools)."""

    def __init__(self, pace: Pace = UNLIMITED) -> None:
        self.open = False
        self.on_progress: Callable[[], None] = nothing
        """Told whenever bytes have gone out or come in."""
        self._pace = pace
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._lost: OSError | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._received = 0

    async def exchange(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], content: bytes
    ) -> Answer:
        """Send a request and wait for the answer. Raises `OSError` or `HttpParserError`."""
        assert self._transport is not None
        if self._lost is not None:  # before anything was asked, as when a certificate is refused
            raise self._lost
        self._answer = asyncio.get_running_loop().create_future()
        self._headers, self._body, self._received = [], [], 0
        lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target)]
        lines += [b"%s: %s" % header for header in headers]
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        if content:
            await self._write(content)
        return await self._answer

    async def _write(self, content: bytes) -> None:
        assert self._transport is not None and self._answer is not None
        bucket = self._pace.up
        if bucket is None:
            self._transport.write(content)
            return
        for start in range(0, len(content), bucket.slice_bytes):
            if self._answer.done():  # it is refused, or the connection is gone
                self.open = False
                return
            piece = content[start : start + bucket.slice_bytes]
            self._transport.write(piece)
            self.on_progress()
            await bucket.spend(len(piece))

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # a stream's, whatever the loop
        self.open = True
        link = transport.get_extra_info("socket")
        if self._pace.down is not None and link is not None:
            # Else the system takes in megabytes at full speed before anybody reads them.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW_BYTES)

    def data_received(self, data: bytes) -> None:
        """A piece of an answer came."""
        self._received += len(data)
        self.on_progress()
        if self._pace.down is not None:
            self._pause(self._pace.down.take(len(data)))
        if self._received > _MOST_BYTES:
            self.close()
            self._end(httptools.HttpParserError("an answer larger than any can be"))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.open = False
            self._end(error)

    def _pause(self, wait_s: float) -> None:
        if wait_s > 0 and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(wait_s, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side, or the network, has ended the connection."""
        self.open = False
        lost = ConnectionResetError("the connection was closed before the answer was complete")
        self._lost = exc if isinstance(exc, OSError) else lost
        self._end(self._lost)

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field of the answer."""
        self._headers.append((name, value))
        if len(self._headers) > _MOST_HEADERS:
            raise httptools.HttpParserError("too many header fields")

    def on_body(self, body: bytes) -> None:
        """A piece of the answer's body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if not self._parser.should_keep_alive():
            self.open = False
        body = b"".join(self._body)
        self._end(Answer(self._parser.get_status_code(), self._headers, body))

    def _end(self, outcome: Answer | Exception) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(outcome, Exception):
            self._answer.set_exception(outcome)
        else:
            self._answer.set_result(outcome)


def nothing() -> None:
    """Nobody wants to know."""
