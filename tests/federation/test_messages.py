"""What travels between coordinator and sites, and everything that is not quite that."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies import KEYS
from wardround.errors import WardroundError
from wardround.federation.causes import Cause
from wardround.federation.messages import (
    MAXIMUM_HEAD_BYTES,
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
from wardround.ids import RoundId, RunId, SiteName
from wardround.trust.canonical import JSON, canonical, digest
from wardround.trust.dsse import Envelope, sign

SOME = digest(b"something")
SITES = tuple(SiteName(name) for name in ("a", "b", "c"))
HEAD = JournalHead(size=3, root="ab" * 32)
STATEMENTS: list[Statement] = [
    Manifest(
        study=SOME,
        study_id="breast-mass",
        run=RunId("run"),
        step=0,
        attempt=0,
        round=RoundId("run.r.000000.0"),
        batch="run.b.000000",
        index=0,
        task=SOME,
        kind="outcome_counts",
        model=None,
        length=5,
        ring_bits=64,
        fractional_bits=20,
        roster=SITES,
        setup=SOME,
        corrupt=0,
        threshold=2,
        minimum_survivors=3,
        journal=HEAD,
    ),
    PacketHeader(
        study=SOME,
        run=RunId("run"),
        step=0,
        round=RoundId("round"),
        task=SOME,
        manifest=SOME,
        site=SITES[0],
        payload=SOME,
        size_bytes=40,
        part_bytes=4 << 20,
    ),
    Refused(study=SOME, run=RunId("run"), scope="round", site=SITES[0]),
    Refused(
        study=SOME,
        run=RunId("run"),
        scope="round",
        site=SITES[0],
        cause=Cause.KEYS_LOST,
        incident="7KQ2-M9XA",
    ),
    Witness(study=SOME, run=RunId("run"), site=SITES[0], journal=HEAD, model=None),
]
KEY = KEYS["coordinator"]
KINDS = st.sampled_from(STATEMENTS)


def code(call, *arguments: object) -> str | None:
    try:
        call(*arguments)
    except WardroundError as error:
        return error.code
    return None


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: type(one).__name__)
def test_a_statement_survives_signing_and_the_wire(statement: Statement) -> None:
    envelope = Envelope.from_json(statement.sign(KEY).to_json())
    assert type(statement).open(envelope, KEY.public) == statement
    assert statement.digest == digest(envelope.payload)


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: type(one).__name__)
def test_a_statement_counts_only_as_what_it_was_signed_as(statement: Statement) -> None:
    envelope = statement.sign(KEY)
    for other in STATEMENTS:
        if type(other) is not type(statement):
            assert code(type(other).open, envelope, KEY.public) == "WR-TRUST-021"
    assert code(type(statement).open, envelope, KEYS["lakeside"].public) == "WR-TRUST-022"


@given(KINDS, st.data())
def test_a_statement_with_a_key_too_many_too_few_or_of_another_type_is_malformed(
    statement: Statement, data: st.DataObject
) -> None:
    plain: dict[str, JSON] = json.loads(statement.to_payload())
    key = data.draw(st.sampled_from(sorted(plain)))
    change = data.draw(st.sampled_from(["surplus", "missing", "type"]))
    if change == "surplus":
        plain["surplus"] = 1
    elif change == "missing":
        del plain[key]
    else:
        wrong: list[JSON] = [-1, 1.5, True, [], {}, "", "no name!", "x" * 200, ["", ""]]
        plain[key] = data.draw(st.sampled_from(wrong))
    assert code(type(statement).from_payload, canonical(plain)) == "WR-ROUND-001"


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: type(one).__name__)
def test_a_statement_has_one_spelling(statement: Statement) -> None:
    """With a key twice, two readers may each see another statement under one signature."""
    payload = statement.to_payload()
    for other in (
        payload.replace(b'{"', b'{"run":"another","', 1),
        payload[:-1] + b',"run":"another"}',
        payload.replace(b":", b": ", 1),
        payload + b"\n",
        payload.replace(b"run", b"r\\u0075n", 1),
    ):
        assert other != payload
        assert code(type(statement).from_payload, other) == "WR-ROUND-001"


@given(KINDS, st.binary(max_size=200))
def test_a_statement_of_junk_is_malformed(statement: Statement, junk: bytes) -> None:
    envelope = sign(type(statement).payload_type(), junk, KEY)
    assert code(type(statement).open, envelope, KEY.public) == "WR-ROUND-001"


def test_a_refusal_can_say_nothing_but_refused() -> None:
    plain = json.loads(STATEMENTS[2].to_payload())
    assert plain.pop("answer") == "refused"
    for text in ("no consent", "refused: too few patients", "refused\n"):
        assert code(Refused.from_payload, canonical({**plain, "answer": text})) == "WR-ROUND-001"
    for more in ({"cause": "19 patients"}, {"incident": "PATIENT-19"}, {"incident": "7KQ2-M9XA\n"}):
        told = {**plain, "answer": "refused", **more}
        assert code(Refused.from_payload, canonical(told)) == "WR-ROUND-001"


def test_a_refusal_from_before_there_were_causes_reads_and_digests_as_it_did() -> None:
    old = canonical(
        {"answer": "refused", "run": "run", "scope": "round", "site": SITES[0], "study": SOME}
    )
    assert Refused.from_payload(old).to_payload() == old


@given(
    st.dictionaries(st.text(max_size=5), st.integers(-5, 5) | st.text(max_size=5)),
    st.binary(max_size=50),
)
def test_a_message_survives_framing(head: dict[str, JSON], body: bytes) -> None:
    again, rest = unframe(frame(head, body))
    assert again == head and bytes(rest) == body


@given(st.binary(max_size=60))
def test_whatever_is_not_a_message_is_malformed(junk: bytes) -> None:
    assert code(unframe, junk) in (None, "WR-ROUND-001")


@given(st.integers(0, 200))
def test_a_message_that_was_cut_is_malformed(length: int) -> None:
    whole = frame({"kind": "x" * 200})
    assert code(unframe, whole[:length]) == "WR-ROUND-001"


@pytest.mark.parametrize("head", [b"[]", b"1", b"null", b"{", b"\xff", b'"text"', b'{"a": NaN}'])
def test_a_head_that_is_no_object_is_malformed(head: bytes) -> None:
    assert code(unframe, len(head).to_bytes(4, "big") + head) == "WR-ROUND-001"


def test_a_head_beyond_the_limit_is_refused_before_it_is_read() -> None:
    assert code(unframe, (MAXIMUM_HEAD_BYTES + 1).to_bytes(4, "big")) == "WR-ROUND-001"


def wire(**changes: JSON) -> dict[str, JSON]:
    envelope = STATEMENTS[2].sign(KEY).to_dict()
    return {
        "ask": "contribute",
        "run": "run",
        "batch": "b",
        "round": "r",
        "manifest": envelope,
        "envelopes": {"a": envelope},
        "blobs": {"a": b64encode(b"sealed").decode()},
        "consistency": ["ab" * 32],
        **changes,
    }


def test_an_instruction_survives_the_wire() -> None:
    instruction = Instruction.parse(wire())
    assert instruction.ask is Ask.CONTRIBUTE and instruction.blobs[SITES[0]] == b"sealed"
    head, _ = unframe(frame(instruction.model_dump(mode="json", exclude_defaults=True)))
    assert Instruction.parse(head) == instruction


@pytest.mark.parametrize(
    "changes",
    [
        {"ask": "open-the-records"},
        {"ask": None},
        {"surplus": 1},
        {"run": "../../etc"},
        {"round": "a/b"},
        {"batch": ""},
        {"pool": "a"},
        {"pool": ["No Name"]},
        {"rounds": -1},
        {"survivors": [1]},
        {"manifest": 5},
        {"manifest": "{}"},
        {"manifest": []},
        {"envelopes": {"a": 5}},
        {"envelopes": {"a": None}},
        {"envelopes": []},
        {"blobs": {"a": 5}},
        {"blobs": {"a": "not base64!"}},
        {"blobs": {"No Name": ""}},
        {"model": "sha256:12"},
        {"model_bytes": -1},
        {"model_bytes": 2**40},
        {"consistency": ["not hexadecimal"]},
        {"consistency": ["ab"]},
        {"consistency": [7]},
        {"documents": []},
        {"task": 3},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_a_malformed_instruction_is_refused(changes: dict[str, JSON]) -> None:
    assert code(Instruction.parse, wire(**changes)) == "WR-ROUND-001"


def test_a_malformed_envelope_in_an_instruction_is_refused() -> None:
    broken = {"payloadType": "x", "payload": "?", "signatures": []}
    assert code(Instruction.parse, wire(manifest=broken)) in ("WR-ROUND-001", "WR-TRUST-020")
