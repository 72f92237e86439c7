"""Reading an answer of a server that may send anything, and the errors that come of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson

from wardround.clinical.fhir.bundle import not_fhir
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

_PIECE_BYTES = 1024 * 1024


def pieces(response: httpx.Response, what: str) -> Iterator[bytes]:
    """The body, unpacked in small pieces so that none of them can fill the memory.

    Raises:
        WardroundError: ``WR-DATA-064`` where it is packed in a way that was not asked for, or its
            packed form is damaged.
        httpx.TransportError: where the connection fails.
    """
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        yield from stream
        return
    if encoding != "gzip":
        raise not_fhir(what)
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for packed in stream:
            rest = packed
            while rest:
                yield unpacker.decompress(rest, _PIECE_BYTES)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise not_fhir(what) from None
    if not unpacker.eof:
        raise not_fhir(what)


def media_type(response: httpx.Response) -> str:
    """The answer's media type, without its parameters."""
    stated: str = response.headers.get("content-type", "")
    return stated.partition(";")[0].strip().lower()


def issue_codes(response: httpx.Response, what: str) -> list[str]:
    """The codes in an OperationOutcome, of those that FHIR itself defines; its texts are left."""
    content = bytearray()
    try:
        for piece in pieces(response, what):
            content += piece
            if len(content) > _PIECE_BYTES:
                return []
        outcome: JSON = orjson.loads(content)
    except (httpx.TransportError, WardroundError, orjson.JSONDecodeError):
        return []
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    codes = {
        code
        for issue in (issues if isinstance(issues, list) else ())
        if isinstance(issue, dict) and isinstance(code := issue.get("code"), str)
    }
    return sorted(codes & _ISSUE_CODES)


def stated_pause(stated: str | None, now: datetime) -> float | None:
    """The seconds that a ``Retry-After`` asks for (RFC 9110 section 10.2.3); None for none."""
    if stated is None:
        return None
    if stated.isascii() and stated.isdigit() and len(stated) < 12:
        return float(stated)
    try:
        moment = parsedate_to_datetime(stated)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def unreachable(what: str) -> WardroundError:
    """Return the error for a server that gives no whole answer."""
    return WardroundError(
        "WR-DATA-060",
        "The FHIR server gave no whole answer in time.",
        "Check its address, the hospital's network and proxy, and that its certificate is from "
        "the authority in the stated CA file.",
        path=what,
    )


def no_access(what: str, problem: str) -> WardroundError:
    """Return the error for a server that doesn't let the agent in."""
    return WardroundError(
        "WR-DATA-062",
        problem,
        "Check with the server's operator that this client, its key and its scopes are registered.",
        path=what,
    )


def too_much(what: str, found: str) -> WardroundError:
    """Return the error for answers that go beyond every bound."""
    return WardroundError(
        "WR-DATA-065",
        f"The FHIR server sent {found}.",
        "Ask for less at a time; if the server repeats pages, its operator must mend it.",
        path=what,
    )


_ISSUE_CODES = frozenset(
    {"invalid", "structure", "required", "value", "invariant", "security"}
    | {"login", "unknown", "expired", "forbidden", "suppressed", "processing"}
    | {"not-supported", "duplicate", "multiple-matches", "not-found", "deleted", "too-long"}
    | {"code-invalid", "extension", "too-costly", "business-rule", "conflict", "transient"}
    | {"lock-error", "no-store", "exception", "timeout", "incomplete", "throttled"}
    | {"informational"}
)
"""The FHIR R4 value set issue-type; any other text may hold anything."""
