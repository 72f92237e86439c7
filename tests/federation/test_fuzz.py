"""Mutated messages at every parser of the wire: no crash, and nothing mutated that is accepted.

A signed statement counts only with exactly the payload that was signed; whatever a parser of plain
messages accepts is written and read back to the same. The fast version (20,000 inputs) is part of
``make test``, the slow one (more than a million) of ``make test-all``. Mutation is by a seed, keys
are fresh; whatever is found is printed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial

import pytest

from cohorts import KEYS, MANIFEST, random_values, usual
from mutation import altered, mutated
from wardround.coordinator.intake import sealed_blobs
from wardround.errors import WardroundError
from wardround.federation.messages import (
    Ask,
    Instruction,
    JournalHead,
    Manifest,
    PacketHeader,
    Refused,
    Statement,
    Witness,
    frame,
    unframe,
)
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.secagg import Advert, Deal, SurvivorVote, derive, shamir
from wardround.secagg.messages import Message
from wardround.secagg.sealing import Route
from wardround.trust.canonical import JSON, canonical, digest, parse_json
from wardround.trust.dsse import Envelope

LONGEST_S = 10.0
"""No single input may take longer; the machine may be busy."""

SITES = tuple(KEYS)[:4]
ME, KEY = SITES[0], KEYS[SITES[0]]
HEAD = JournalHead(size=3, root="ab" * 32)
NASTY = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xc3", b"\n", b'"', b"\\", b"0" * 400, b"-", b"="),
    *(b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"1e400", b"\\ud800", b"[" * 1200),
    *(b'"payload":', b'"sig":""', b'"keyid":"x",', b"AAAA", b'"site":"site-01"', b'"surplus":1,'),
)
VALUES: tuple[JSON, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 1.5, -0.0, "", "a", "../x", "site-01", "sha256:"),
    *(
        "sha256:" + "ab" * 32,
        "AAAA",
        "=" * 44,
        "x" * 300,
        "\ud7ff",
        "a\nb",
        [],
        {},
        [[]],
        [0],
        ["a"],
    ),
    *({"a": 1}, {"site-01": "AA=="}, [{"a": []}], ["site-01"] * 3, list("abcdefgh")),
)


@cache
def statements() -> dict[str, Message | Statement]:
    """One of each kind, all by one site."""
    cohort = usual(4, rounds=2).set_up()
    cohort.mask(1, MANIFEST, random_values(cohort.names, 3, 32))
    survivors = cohort.names[:3]
    votes = cohort.votes(1, MANIFEST, survivors, survivors)
    run, round_ = RunId("run"), RoundId("run.r.000000.0")
    return {
        "advert": Advert.open(cohort.adverts[ME], KEY.public),
        "deal": Deal.open(cohort.deals[ME], KEY.public),
        "vote": SurvivorVote.open(votes[ME], KEY.public),
        "shares": cohort.members[ME].recover(1, MANIFEST, survivors, votes),
        "manifest": Manifest(
            study=MANIFEST,
            study_id="breast-mass",
            run=run,
            step=0,
            attempt=0,
            round=round_,
            batch=BatchId("b"),
            index=0,
            task=MANIFEST,
            kind="outcome_counts",
            model=None,
            length=5,
            ring_bits=64,
            fractional_bits=20,
            roster=SITES,
            setup=MANIFEST,
            corrupt=1,
            threshold=3,
            minimum_survivors=3,
            journal=HEAD,
        ),
        "header": PacketHeader(
            study=MANIFEST,
            run=run,
            step=0,
            round=round_,
            task=MANIFEST,
            manifest=MANIFEST,
            site=ME,
            payload=MANIFEST,
            size_bytes=40,
            part_bytes=4 << 20,
        ),
        "refused": Refused(study=MANIFEST, run=run, scope="round", site=ME),
        "witness": Witness(study=MANIFEST, run=run, site=ME, journal=HEAD, model=None),
    }


def payload_of(one: Message | Statement) -> bytes:
    return one.to_payload() if isinstance(one, Statement) else canonical(one.to_wire())


def read(kind: type[Message | Statement], payload: bytes) -> Message | Statement:
    if issubclass(kind, Statement):
        return kind.from_payload(payload)
    return kind.from_wire(parse_json(payload, code="WR-SECAGG-006", what="message"))


Parser = Callable[[bytes], object]
Input = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A parser, where its inputs come from, and how many of a million it gets."""

    build: Callable[[], tuple[Parser, Input]]
    of_a_million: int


def plain(name: str) -> tuple[Parser, Input]:
    """A statement's payload, as if somebody had signed whatever it is."""
    one = statements()[name]
    kind, payload = type(one), payload_of(one)
    value = json.loads(payload)

    def parse(content: bytes) -> None:
        message = read(kind, content)
        assert read(kind, payload_of(message)) == message
        if isinstance(message, Statement):
            assert content == payload_of(message), "a statement has one spelling"

    def build(drawn: random.Random) -> bytes:
        if drawn.random() < 0.7:
            changed = altered(value, VALUES, drawn)
            with suppress(WardroundError):  # a value that can't be signed
                return canonical(changed)
        return mutated((payload,), NASTY, drawn)

    return parse, build


def signed(name: str) -> tuple[Parser, Input]:
    """A statement under its signature: of all mutations only the original payload counts."""
    one = statements()[name]
    kind, payload = type(one), payload_of(one)
    envelope = one.sign(KEY)
    document = envelope.to_json()
    value = json.loads(document)
    other = statements()["vote" if name == "advert" else "advert"].sign(KEY).to_json()

    def parse(content: bytes) -> None:
        arrived = Envelope.from_json(content)
        message = kind.open(arrived, KEY.public)
        assert arrived.payload == payload and message == one

    def build(drawn: random.Random) -> bytes:
        match drawn.randrange(4):
            case 0:  # another payload under the old signature
                changed = mutated((payload,), NASTY, drawn)
                return Envelope(envelope.payload_type, changed, envelope.signatures).to_json()
            case 1:
                return json.dumps(altered(value, VALUES, drawn)).encode()
            case _:
                return mutated((document, other), NASTY, drawn)

    return parse, build


def envelopes() -> tuple[Parser, Input]:
    document = statements()["header"].sign(KEY).to_json()
    value = json.loads(document)

    def parse(content: bytes) -> None:
        arrived = Envelope.from_json(content)
        assert Envelope.from_json(arrived.to_json()) == arrived

    def build(drawn: random.Random) -> bytes:
        if drawn.random() < 0.5:
            return json.dumps(altered(value, VALUES, drawn)).encode()
        return mutated((document,), NASTY, drawn)

    return parse, build


def instructions() -> tuple[Parser, Input]:
    """What an agent does with every message of the coordinator."""
    envelope = statements()["manifest"].sign(KEY)
    whole = Instruction(
        ask=Ask.CONTRIBUTE,
        run=RunId("run"),
        batch=BatchId("b"),
        round=RoundId("r"),
        pool=SITES,
        rounds=4,
        survivors=SITES,
        manifest=envelope,
        task={"kind": "moments", "parameters": {}},
        model=MANIFEST,
        model_bytes=8,
        envelopes={ME: envelope},
        blobs={ME: b"sealed"},
        consistency=("ab" * 32,),
        documents={"journal": HEAD.model_dump()},
        reason="over",
    ).model_dump(mode="json")
    message = frame(whole, b"12345678")

    def parse(content: bytes) -> None:
        head, _ = unframe(content)
        instruction = Instruction.parse(head)
        again = Instruction.parse(instruction.model_dump(mode="json"))
        assert again == instruction

    def build(drawn: random.Random) -> bytes:
        if drawn.random() < 0.7:
            text = json.dumps(altered(whole, VALUES, drawn)).encode()
            return len(text).to_bytes(4, "big") + text
        return mutated((message,), NASTY, drawn)

    return parse, build


def frames() -> tuple[Parser, Input]:
    seeds = (frame({"kind": "packet", "n": 1}, b"body" * 20), frame({}), bytes(4), b"\0\0\0\2{}")

    def parse(content: bytes) -> None:
        head, body = unframe(content)
        again, rest = unframe(frame(head, body))
        assert (again, rest) == (head, body)
        assert len(body) <= len(content) - 6

    return parse, partial(mutated, seeds, NASTY)


def attachments() -> tuple[Parser, Input]:
    """What comes beside a deal."""
    blobs: dict[str, JSON] = dict.fromkeys(SITES[1:], "c2VhbGVk")
    seeds = (canonical(blobs), b"{}")

    def parse(content: bytes) -> None:
        found = sealed_blobs(content)
        assert all(isinstance(blob, bytes) for blob in found.values())

    def build(drawn: random.Random) -> bytes:
        if drawn.random() < 0.5:
            return json.dumps(altered(blobs, VALUES, drawn)).encode()
        return mutated(seeds, NASTY, drawn)

    return parse, build


def sealed() -> tuple[Parser, Input]:
    """Only the very blob opens."""
    one, other = (derive.private_key(bytes([seed]) * 32) for seed in (1, 2))
    publics = [derive.public_key(bytes([seed]) * 32) for seed in (1, 2)]
    batch = derive.Batch(digest(b"study"), RunId("run"), BatchId("batch"))
    route = Route(batch, digest(b"adverts"), SiteName("one"), SiteName("other"))
    shares = shamir.deal(bytes(range(32)), 2, 4)
    blob = route.seal(one, publics[1], shares)
    back = replace_receiver(route).seal(other, publics[0], shares)

    def parse(content: bytes) -> None:
        assert route.unseal(other, publics[0], content, 4) == shares
        assert content == blob

    return parse, partial(mutated, (blob, back), (b"\0", b"\xff", bytes(33), b"\xff" * 33))


def replace_receiver(route: Route) -> Route:
    return Route(route.batch, route.adverts, route.receiver, route.sender)


TARGETS = {
    **{f"plain {name}": Target(partial(plain, name), 60_000) for name in statements()},
    **{f"signed {name}": Target(partial(signed, name), 30_000) for name in statements()},
    "envelope": Target(envelopes, 100_000),
    "instruction": Target(instructions, 80_000),
    "frame": Target(frames, 100_000),
    "attachment": Target(attachments, 30_000),
    "sealed": Target(sealed, 40_000),
}
TOTAL = sum(target.of_a_million for target in TARGETS.values())


def fuzz(name: str, count: int, seed: int) -> None:
    """Feed ``count`` mutated inputs; whatever is raised but an error with a code is a failure."""
    drawn = random.Random(f"{name} {seed}")
    parse, build = TARGETS[name].build()
    for _ in range(count):
        content = build(drawn)
        start = time.monotonic()
        try:
            parse(content)
        except WardroundError as error:
            assert error.code.startswith(("WR-TRUST-", "WR-SECAGG-", "WR-ROUND-", "WR-COORD-024"))
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__} on {content!r}") from error
        assert time.monotonic() - start < LONGEST_S, content


@pytest.mark.parametrize("name", TARGETS)
def test_twenty_thousand_mutated_messages(name: str) -> None:
    fuzz(name, TARGETS[name].of_a_million // 51, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TARGETS)
def test_a_million_mutated_messages(name: str) -> None:
    assert TOTAL >= 1_000_000
    fuzz(name, TARGETS[name].of_a_million, seed=1)


@pytest.mark.parametrize("name", TARGETS)
def test_some_inputs_get_through_and_most_do_not(name: str) -> None:
    """A fuzzer whose every input fails at the first byte tests nothing."""
    parse, build = TARGETS[name].build()
    drawn = random.Random(name)
    codes: dict[str | None, int] = {}
    for _ in range(300):
        try:
            parse(build(drawn))
        except WardroundError as error:
            codes[error.code] = codes.get(error.code, 0) + 1
        else:
            codes[None] = codes.get(None, 0) + 1
    assert sum(codes.values()) - codes.get(None, 0) > 30
    assert len(codes) >= (1 if name == "sealed" else 2), codes
