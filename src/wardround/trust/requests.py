"""Signed HTTP requests (RFC 9421) over one fixed set of components, with replays refused.

The attacker is whoever stands where TLS ends: a hospital's TLS-inspecting proxy, which removes the
client certificate and sees every request. It must not be able to alter, forge or replay one.

Covered are ``@method``, ``@path``, ``@query`` and ``content-digest`` (RFC 9530, SHA-256).
``@target-uri`` and ``@authority`` are not, because a proxy or load balancer may rightly rewrite
scheme and host; that a request to one coordinator is worth nothing at another follows from the key
id, which should name the study and trust domain (a SPIFFE id does). The set is fixed: what is
covered is never the sender's choice, and there is nothing to negotiate down.

Written here rather than taken from ``http-message-signatures``, which serves the general case at
three to ten times the cost; the tests check each against the other, and both against RFC 9421.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wardround.errors import WardroundError
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.replay import ReplayCache

WINDOW_S: Final = 300
"""How far the clocks of sender and receiver may differ."""

_COVERED: Final = '("@method" "@path" "@query" "content-digest")'
_KEYID = re.compile(r"[ !#-\[\]-~]{1,512}")  # printable ASCII but quote and backslash
_SIGNATURE_INPUT = re.compile(
    r"wardround=(" + re.escape(_COVERED) + r";created=(\d{1,15})"
    r';nonce="([A-Za-z0-9_-]{22})";keyid="(' + _KEYID.pattern + r')";alg="ed25519";tag="wardround")'
)
_SIGNATURE = re.compile(r"wardround=:([A-Za-z0-9+/]{86}==):")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_METHOD = re.compile(r"[A-Z]{1,20}")
_TARGET = re.compile(r"(?:https?://[^/?#\s]+)?(/[!-\"$->@-~]*)?(\?[!-\"$-~]*)?")


def sign_request(
    key: SigningKey,
    keyid: str,
    method: str,
    url: str,
    body: bytes,
    now: int,
    *,
    body_sha256: bytes | None = None,
) -> dict[str, str]:
    """The three header fields that sign a request, their names in lower case.

    ``url`` is absolute or begins with ``/``, percent-encoded as it goes over the wire; ``now`` is
    Unix time in seconds. ``body_sha256`` (32 bytes) spares a second pass over a large body whose
    hash is already known. Raises WR-TRUST-047 for what can't be signed unambiguously.
    """
    if not _KEYID.fullmatch(keyid) or now < 0:
        raise _unsignable()
    if body_sha256 is None:
        body_sha256 = hashlib.sha256(body).digest()
    content_digest = f"sha-256=:{base64.b64encode(body_sha256).decode()}:"
    nonce = secrets.token_urlsafe(16)
    params = (
        f'{_COVERED};created={now};nonce="{nonce}";keyid="{keyid}";alg="ed25519";tag="wardround"'
    )
    signature = key.sign(_base(method, url, content_digest, params))
    return {
        "content-digest": content_digest,
        "signature-input": f"wardround={params}",
        "signature": f"wardround=:{base64.b64encode(signature).decode()}:",
    }


def verify_request(
    keys: Callable[[str], VerifyKey | None],
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    now: int,
    replay: ReplayCache,
    *,
    body_sha256: bytes | None = None,
) -> str:
    """The key id of whoever signed this request, if everything about it is right.

    ``headers`` is case-insensitive or has lower-case names, as servers hand them over; ``url`` is
    the target as received, before any decoding. ``body_sha256`` is given instead of hashing
    ``body`` where the receiver hashed it as it arrived.

    Raises WR-TRUST-040 for missing or malformed fields, 041 for an unknown key, 042 for a bad
    signature, 043 for a body that does not match its digest, 044 for a request from outside the
    window, 045 for a replay, 046 when a sender has too many requests in the window.
    """
    head = _verified(keys, method, url, headers)
    if body_sha256 is None:
        body_sha256 = hashlib.sha256(body).digest()
    if not hmac.compare_digest(head.body_sha256, body_sha256):
        raise WardroundError(
            "WR-TRUST-043",
            "The body of a request does not match its signed digest.",
            "Send it again; if it happens twice, something between the two sides alters bodies.",
        )
    created = head.created
    if abs(now - created) > WINDOW_S:
        way = "slow" if created < now else "fast"
        raise WardroundError(
            "WR-TRUST-044",
            f"The sender's clock is {abs(now - created)} seconds {way} by the receiver's (or the "
            f"request was held up for so long); at most {WINDOW_S} are allowed.",
            "Set the clocks of both machines, best by NTP.",
        )
    # Last, so that only the key's owner can use up its share of the cache.
    replay.admit(head.keyid, head.nonce, created, now)
    return head.keyid


def claimed_signer(headers: Mapping[str, str]) -> str | None:
    """The key id that a request names, of which nothing has been verified yet."""
    signed = _SIGNATURE_INPUT.fullmatch(headers.get("signature-input") or "")
    return None if signed is None else signed[4]


def verify_signature(
    keys: Callable[[str], VerifyKey | None], method: str, url: str, headers: Mapping[str, str]
) -> None:
    """The part of `verify_request` that can be had before the body is read.

    For a receiver that would not read a stranger's body: time, body and replay are still to be
    checked. Raises WR-TRUST-040 to 042.
    """
    _verified(keys, method, url, headers)


@dataclass(frozen=True)
class _Head:
    keyid: str
    created: int
    nonce: str
    body_sha256: bytes


def _verified(
    keys: Callable[[str], VerifyKey | None], method: str, url: str, headers: Mapping[str, str]
) -> _Head:
    content_digest = headers.get("content-digest") or ""
    signed = _SIGNATURE_INPUT.fullmatch(headers.get("signature-input") or "")
    encoded = _SIGNATURE.fullmatch(headers.get("signature") or "")
    digest = _DIGEST.fullmatch(content_digest)
    if signed is None or encoded is None or digest is None:
        raise _unsigned()
    params, created_text, nonce, keyid = signed.groups()
    key = keys(keyid)
    if key is None:
        raise WardroundError(
            "WR-TRUST-041",
            "A request is signed by a key that is not known here.",
            "Enrol this agent, or check that it talks to the coordinator of its study.",
        )
    try:
        key.verify(_decode(encoded[1]), _base(method, url, content_digest, params))
    except WardroundError:
        raise WardroundError(
            "WR-TRUST-042",
            "A request was altered on the way, or was not signed by the key that it names.",
            "Ask whether a proxy between hospital and coordinator rewrites paths or headers.",
        ) from None
    return _Head(keyid, int(created_text), nonce, _decode(digest[1]))


def signature_base(components: Sequence[tuple[str, str]], params: str) -> bytes:
    """The bytes that are signed (RFC 9421 section 2.5), of ready component values."""
    lines = [f'"{name}": {value}\n' for name, value in components]
    return f'{"".join(lines)}"@signature-params": {params}'.encode("ascii")


def _base(method: str, url: str, content_digest: str, params: str) -> bytes:
    target = _TARGET.fullmatch(url)
    if target is None or not _METHOD.fullmatch(method):
        raise _unsignable()
    return signature_base(
        (
            ("@method", method),
            ("@path", target[1] or "/"),
            ("@query", target[2] or "?"),
            ("content-digest", content_digest),
        ),
        params,
    )


def _decode(text: str) -> bytes:
    """Base64 in its one spelling; the patterns above fix the length, this the last letter."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _unsigned() from None
    if base64.b64encode(data).decode() != text:
        raise _unsigned()
    return data


def _unsigned() -> WardroundError:
    return WardroundError(
        "WR-TRUST-040",
        "A request is not signed, or its signature fields are malformed.",
        "Send requests with Wardround's agent, and let proxies leave header fields alone.",
    )


def _unsignable() -> WardroundError:
    return WardroundError(
        "WR-TRUST-047",
        "A request's method, address or key id holds characters that can't be signed.",
        "Percent-encode the address; methods are upper-case letters.",
    )
