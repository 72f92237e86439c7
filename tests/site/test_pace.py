"""How fast an agent sends and receives, by a clock that the test winds."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.site.line import Line
from wardround.site.pace import Pace, TokenBucket


class Wound:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def bucket(bytes_s: float, clock: Wound) -> TokenBucket:
    return TokenBucket(bytes_s, clock, clock.sleep)


@given(
    st.floats(32_000, 1e9),
    st.lists(st.tuples(st.integers(1, 1 << 22), st.floats(0, 10)), min_size=1, max_size=50),
)
async def test_over_any_time_the_rate_is_kept_but_for_a_burst(
    bytes_s: float, sends: list[tuple[int, float]]
) -> None:
    clock = Wound()
    one = bucket(bytes_s, clock)
    log = [(clock.now, 0)]
    for size, idle in sends:
        await clock.sleep(idle)
        started = clock.now
        await one.spend(size)
        log.append((started, size))
    after = 0.25 * bytes_s
    for first in range(1, len(log)):
        sent = sum(size for _, size in log[first:-1])  # the last may still be on its way
        took = log[-1][0] - log[first][0]
        assert sent <= bytes_s * took + after + 1e-6 * sent + 1


def test_an_idle_line_saves_up_no_more_than_a_burst() -> None:
    clock = Wound()
    one = bucket(1000.0, clock)
    clock.now += 3600
    assert one.take(250) == 0.0
    assert one.take(1000) == pytest.approx(1.0)


@pytest.mark.parametrize("kbit", [256, 20_000, 1_000_000])
def test_a_limit_in_kilobits_is_in_bytes_per_second(kbit: int) -> None:
    pace = Pace.of_kbit(kbit, None)
    assert pace.down is None and pace.up is not None
    assert pace.up.take(0) == 0.0
    assert pace.up.take(kbit * 125 * 10) == pytest.approx(9.75, rel=0.01)


BODY = 1_000_000


class Wire(asyncio.Transport):
    """Notes when what was written, and when reading was stopped."""

    def __init__(self, clock: Wound) -> None:
        super().__init__()
        self.clock = clock
        self.written: list[tuple[float, bytes]] = []
        self.whole = asyncio.Event()
        self.resumed = asyncio.Event()
        self.paused = False

    def write(self, data: object) -> None:
        self.written.append((self.clock.now, bytes(data)))
        if sum(len(one) for _, one in self.written[1:]) == BODY:
            self.whole.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.resumed.set()

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """Nothing is under way."""


async def test_a_line_sends_a_body_no_faster_than_it_may() -> None:
    clock = Wound()
    line, wire = Line(Pace(up=bucket(100_000.0, clock))), Wire(clock)
    line.connection_made(wire)
    body = bytes(range(250)) * (BODY // 250)
    answer = asyncio.ensure_future(line.exchange("PUT", b"/", [], body))
    await asyncio.sleep(0)
    await asyncio.wait_for(wire.whole.wait(), 10)
    line.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await answer).status == 204
    assert b"".join(data for _, data in wire.written[1:]) == body
    assert clock.now - 100.0 == pytest.approx(len(body) / 100_000.0 - 0.25, abs=0.01)
    pieces = [len(data) for _, data in wire.written[1:]]
    assert max(pieces) == 10_000 and all(b[0] >= a[0] for a, b in pairwise(wire.written))


async def test_a_body_that_is_refused_half_way_is_not_sent_to_the_end() -> None:
    clock = Wound()
    line, wire = Line(Pace(up=bucket(100_000.0, clock))), Wire(clock)
    line.connection_made(wire)
    answer = asyncio.ensure_future(line.exchange("PUT", b"/", [], bytes(1_000_000)))
    await asyncio.sleep(0)
    line.data_received(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n")
    assert (await answer).status == 409
    assert sum(len(data) for _, data in wire.written) < 1_000_000
    assert not line.open, "the rest of the body would be taken for a request"


async def test_a_line_reads_no_faster_than_it_may() -> None:
    clock = Wound()
    line, wire = Line(Pace(down=bucket(1_000_000.0, clock))), Wire(clock)
    line.connection_made(wire)
    answer = asyncio.ensure_future(line.exchange("GET", b"/", [], b""))
    await asyncio.sleep(0)
    line.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 260000\r\n\r\n")
    assert not wire.paused
    line.data_received(bytes(260_000))
    assert wire.paused
    assert len((await answer).body) == 260_000
    await asyncio.wait_for(wire.resumed.wait(), 10)
