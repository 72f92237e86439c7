"""Fetching the model of a round: in parts, over a line that may be cut at any of them.

The coordinator signs what the parts hash to, so one that was altered or cut short on its way is
found at once and fetched again by itself. What has come stays: in memory when a round is given up
half-way, and on the disk, sealed, when the agent is restarted. The model that was used last is kept
in memory alone, so that only the difference to it need travel; the digest of what comes out is the
one in the signed manifest, whatever the way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.errors import WardroundError
from wardround.federation.delta import apply_delta
from wardround.federation.messages import PART_BYTES, malformed
from wardround.federation.transfer import PartList
from wardround.ids import Digest
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import VerifyKey

ATTEMPTS = 5
"""How often a part is fetched that does not arrive as it was signed."""

_SLOW_BYTES_S = 25_000_000.0
"""Below this it takes longer to fetch a model than to make and apply a delta (measured)."""

_WORTH_KEEPING_S = 2.0
"""A download that has taken so long is written down as it goes on."""

_SUFFIX = ".download"
_NONCE, _TAG = 12, 16


class Source(Protocol):
    """Where parts come from; `Link` is one."""

    async def part(self, name: Digest, number: int) -> bytes:
        """One part of a blob."""
        ...

    async def part_list(self, name: Digest) -> Envelope:
        """The signed hashes of its parts."""
        ...

    async def delta_list(self, name: Digest, base: Digest) -> Envelope | None:
        """The signed hashes of the parts of a delta, if there is one."""
        ...


@dataclass
class _Growing:
    """A blob of which some parts have come."""

    name: Digest
    content: bytearray = field(repr=False)
    have: set[int] = field(default_factory=set)


class Download:
    """One agent's downloads. ``sealing_secret`` never leaves the hospital.

    ``trouble`` is told about every part that came wrong; ``now`` is a clock in seconds.
    """

    def __init__(
        self,
        source: Source,
        study: Digest,
        coordinator: VerifyKey,
        folder: Path,
        sealing_secret: bytes,
        trouble: Callable[[WardroundError], None] = lambda _error: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._study = study
        self._coordinator = coordinator
        self._folder = folder
        self._cipher = AESGCM(_key(sealing_secret))
        self._trouble = trouble
        self._now = now
        self._growing: _Growing | None = None
        self._last: tuple[Digest, memoryview] | None = None
        self._slow = False

    async def model(self, name: Digest, size: int) -> memoryview:
        """The model of that digest and size, from memory, by difference, or whole.

        The caller checks the digest of what was not remembered, and then says `keep`. Raises
        WR-SITE-151 when a part keeps coming wrong, and what the source raises.
        """
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        by_delta = await self._by_delta(name, size)
        if by_delta is not None:
            return by_delta
        return await self._whole(name, size)

    def keep(self, name: Digest, model: memoryview) -> None:
        """Remember a model, whose digest has been checked, until the next one."""
        self._last = name, model

    async def _by_delta(self, name: Digest, size: int) -> memoryview | None:
        """The model by way of the last one, where the line is slow and that is less to fetch."""
        growing = self._growing is not None and self._growing.name == name
        if not self._slow or self._last is None or growing or len(self._last[1]) != size:
            return None
        base, content = self._last
        try:
            envelope = await self._source.delta_list(name, base)
            if envelope is None:
                return None
            listed = self._open(envelope)
            if (listed.model, listed.base) != (name, base) or listed.size_bytes >= size:
                raise malformed("list of parts")
            model = apply_delta(content, await self._gather(listed))
            if digest(model) != name:
                raise malformed("difference between models")
        except WardroundError as error:  # the whole model is there as well
            self._trouble(error)
            return None
        return model

    async def _whole(self, name: Digest, size: int) -> memoryview:
        if size <= PART_BYTES:  # the manifest's digest is that of its only part
            listed = PartList(
                study=self._study,
                blob=name,
                size_bytes=size,
                part_bytes=PART_BYTES,
                parts=(name.removeprefix("sha256:"),),
            )
        else:
            listed = self._open(await self._source.part_list(name))
            if (listed.blob, listed.size_bytes, listed.model) != (name, size, None):
                raise malformed("list of parts")
        return await self._gather(listed)

    def _open(self, envelope: Envelope) -> PartList:
        listed = PartList.open(envelope, self._coordinator)
        if listed.study != self._study:
            raise malformed("list of parts")
        listed.require_sound()
        return listed

    async def _gather(self, listed: PartList) -> memoryview:
        """Every part that is not here yet."""
        name, size = Digest(listed.blob), listed.size_bytes
        growing = self._growing
        if growing is None or growing.name != name or len(growing.content) != size:
            growing = self._growing = _Growing(name, bytearray(size))
            for number, part in self._read_back(listed):
                self._take(growing, number, part)
        started, fetched = self._now(), 0
        for number in range(len(listed.parts)):
            if number in growing.have:
                continue
            part = await self._part(listed, number)
            self._take(growing, number, part)
            fetched += len(part)
            if len(listed.parts) > 1 and self._now() - started >= _WORTH_KEEPING_S:
                self._write_down(name, number, part)
        if fetched:
            self._slow = fetched < _SLOW_BYTES_S * (self._now() - started)
        self._growing = None
        self._clear()
        return memoryview(growing.content).toreadonly()

    async def _part(self, listed: PartList, number: int) -> bytes:
        for _ in range(ATTEMPTS):
            part = await self._source.part(Digest(listed.blob), number)
            if sha256(part).hexdigest() == listed.parts[number]:
                return part
            self._trouble(_wrong_part())
        raise _wrong_part()

    @staticmethod
    def _take(growing: _Growing, number: int, part: bytes) -> None:
        growing.content[number * PART_BYTES : number * PART_BYTES + len(part)] = part
        growing.have.add(number)

    # On the disk: parts in slots of their own, each sealed for its place in this blob

    def _write_down(self, name: Digest, number: int, part: bytes) -> None:
        """Not waited for: what a power cut takes is fetched again. A full disk costs no round."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, part, _place(name, number))
        try:
            path = self._path(name)
            if not path.exists():
                self._clear()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, sealed, number * _SLOT_BYTES)
            finally:
                os.close(descriptor)
        except OSError:
            return

    def _read_back(self, listed: PartList) -> Iterator[tuple[int, bytes]]:
        """The parts that an agent before this one has written down, as far as they are good."""
        name = Digest(listed.blob)
        try:
            with self._path(name).open("rb") as file:
                for number, signed in enumerate(listed.parts):
                    left = listed.size_bytes - number * PART_BYTES
                    file.seek(number * _SLOT_BYTES)
                    slot = file.read(_NONCE + min(PART_BYTES, left) + _TAG)
                    try:
                        part = self._cipher.decrypt(
                            slot[:_NONCE], slot[_NONCE:], _place(name, number)
                        )
                    except (InvalidTag, ValueError):
                        continue
                    if sha256(part).hexdigest() == signed:
                        yield number, part
        except OSError:
            return

    def _clear(self) -> None:
        for path in self._folder.glob(f"*{_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _path(self, name: Digest) -> Path:
        return self._folder / f"{name.removeprefix('sha256:')}{_SUFFIX}"


_SLOT_BYTES = _NONCE + PART_BYTES + _TAG


def _key(secret: bytes) -> bytes:
    info = b"wardround download v1"
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)


def _place(name: Digest, number: int) -> bytes:
    return f"{name} {number}".encode()


def _wrong_part() -> WardroundError:
    return WardroundError(
        "WR-SITE-151",
        "A part of the model did not arrive as the coordinator signed it.",
        "It is fetched again by itself. If it keeps coming wrong, a proxy alters what passes it, "
        "or the coordinator's disk is damaged.",
    )
