"""Payloads as they arrive, in numbered parts, one file per site and round.

Parts are written without waiting for the disk: a part that a power cut takes is found missing by
its digest and asked for again, byte for byte the same. The others count, whoever was restarted.

The files of a round that is over are written over by the next one of the same size: a fresh page
of the file system's cache costs several times as much as one that is there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wardround.errors import WardroundError
from wardround.federation.messages import PART_BYTES
from wardround.ids import Digest, RoundId, SiteName
from wardround.store.room import needs_room
from wardround.trust.canonical import digest

_GROWING = ".part"
"""What the name of a payload ends in until all of it is there (no site's name has a dot)."""

_ARRIVED = ".have"
"""What the name of the list ends in that says which parts of a growing payload have arrived."""

_ENTRY = struct.Struct(">I32s")
"""An entry of that list: a part's number and its SHA-256."""


class IncomingPart:
    """A part on its way into the spool: written as it comes, held in no memory.

    The attacker is an enrolled site that keeps requests open, repeats them and contradicts itself,
    so that bytes end up where they were not signed for. A part has one writer at a time; whoever
    was there before is revoked, and so is everybody when the payload or its round is given up.
    """

    def __init__(
        self, payload: _Payload, descriptor: int, arrived: Path | None, number: int, size: int
    ) -> None:
        self.sha256 = hashlib.sha256()
        self.revoked = False
        self._payload = payload
        self._descriptor = descriptor
        self._arrived = arrived
        self._number = number
        self._left = min(PART_BYTES, size - number * PART_BYTES)
        self._at = number * PART_BYTES

    def write(self, data: bytes) -> None:
        """The next bytes; raises WR-COORD-011 when there are too many, or another writer came."""
        self._left -= len(data)
        if self.revoked or self._left < 0:
            raise _wrong_part()
        self.sha256.update(data)
        if self._number not in self._payload.known:
            self._put(memoryview(data))

    def accept(self, signed_sha256: bytes) -> None:
        """Count the part as arrived, if it is whole and is what was signed."""
        found = self.sha256.digest()
        known = self._payload.known.get(self._number, found)
        if self.revoked or self._left or found != signed_sha256 or known != found:
            raise _wrong_part()
        if self._number not in self._payload.known and self._arrived is not None:
            _note(self._arrived, self._number, found)
        self._payload.known[self._number] = found

    def _put(self, data: memoryview) -> None:
        while data:  # a disk that fills up takes a part of what it is given, without an error
            written = os.pwrite(self._descriptor, data, self._at)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._at += written
            data = data[written:]


@dataclass
class _Payload:
    """What has arrived of one payload: its parts' hashes, and who is writing which part."""

    known: dict[int, bytes]
    writers: dict[int, IncomingPart] = field(default_factory=dict)
    open: int = 0

    def begin(self, part: IncomingPart, number: int) -> None:
        before = self.writers.get(number)
        if before is not None:
            before.revoked = True
        self.writers[number] = part

    def revoke(self) -> None:
        for part in self.writers.values():
            part.revoked = True
        self.writers.clear()


class Spool:
    """The folder of payloads not yet summed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[tuple[RoundId, SiteName], _Payload] = {}
        self._spare: list[Path] = []

    def put(self, round_: RoundId, site: SiteName, number: int, data: bytes, size: int) -> None:
        """Write part ``number`` of a payload of ``size`` bytes in one go."""
        with self.part(round_, site, number, size) as part:
            part.write(data)
            part.accept(part.sha256.digest())

    @contextmanager
    def part(
        self, round_: RoundId, site: SiteName, number: int, size: int
    ) -> Iterator[IncomingPart]:
        """Take in part ``number`` piece by piece; it counts once it has been accepted.

        A part that arrived before is only compared: the same bytes again are fine.
        """
        if not 0 <= number < part_count(size):
            raise _wrong_part()
        payload = self._payload(round_, site, size)
        path = self.path(round_, site)
        growing = path.with_suffix(_GROWING)
        if not path.exists() and not growing.exists():
            with needs_room(growing):
                self._begin(growing, size)
        descriptor = os.open(path if path.exists() else growing, os.O_WRONLY)
        arrived = path.with_suffix(_ARRIVED) if part_count(size) > 1 else None
        incoming = IncomingPart(payload, descriptor, arrived, number, size)
        payload.begin(incoming, number)
        payload.open += 1
        try:
            with needs_room(path):
                yield incoming
            whole = len(payload.known) == part_count(size) and growing.exists()
            if whole and not incoming.revoked:
                growing.rename(path)
                path.with_suffix(_ARRIVED).unlink(missing_ok=True)
        finally:
            os.close(descriptor)
            payload.open -= 1

    def missing(self, round_: RoundId, site: SiteName, size: int) -> list[int]:
        """The numbers of the parts that have not arrived."""
        known = self._payload(round_, site, size).known
        return [number for number in range(part_count(size)) if number not in known]

    def payload_digest(self, round_: RoundId, site: SiteName, size: int) -> Digest | None:
        """The digest over the parts' digests, or None while parts are missing."""
        known = self._payload(round_, site, size).known
        if len(known) != part_count(size):
            return None
        return _joined(known)

    def digest_on_disk(self, round_: RoundId, site: SiteName, size: int) -> Digest | None:
        """The digest of what lies there now, read afresh; None where it is not whole."""
        known = self._recover(self.path(round_, site), size)
        if len(known) != part_count(size):
            return None
        return _joined(known)

    def path(self, round_: RoundId, site: SiteName) -> Path:
        """Where a payload lies once it is whole."""
        return self._folder / round_ / site

    def discard(self, round_: RoundId, site: SiteName) -> None:
        """Forget what has arrived of a payload."""
        path = self.path(round_, site)
        path.unlink(missing_ok=True)
        path.with_suffix(_GROWING).unlink(missing_ok=True)
        path.with_suffix(_ARRIVED).unlink(missing_ok=True)
        self._give_up(round_, site)

    def drop(self, round_: RoundId) -> None:
        """Give up a round's payloads; whole ones that nobody writes to are kept to be written over.

        One that is being written to would take the rest of it in the middle of the next payload.
        """
        folder = self._folder / round_
        busy = {
            site
            for round_of, site in list(self._parts)
            if round_of == round_ and self._give_up(round_, site)
        }
        if folder.exists():
            self.clear()  # left over where the round before had more sites
            for path in sorted(folder.iterdir()):
                if not path.suffix and path.name not in busy:
                    self._spares.mkdir(exist_ok=True)
                    self._spare.append(path.rename(self._spares / f"{len(self._spare)}"))
            shutil.rmtree(folder)

    def sweep(self, under_way: Callable[[RoundId], bool]) -> None:
        """Delete what is here of rounds that are not ``under_way``.

        A coordinator that was killed between a total's commit and `drop` leaves its payloads. Done
        by whoever runs the rounds, as `clear`.
        """
        self.clear()
        for folder in self._folder.glob("*"):
            round_ = RoundId(folder.name)
            if not under_way(round_):
                for _, site in [one for one in self._parts if one[0] == round_]:
                    self._give_up(round_, site)
                shutil.rmtree(folder, ignore_errors=True)

    def _give_up(self, round_: RoundId, site: SiteName) -> bool:
        """Revoke whoever writes to a payload and forget it; say whether it is still held open."""
        payload = self._parts.pop((round_, site), None)
        if payload is None:
            return False
        payload.revoke()
        return payload.open > 0

    def clear(self) -> None:
        """Delete the files that are kept to be written over.

        Done by whoever runs the rounds, and not on opening: an invitation written meanwhile by
        another process would take them from under a coordinator at work.
        """
        self._spare.clear()
        shutil.rmtree(self._spares, ignore_errors=True)

    @property
    def _spares(self) -> Path:
        return self._folder / ".spare"

    def _begin(self, path: Path, size: int) -> None:
        """Make the file that a payload of ``size`` bytes grows into."""
        path.parent.mkdir(parents=True, exist_ok=True)
        while self._spare:
            spare = self._spare.pop()
            if spare.stat().st_size == size:
                spare.rename(path)
                return
            spare.unlink()
        path.touch(mode=0o600)

    def _payload(self, round_: RoundId, site: SiteName, size: int) -> _Payload:
        key = (round_, site)
        if key not in self._parts:
            self._parts[key] = _Payload(self._recover(self.path(round_, site), size))
        return self._parts[key]

    @classmethod
    def _recover(cls, path: Path, size: int) -> dict[int, bytes]:
        """After a restart: a whole payload, or those parts of a growing one that are all there.

        Both are read afresh, so that what a power cut took is sent again.
        """
        if not path.exists():
            return cls._recover_growing(path, size)
        if path.stat().st_size != size:
            return {}
        with path.open("rb") as file:
            return {
                number: hashlib.sha256(file.read(PART_BYTES)).digest()
                for number in range(part_count(size))
            }

    @staticmethod
    def _recover_growing(path: Path, size: int) -> dict[int, bytes]:
        try:
            noted = path.with_suffix(_ARRIVED).read_bytes()
            file = path.with_suffix(_GROWING).open("rb")
        except FileNotFoundError:
            return {}
        found: dict[int, bytes] = {}
        whole = len(noted) - len(noted) % _ENTRY.size
        os.truncate(path.with_suffix(_ARRIVED), whole)  # what was cut with the power
        with file:
            for number, sha256 in _ENTRY.iter_unpack(noted[:whole]):
                if number < part_count(size):
                    file.seek(number * PART_BYTES)
                    if hashlib.sha256(file.read(PART_BYTES)).digest() == sha256:
                        found[number] = sha256
        if len(found) == part_count(size):  # the end came just before it got its name
            path.with_suffix(_GROWING).rename(path)
        return found


def _note(path: Path, number: int, sha256: bytes) -> None:
    """Write down that a part is there, for a coordinator that is started again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, _ENTRY.pack(number, sha256))
    finally:
        os.close(descriptor)


def _joined(known: dict[int, bytes]) -> Digest:
    """The digest of a whole payload, from the hashes of its parts."""
    return digest(b"".join(known[number] for number in sorted(known)))


def _wrong_part() -> WardroundError:
    return WardroundError(
        "WR-COORD-011",
        "A part of a payload has the wrong number, size or content.",
        "Parts are numbered from 0, all but the last are of the agreed size, and a part that "
        "arrived is never replaced by another.",
    )


def part_count(size: int) -> int:
    """How many parts a payload of ``size`` bytes has."""
    return -(-size // PART_BYTES)
