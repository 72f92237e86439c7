"""One connection, whose other end may send anything."""

from __future__ import annotations

import asyncio

import httptools
import pytest

from wardround.site.line import Line


class Wire(asyncio.Transport):
    """Takes what is written and remembers how it was closed."""

    aborted = False

    def write(self, data: object) -> None:
        """Nobody reads it."""

    def abort(self) -> None:
        self.aborted = True


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.site.line._MOST_BYTES", 1000)
    line, wire = Line(), Wire()
    line.connection_made(wire)
    answer = asyncio.ensure_future(line.exchange("GET", b"/", [], b""))
    await asyncio.sleep(0)
    line.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(20):
        line.data_received(b"40\r\n" + bytes(64) + b"\r\n")
    with pytest.raises(httptools.HttpParserError):
        await answer
    assert wire.aborted and not line.open


async def test_the_bound_is_on_each_answer_and_not_on_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wardround.site.line._MOST_BYTES", 1000)
    line = Line()
    line.connection_made(Wire())
    for _ in range(5):
        answer = asyncio.ensure_future(line.exchange("GET", b"/", [], b""))
        await asyncio.sleep(0)
        line.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + bytes(500))
        assert len((await answer).body) == 500


async def test_a_connection_that_was_lost_before_it_was_used_says_so_at_once() -> None:
    line = Line()
    line.connection_made(Wire())
    line.connection_lost(ConnectionAbortedError("refused"))
    with pytest.raises(ConnectionAbortedError):
        await asyncio.wait_for(line.exchange("GET", b"/", [], b""), 5)
