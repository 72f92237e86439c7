import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.dsse import Envelope, Signature, pre_authentication, sign, verify
from wardround.trust.keys import SigningKey

KIND = "application/vnd.wardround.vote+json"
KEY = SigningKey.generate()
OTHER = SigningKey.generate()


def test_pae_vector_of_the_dsse_specification() -> None:
    # protocol.md, "Test Vectors"
    assert (
        pre_authentication("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.text(min_size=1, max_size=8), st.binary(max_size=8), st.text(min_size=1, max_size=8),
       st.binary(max_size=8))  # fmt: skip
def test_no_two_documents_share_an_encoding(k1: str, p1: bytes, k2: str, p2: bytes) -> None:
    assert (pre_authentication(k1, p1) == pre_authentication(k2, p2)) == ((k1, p1) == (k2, p2))


@given(st.binary(max_size=200))
def test_round_trip(payload: bytes) -> None:
    envelope = sign(KIND, payload, KEY)
    read = Envelope.from_json(envelope.to_json())
    assert read == envelope
    assert Envelope.from_json(json.loads(envelope.to_json())) == envelope
    assert verify(read, KIND, KEY.public) == payload


def test_several_signers() -> None:
    envelope = sign(KIND, b"x", KEY).add(OTHER).add(OTHER)
    assert [one.keyid for one in envelope.signatures] == [KEY.public.text, OTHER.public.text]
    assert verify(envelope, KIND, OTHER.public) == b"x"
    assert verify(envelope, KIND, KEY.public) == b"x"


def test_another_type_is_refused() -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-021"):
        verify(sign(KIND, b"x", KEY), "application/other", KEY.public)


def test_another_key_is_refused() -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-022"):
        verify(sign(KIND, b"x", OTHER), KIND, KEY.public)


def test_a_key_id_alone_convinces_nobody() -> None:
    forged = Envelope(
        KIND, b"x", (Signature(KEY.public.text, sign(KIND, b"x", OTHER).signatures[0].sig),)
    )
    with pytest.raises(WardroundError, match="WR-TRUST-023"):
        verify(forged, KIND, KEY.public)


def test_a_relabelled_document_is_refused() -> None:
    signed = sign("application/other", b"x", KEY)
    with pytest.raises(WardroundError, match="WR-TRUST-023"):
        verify(Envelope(KIND, b"x", signed.signatures), KIND, KEY.public)


@given(st.data())
def test_any_altered_byte_of_the_wire_form_is_found(data: st.DataObject) -> None:
    wire = bytearray(sign(KIND, b"the payload", KEY).to_json())
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WardroundError):
        verify(Envelope.from_json(bytes(wire)), KIND, KEY.public)


GOOD = json.loads(sign(KIND, b"xy", KEY).to_json())
SIGNATURE = GOOD["signatures"][0]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {},
        {**GOOD, "extra": 1},
        {**GOOD, "payloadType": 5},
        {**GOOD, "payloadType": ""},
        {**GOOD, "payloadType": "a\nb"},
        {**GOOD, "payload": "eHk"},
        {**GOOD, "payload": "eHl="},
        {**GOOD, "payload": "eH k="},
        {**GOOD, "payload": "é"},
        {**GOOD, "signatures": []},
        {**GOOD, "signatures": {}},
        {**GOOD, "signatures": [SIGNATURE, SIGNATURE]},
        {**GOOD, "signatures": [{**SIGNATURE, "sig": base64.b64encode(b"short").decode()}]},
        {**GOOD, "signatures": [{**SIGNATURE, "x": 1}]},
        {**GOOD, "signatures": [{"sig": SIGNATURE["sig"]}]},
        {**GOOD, "signatures": [{**SIGNATURE, "keyid": "k" * 257}]},
        {**GOOD, "signatures": [{**SIGNATURE, "keyid": str(i)} for i in range(1025)]},
    ],
)
def test_malformed_envelopes_are_refused(bad: object) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-020"):
        Envelope.from_json(json.dumps(bad).encode())


def test_an_oversized_envelope_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.trust.dsse.MAXIMUM_BYTES", 100)
    with pytest.raises(WardroundError, match="WR-TRUST-020"):
        Envelope.from_json(b" " * 101)


@given(st.binary(max_size=80))
def test_any_bytes_read_or_raise_the_code(data: bytes) -> None:
    with pytest.raises(WardroundError, match="WR-TRUST-020"):
        Envelope.from_json(data)
