"""Lines of FHIR resources decoded: the few elements of a plain fact at once, or a line whole.

Both ways take the same lines for JSON, so that it never matters which of them a line goes.
"""

from __future__ import annotations

import sys
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
import orjson

from wardround.clinical.quarantine import Reason
from wardround.trust.canonical import JSON

USABLE_STATUS: Final = ("final", "amended", "corrected")
"""Of Observations: any other says nothing yet, or nothing more."""

_LARGEST: Final = sys.float_info.max


class _Coding(msgspec.Struct, gc=False):
    system: str = ""
    code: str = ""


class _Concept(msgspec.Struct, gc=False):
    coding: list[_Coding] = []


class _Reference(msgspec.Struct, gc=False):
    reference: str = ""


class _Quantity(msgspec.Struct, gc=False):
    value: int | float | None = None
    system: str = ""
    code: str | None = None
    comparator: str | None = None


class Observation(msgspec.Struct, gc=False):
    """As much of a resource as a plain fact needs; all else is passed over, not decoded."""

    resourceType: str  # noqa: N815  (FHIR's name)
    status: str = ""
    code: _Concept = msgspec.field(default_factory=_Concept)
    subject: _Reference = msgspec.field(default_factory=_Reference)
    valueQuantity: _Quantity = msgspec.field(default_factory=_Quantity)  # noqa: N815


class _PlainConcept(msgspec.Struct, gc=False):
    coding: Annotated[list[_Coding], msgspec.Meta(min_length=1, max_length=1)]


class _PlainQuantity(msgspec.Struct, gc=False):
    value: Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
    system: Literal["http://unitsofmeasure.org"]
    code: str | None = None
    comparator: None = None


class PlainObservation(msgspec.Struct, gc=False):
    """An Observation of one number that counts; decoding anything else fails."""

    resourceType: Literal["Observation"]  # noqa: N815
    status: Literal["final", "amended", "corrected"]
    code: _PlainConcept
    subject: _Reference
    valueQuantity: _PlainQuantity  # noqa: N815


ONLY_PLAIN: Final = msgspec.json.Decoder(PlainObservation)
"""Reads many lines at once, if every one is a plain Observation."""

PLAIN: Final = msgspec.json.Decoder(Observation)
"""Reads many lines at once; what it raises is in `NOT_JSON`."""

_LINE_END, _RETURN, _OPEN, _CLOSED = b"\n\r{}"

_ANY = msgspec.json.Decoder(float_hook=float)
"""Accepts what `PLAIN` passes over: numbers beyond the range of a float."""

NOT_JSON: Final = (orjson.JSONDecodeError, msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What a line that is no JSON raises."""


def decoded(line: bytes) -> JSON:
    """A line as JSON; the same lines are JSON to this as to the fast loop.

    Raises one of `NOT_JSON`.
    """
    try:
        found: JSON = orjson.loads(line)
    except orjson.JSONDecodeError:
        if b"\0" in line:
            raise
        line.decode()  # msgspec doesn't look into texts that it passes over
        found = _ANY.decode(line)
    return found


def why_unreadable(line: bytes) -> Reason:
    """Why a line is no JSON: it is not even text, or it is text of another kind."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return Reason.WRONG_ENCODING
    return Reason.WRONG_ENCODING if b"\0" in line else Reason.UNREADABLE_LINE


def one_each(block: bytes, count: int) -> bool:
    """Whether each of ``count`` lines begins and ends as an object does.

    No object can go on over such a line end; so if there are as many objects as lines, each line
    holds one.
    """
    if not block.startswith(b"{") or not block.rstrip(b"\r\n").endswith(b"}"):
        return False
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text[:-1] == _LINE_END)  # a last line's own end needs no line behind it
    before = text[ends - 1]
    before = np.where(before == _RETURN, text[ends - 2], before)
    return bool(
        len(ends) == count - 1 and (before == _CLOSED).all() and (text[ends + 1] == _OPEN).all()
    )
