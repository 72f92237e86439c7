"""Killed at any statement, a hospital has either charged or let nothing leave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, func, select

from bedside import ME, RUN, Bedside
from private_study import PRIVACY
from wardround.federation.messages import PacketHeader
from wardround.federation.packet import Packet
from wardround.ids import RoundId
from wardround.site import tables
from wardround.site.ledger import PrivacyLedger
from wardround.study import HospitalPolicy
from wardround.trust.dsse import Envelope

COMPLETED = 0
KILLED = 9
ROUND = RoundId("round.0.0")


@pytest.fixture
def bedside(tmp_path: Path) -> Bedside:
    """A door of a study with noise; nobody is behind it yet."""
    bedside = Bedside(
        tmp_path,
        hospital=HospitalPolicy(),
        profile="private",
        model={"kind": "logistic", "algorithm": "dp-sgd"},
        privacy=PRIVACY,
    )
    bedside.state.close()
    return bedside


def answer(bedside: Bedside, arm: Callable[[], object] = lambda: None) -> Packet:
    async def one() -> Packet:
        bedside.set_up()
        order = bedside.order(bedside.task("private_moments"))
        bedside.give_shares(order)
        arm()
        return await bedside.answered(order)

    return asyncio.run(one())


def die_at(bedside: Bedside, point: int) -> int:
    """Answer in a process that dies at this point; how that process ended.

    The points are the moments before and after each statement, and before the commits; one more
    than there are of them is the moment before the packet would be sent.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        passed = 0

        def stage(*_arguments: object) -> None:
            nonlocal passed
            passed += 1
            if passed == point:
                os._exit(KILLED)

        def arm() -> None:
            for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
                event.listen(bedside.state.database.engine, name, stage)

        bedside.open()
        answer(bedside, arm)
        os._exit(COMPLETED)
    finally:
        os._exit(1)


def after_restart(bedside: Bedside) -> tuple[int, Packet | None]:
    """How many answers were charged, and the packet that would be sent again."""
    bedside.open()  # verifies the ledger against the journal
    with bedside.state.database.begin() as connection:
        ledger = PrivacyLedger(
            bedside.study, ME, bedside.papers.key.public, bedside.papers.hospital
        )
        size = ledger.verify(connection).size
        packets = connection.scalars(select(tables.packets.c.envelope)).all()
        assert connection.scalar(select(func.count()).select_from(tables.ledger)) == size
        for envelope in packets:
            header = PacketHeader.open(Envelope.from_json(envelope), bedside.papers.key.public)
            assert header.ledger == ledger.head(connection)
    assert len(bedside.leaves("packet")) == len(packets) == size
    return size, bedside.door.already_sent(ROUND)


def test_killed_at_any_statement_it_has_charged_or_nothing_has_left(bedside: Bedside) -> None:
    fates = []
    for point in range(1, 500):
        ended = die_at(bedside, point)
        assert ended in (KILLED, COMPLETED)
        charged, packet = after_restart(bedside)
        assert (charged == 1) == (packet is not None)
        fates.append(charged)
        bedside.state.close()
        if ended is COMPLETED:
            break
        if charged:
            pytest.fail("something was charged before the commit")
    assert fates == [0] * (len(fates) - 1) + [1]
    assert len(fates) > 30


def test_what_was_charged_is_sent_again_byte_for_byte_and_for_nothing(bedside: Bedside) -> None:
    bedside.open()
    packet = answer(bedside)
    content = packet.payload.read_bytes()
    bedside.restart()
    again = bedside.door.already_sent(ROUND)
    assert again is not None
    assert (again.envelope, again.payload.read_bytes()) == (packet.envelope, content)
    assert after_restart(bedside)[0] == 1
    assert packet.header.run == RUN
