"""What a hospital says of its packet: one word, whatever a lying coordinator shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from bedside import ME, PEERS, Bedside, code
from wardround.federation.messages import Ask, Audit, AuditAnswer, Instruction
from wardround.federation.packet import Packet
from wardround.site.audit import audit
from wardround.site.order import Order
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope, sign


@pytest.fixture
async def bedside(tmp_path: Path) -> Bedside:
    return await Bedside(tmp_path).ready()


def ask(bedside: Bedside, order: Order, shown: Envelope, **changes: object) -> Instruction:
    manifest = order.manifest.sign(bedside.keys.coordinator)
    asked = bedside.ask(Ask.AUDIT, round=order.manifest.round, manifest=manifest)
    return asked.model_copy(update={"envelopes": {ME: shown}, **changes})


def said(bedside: Bedside, asked: Instruction) -> AuditAnswer:
    """The word, signed by the hospital, about exactly what was shown, and in its journal."""
    before = len(bedside.leaves("audit"))
    status = audit(bedside.papers, bedside.state, asked)
    statement = Audit.open(status.envelope, bedside.papers.key.public)
    shown = digest(asked.envelopes[ME].payload)
    assert (statement.site, statement.round, statement.packet) == (ME, asked.round, shown)
    assert status.attachment == b""
    (leaf,) = bedside.leaves("audit")[before:]
    about = {"round": asked.round, "packet": shown, "answer": statement.answer.value}
    assert dict(leaf.facts) == about
    return statement.answer


async def answered(bedside: Bedside) -> tuple[Order, Packet]:
    order = bedside.order()
    return order, await bedside.answered(order)


async def test_its_own_packet_as_signed_also_after_a_restart(bedside: Bedside) -> None:
    order, packet = await answered(bedside)
    for _ in range(2):
        assert said(bedside, ask(bedside, order, packet.envelope)) is AuditAnswer.AS_SIGNED
        bedside.restart()


@pytest.mark.parametrize("how", ["flipped", "short", "longer", "gone"])
async def test_a_spool_that_changed(bedside: Bedside, how: str) -> None:
    order, packet = await answered(bedside)
    content = packet.payload.read_bytes()
    changed = {"flipped": bytes([content[0] ^ 1]) + content[1:], "short": content[:-1]}
    if how == "gone":
        packet.payload.unlink()
    else:
        packet.payload.write_bytes(changed.get(how, content + b"\0"))
    assert said(bedside, ask(bedside, order, packet.envelope)) is AuditAnswer.SPOOL_DIFFERS


async def test_what_it_did_not_sign(bedside: Bedside) -> None:
    order, packet = await answered(bedside)
    forged = packet.header.model_copy(update={"payload": digest(b"other bytes")})
    peer = bedside.keys.sites[PEERS[0]]
    for shown in (
        forged.sign(bedside.papers.key),  # by its key, but not in its record
        forged.sign(peer),
        packet.header.sign(peer),
        replace(packet.envelope, payload=packet.envelope.payload + b" "),
        sign("text/plain", b"hello", bedside.papers.key),
    ):
        assert said(bedside, ask(bedside, order, shown)) is AuditAnswer.NOT_MINE


async def test_a_round_that_it_did_not_answer(bedside: Bedside) -> None:
    order, packet = await answered(bedside)
    elsewhere = ask(bedside, order, packet.envelope, round="another")
    assert said(bedside, elsewhere) is AuditAnswer.NOT_MINE


async def test_another_manifest_than_it_is_bound_to(bedside: Bedside) -> None:
    _, packet = await answered(bedside)
    other = bedside.order(index=1)
    assert said(bedside, ask(bedside, other, packet.envelope)) is AuditAnswer.OTHER_MANIFEST


async def test_nothing_shown_is_malformed(bedside: Bedside) -> None:
    order, packet = await answered(bedside)
    for change in (
        {"envelopes": {}},
        {"envelopes": {PEERS[0]: packet.envelope}},
        {"round": None},
        {"manifest": None},
    ):
        asked = ask(bedside, order, packet.envelope, **change)
        found = code(lambda asked=asked: audit(bedside.papers, bedside.state, asked))
        assert found == "WR-ROUND-001"
    assert bedside.leaves("audit") == []


async def test_the_answer_says_nothing_but_one_word(bedside: Bedside) -> None:
    order, packet = await answered(bedside)
    status = audit(bedside.papers, bedside.state, ask(bedside, order, packet.envelope))
    document = orjson.loads(status.envelope.payload)
    assert set(document) == {"study", "run", "round", "site", "packet", "manifest", "answer"}
