"""Reading the JSON form of secure-sum messages, strictly.

The sender is the attacker. A value of another type, a missing or an unknown field, a number
outside its range: each is refused with one code, so that no later line of the protocol meets
a value that its author had not thought of.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TypeVar

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.trust.canonical import JSON, parse_digest

_MAXIMUM_TEXT = 256
_DIGESTS = re.compile(r"(?:sha256:[0-9a-f]{64}\n)+")
_T = TypeVar("_T")


class Reader:
    """Takes the fields of one JSON object, each once; :meth:`done` then refuses what is left."""

    def __init__(self, value: JSON) -> None:
        if not isinstance(value, Mapping):
            raise malformed()
        self._fields = dict(value)

    def text(self, name: str) -> str:
        """A short, printable, non-empty text."""
        value = self._take(name)
        if not isinstance(value, str) or not 1 <= len(value) <= _MAXIMUM_TEXT:
            raise malformed()
        if not (value.isascii() and value.isprintable()):
            raise malformed()
        return value

    def integer(self, name: str) -> int:
        """An integer; ``true`` is none."""
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed()
        return value

    def digest(self, name: str) -> Digest:
        """A digest as text."""
        return _digest(self._take(name))

    def digests(self, name: str) -> dict[SiteName, Digest]:
        """A map from site to digest."""
        values = self._map(name)
        texts = [_text(value) for value in values.values()]
        # One match for all: a large cohort's deals hold some ten thousand digests at each site.
        if texts and not _DIGESTS.fullmatch("".join(f"{text}\n" for text in texts)):
            raise malformed()
        return {SiteName(site): Digest(text) for site, text in zip(values, texts, strict=True)}

    def sites(self, name: str) -> tuple[SiteName, ...]:
        """A list of site names."""
        return tuple(SiteName(_text(one)) for one in self._list(name))

    def data(self, name: str) -> bytes:
        """Bytes in base64."""
        return from_base64(self._take(name))

    def data_list(self, name: str) -> tuple[bytes, ...]:
        """A list of bytes in base64."""
        return tuple(from_base64(one) for one in self._list(name))

    def data_map(self, name: str) -> dict[SiteName, bytes]:
        """A map from site to bytes in base64."""
        return {SiteName(site): from_base64(value) for site, value in self._map(name).items()}

    def done(self, message: _T) -> _T:
        """``message``, provided that every field of the object was taken."""
        if self._fields:
            raise malformed()
        return message

    def _take(self, name: str) -> JSON:
        if name not in self._fields:
            raise malformed()
        return self._fields.pop(name)

    def _list(self, name: str) -> list[JSON]:
        value = self._take(name)
        if not isinstance(value, list | tuple):
            raise malformed()
        return list(value)

    def _map(self, name: str) -> dict[str, JSON]:
        value = self._take(name)
        if not isinstance(value, Mapping):
            raise malformed()
        return dict(value)


def to_base64(data: bytes) -> str:
    """Standard base64, padded."""
    return base64.b64encode(data).decode()


def to_base64_map(values: Mapping[SiteName, bytes]) -> dict[str, JSON]:
    """A map from site to bytes, in base64."""
    return {site: to_base64(value) for site, value in values.items()}


def from_base64(value: JSON) -> bytes:
    """The reverse of :func:`to_base64`; only its one canonical spelling is accepted."""
    try:
        data = base64.b64decode(_text(value), validate=True)
    except (binascii.Error, ValueError):
        raise malformed() from None
    if to_base64(data) != value:
        raise malformed()
    return data


def malformed() -> WardroundError:
    """The refusal of a message; it repeats nothing of the content, which may be secret."""
    return WardroundError(
        "WR-SECAGG-006",
        "A message of the secure sum is not of the form that this version understands.",
        "Check that the coordinator and all sites run the same version of Wardround.",
    )


def _text(value: JSON) -> str:
    if not isinstance(value, str):
        raise malformed()
    return value


def _digest(value: JSON) -> Digest:
    try:
        return parse_digest(value)
    except WardroundError:
        raise malformed() from None
