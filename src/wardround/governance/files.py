"""Reading what somebody else wrote, and writing so that nothing is ever half there."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import PlainSerializer, PlainValidator

from wardround.errors import WardroundError
from wardround.trust.dsse import Envelope
from wardround.trust.keys import sync_folder


def read_bounded(path: Path, limit_bytes: int, *, code: str, what: str, remedy: str) -> bytes:
    """The bytes of a file; raises ``code`` when it is missing, unreadable, empty or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise WardroundError(code, f"The {what} can't be read.", remedy, path=str(path)) from error
    if not data:
        raise WardroundError(code, f"The {what} is empty.", remedy, path=str(path))
    if len(data) > limit_bytes:
        raise WardroundError(
            code, f"The {what} is larger than {limit_bytes >> 20} MiB.", remedy, path=str(path)
        )
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file durably, replacing an older one in one step; raises WR-GOV-004 if it can't."""
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WardroundError(
            "WR-GOV-004",
            "A result can't be written here.",
            "Check that the folder exists, that you may write to it, and that the disk has room.",
            path=str(path),
        ) from error


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("must be base64")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be standard base64") from None
    # Python ignores stray bits in the last letter: two texts for the same bytes.
    if base64.b64encode(data).decode() != value:
        raise ValueError("must be standard base64, in its one spelling")
    return data


def _to_envelope(value: object) -> Envelope:
    if isinstance(value, Envelope):
        return value
    if not isinstance(value, dict):
        raise ValueError("must be a signed envelope")
    try:
        return Envelope.from_json(value)
    except WardroundError as error:
        raise ValueError(error.problem) from None


Bytes: TypeAlias = Annotated[
    bytes,
    PlainValidator(_to_bytes),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str),
]
"""Bytes that are standard base64 in a file."""

Signed: TypeAlias = Annotated[
    Envelope,
    PlainValidator(_to_envelope),
    PlainSerializer(lambda envelope: envelope.to_dict(), return_type=dict),
]
"""A DSSE envelope that is a JSON object in a file. Not yet verified."""
