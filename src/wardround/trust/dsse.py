"""Signed envelopes: DSSE v1 (https://github.com/secure-systems-lab/dsse, protocol.md).

The signature covers the payload's exact bytes together with its type, so nothing is parsed before
it is verified, and an attacker can't pass a vote off as an approval. The key id in an envelope is
only a hint that anyone may write: :func:`verify` is given the key it must find.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from wardround.errors import WardroundError
from wardround.trust.canonical import JSON, canonical, parse_json
from wardround.trust.keys import SigningKey, VerifyKey

MAXIMUM_BYTES = 64 * 1024 * 1024
"""The largest serialised envelope that is read; vectors travel beside envelopes, not in them."""
MAXIMUM_SIGNATURES = 1024
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """``sig`` over the envelope's pre-authentication encoding, by the key named ``keyid``."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and one signature per signer. Not yet verified: see :func:`verify`."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        keyids = {signature.keyid for signature in self.signatures}
        if (
            not self.payload_type
            or not self.payload_type.isascii()
            or not self.payload_type.isprintable()
            or not 1 <= len(self.signatures) <= MAXIMUM_SIGNATURES
            or len(keyids) != len(self.signatures)
            or any(len(signature.sig) != _SIGNATURE_BYTES for signature in self.signatures)
        ):
            raise _malformed()

    def add(self, key: SigningKey) -> Envelope:
        """This envelope with a signature by ``key`` as well, over the same type and payload."""
        others = tuple(one for one in self.signatures if one.keyid != key.public.text)
        return Envelope(
            self.payload_type,
            self.payload,
            (*others, _signature(self.payload_type, self.payload, key)),
        )

    def to_dict(self) -> dict[str, JSON]:
        """The DSSE JSON object: ``payloadType``, ``payload``, ``signatures``."""
        return {
            "payloadType": self.payload_type,
            "payload": base64.b64encode(self.payload).decode(),
            "signatures": [
                {"keyid": one.keyid, "sig": base64.b64encode(one.sig).decode()}
                for one in self.signatures
            ],
        }

    def to_json(self) -> bytes:
        """The canonical bytes of :meth:`to_dict`."""
        return canonical(self.to_dict())

    @classmethod
    def from_json(cls, source: bytes | Mapping[str, JSON]) -> Envelope:
        """Read an envelope from its bytes, or from an object inside a larger document.

        Raises WR-TRUST-020 for anything but exactly the three fields, in standard base64 and
        within :data:`MAXIMUM_BYTES`. Verifies nothing.
        """
        if isinstance(source, Mapping):
            value: JSON = source
        else:
            if len(source) > MAXIMUM_BYTES:
                raise _malformed()
            value = parse_json(source, code="WR-TRUST-020", what="envelope")
        match value:
            case {
                "payloadType": str(payload_type),
                "payload": str(payload),
                "signatures": list(signatures),
                **rest,
            } if not rest and len(payload) <= MAXIMUM_BYTES:
                return cls(
                    payload_type, _from_base64(payload), tuple(_read(one) for one in signatures)
                )
            case _:
                raise _malformed()


def sign(payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
    """``payload`` under one signature by ``key``."""
    return Envelope(payload_type, payload, (_signature(payload_type, payload, key),))


def verify(envelope: Envelope, payload_type: str, key: VerifyKey) -> bytes:
    """The payload, if ``key`` signed exactly it and this type. Other signatures don't matter.

    Raises WR-TRUST-021 for another type, WR-TRUST-022 when there is no signature that names
    ``key``, WR-TRUST-023 when that signature is not over this payload and type.
    """
    if envelope.payload_type != payload_type:
        raise WardroundError(
            "WR-TRUST-021",
            f"A signed document is not of the expected type {payload_type}.",
            "Give the document that this step asks for; each kind is signed as what it is.",
        )
    keyid = key.text
    for signature in envelope.signatures:
        if signature.keyid == keyid:
            break
    else:
        raise WardroundError(
            "WR-TRUST-022",
            f"A signed document carries no signature by the expected key {keyid}.",
            "Compare the fingerprint of the key in the study with that of the signer.",
        )
    try:
        key.verify(signature.sig, pre_authentication(envelope.payload_type, envelope.payload))
    except WardroundError:
        raise WardroundError(
            "WR-TRUST-023",
            "A signed document was altered after it was signed, or its signature was forged.",
            "Ask the signer for the document again, over another way if it happens twice.",
        ) from None
    return envelope.payload


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (DSSE protocol.md, "PAE"): both parts with their lengths."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _signature(payload_type: str, payload: bytes, key: SigningKey) -> Signature:
    return Signature(key.public.text, key.sign(pre_authentication(payload_type, payload)))


def _read(value: JSON) -> Signature:
    match value:
        case {"keyid": str(keyid), "sig": str(sig), **rest} if not rest and len(keyid) <= 256:
            return Signature(keyid, _from_base64(sig))
        case _:
            raise _malformed()


def _from_base64(text: str) -> bytes:
    """Standard base64, and only its one canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed() from None
    # Python ignores stray bits in the last letter: two texts for the same bytes.
    if base64.b64encode(data).decode() != text:
        raise _malformed()
    return data


def _malformed() -> WardroundError:
    return WardroundError(
        "WR-TRUST-020",
        "A signed envelope is malformed: it is not a DSSE envelope as Wardround writes it.",
        "Check that the file is complete and of this kind, or ask its sender for it again.",
    )
