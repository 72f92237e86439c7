"""Bundles: which of their entries are resources to be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

import orjson

from wardround.clinical.fhir import scan
from wardround.clinical.fhir.stream import Resource
from wardround.clinical.lines import (
    MAXIMUM_LINE_BYTES,
    empty,
    too_long,
    truncated,
    wrong_encoding,
)
from wardround.errors import WardroundError
from wardround.trust.canonical import JSON

_CURRENT = ("searchset", "collection", "transaction", "batch", "document")
"""Kinds of Bundle that hold resources as they are now; a history holds old versions of them."""
_UTF8_MARK = b"\xef\xbb\xbf"


def document(
    content: BinaryIO, name: str, whole_bytes: int = MAXIMUM_LINE_BYTES
) -> Iterator[Resource | None]:
    """Yield the resources of one JSON document: a Bundle's, or the document itself.

    None stands for an entry that holds nothing to use. A document of more than ``whole_bytes``
    must be a Bundle and is never in memory as a whole.

    Raises:
        WardroundError: ``WR-DATA-011`` for an empty document, ``-012`` for another encoding,
            ``-013`` where it is cut off, ``-017`` where one entry is too long, ``-064`` where it
            is no resource or a Bundle of another kind.
    """
    head = content.read(whole_bytes + 1).removeprefix(_UTF8_MARK)
    if not head.strip():
        raise empty(name)
    if b"\0" in head:
        raise wrong_encoding(name, 1)
    if len(head) <= whole_bytes:
        yield from _small(head, name)
    else:
        yield from _large(cast("BinaryIO", _Rest(head, content)), name)


def current_entries(bundle: Resource, name: str) -> list[JSON]:
    """The entries of a decoded Bundle of a kind whose entries are current.

    Raises:
        WardroundError: ``WR-DATA-064`` for another kind, or where its entries are no list.
    """
    entries = bundle.get("entry", [])
    if bundle.get("type") not in _CURRENT or not isinstance(entries, list):
        raise not_fhir(name)
    return entries


def resource_in(entry: JSON) -> Resource | None:
    """The resource of a Bundle's entry; None for an outcome, a deletion or an empty entry."""
    if not isinstance(entry, dict):
        return None
    search, request = entry.get("search"), entry.get("request")
    if isinstance(search, dict) and search.get("mode") == "outcome":
        return None
    if isinstance(request, dict) and request.get("method") not in ("POST", "PUT"):
        return None
    resource = entry.get("resource")
    return resource if isinstance(resource, dict) and "resourceType" in resource else None


def not_fhir(name: str) -> WardroundError:
    """Return the error for a document or answer that is not what FHIR says it should be."""
    return WardroundError(
        "WR-DATA-064",
        "This is not the FHIR JSON that should stand here.",
        "Check that the address or file is right, and that a proxy has not put its own page here.",
        path=name,
    )


def _small(text: bytes, name: str) -> Iterator[Resource | None]:
    try:
        body: JSON = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _why(text, name) from None
    if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
        raise not_fhir(name)
    if body["resourceType"] != "Bundle":
        yield body
        return
    yield from map(resource_in, current_entries(body, name))


def _large(content: BinaryIO, name: str) -> Iterator[Resource | None]:
    envelope, number = bytearray(), 0
    try:
        for number, entry in enumerate(scan.entries(content, envelope, MAXIMUM_LINE_BYTES), 1):
            if b"\0" in entry:
                raise wrong_encoding(name, number)
            yield resource_in(orjson.loads(entry))
        bundle = orjson.loads(envelope)
    except scan.CutOffError:
        raise truncated(name, number + 1) from None
    except scan.TooLongError:
        raise too_long(name, number + 1) from None
    except (scan.MalformedError, orjson.JSONDecodeError):
        raise not_fhir(name) from None
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise not_fhir(name)
    if current_entries(bundle, name):  # under a key that is written another way: none was seen
        raise not_fhir(name)


def _why(text: bytes, name: str) -> WardroundError:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end < len(text):  # a cut may also part the last letter's bytes
            return wrong_encoding(name, text.count(b"\n", 0, error.start) + 1)
    if text.lstrip().startswith((b"{", b"[")) and scan.is_cut_off(text):
        return truncated(name, text.count(b"\n") + 1)
    return not_fhir(name)


class _Rest:
    """A file of which the beginning was read already."""

    def __init__(self, head: bytes, content: BinaryIO) -> None:
        self._head = head
        self._content = content

    def read(self, size: int) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._content.read(size)
