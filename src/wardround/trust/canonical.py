"""One byte form for every value that is hashed or signed, and a strict way back.

Two programs that agree on a value must agree on its bytes, so everything that is hashed or signed
is written as canonical JSON (RFC 8785). Everything that is read is parsed strictly: of a document
with a duplicate key, one reader takes the first value and another the last, and an attacker who
can choose between readers shows each of them another document under the same signature.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import rfc8785

from wardround.errors import WardroundError
from wardround.ids import Digest

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""A JSON value. At run time arrays are ``list`` or ``tuple`` and objects are ``dict``."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical(value: JSON) -> bytes:
    """The RFC 8785 bytes of ``value``: sorted keys, no white space, ECMAScript numbers, UTF-8.

    Raises WR-TRUST-001 for what has no such form: NaN and infinity, integers beyond 2**53 - 1,
    lone surrogates, keys that are not text, other types.
    """
    try:
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:  # rfc8785's own errors are ValueErrors
        raise WardroundError(
            "WR-TRUST-001",
            "A value that is to be hashed or signed has no canonical JSON form.",
            "Use text, booleans, null, finite numbers (integers below 2**53), lists and objects.",
        ) from error


def digest(data: bytes | bytearray | memoryview) -> Digest:
    """The SHA-256 of ``data`` as text."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def digest_json(value: JSON) -> Digest:
    """The SHA-256 of the canonical form of ``value``."""
    return digest(canonical(value))


def parse_digest(text: JSON, *, path: str | None = None) -> Digest:
    """``text`` as a :data:`Digest`; raises WR-TRUST-003 unless it is exactly of that form."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise WardroundError(
            "WR-TRUST-003",
            "A digest is not of the form 'sha256:' and 64 lower-case hexadecimal digits.",
            "Copy the digest again from where it was shown.",
            path=path,
        )
    return Digest(text)


def parse_json(
    data: bytes | bytearray | memoryview,
    *,
    code: str = "WR-TRUST-002",
    what: str = "document",
    path: str | None = None,
) -> JSON:
    """Parse UTF-8 JSON strictly.

    Refuses duplicate keys, NaN and infinity (also as ``1e999``), integers that a double would
    silently round, lone surrogates, a byte order mark, anything after the value, and nesting too
    deep to walk. Raises ``code``; the error carries nothing of the content, which may hold a
    patient's value.
    """
    try:
        text = bytes(data).decode("utf-8")
        value: JSON = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_int=_exact,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
        if "\\u" in text:  # the only way for a lone surrogate to survive UTF-8 decoding
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        # "from None": the parser's own exception quotes the text.
        raise WardroundError(
            code,
            f"The {what} is not strict JSON: it is damaged, or it uses a key twice.",
            "Ask its sender for it again; if you wrote it, check it with a JSON validator.",
            path=path,
        ) from None
    return value


def _unique_keys(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _exact(text: str) -> int | float:
    """RFC 8785 writes whole doubles below 1e21 like integers: beyond 2**53 they are doubles."""
    if len(text) < 16:
        return int(text)
    if len(text) > 22:
        raise ValueError("integer out of range")
    value = int(text)
    if abs(value) < 2**53:
        return value
    if rfc8785.dumps(float(value)) != text.encode():
        raise ValueError("integer out of range")
    return float(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return value


def _refuse_constant(_name: str) -> float:
    raise ValueError("not a JSON number")
