"""Large byte strings, each under its own SHA-256."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from wardround.errors import WardroundError
from wardround.ids import Digest
from wardround.store.room import needs_room
from wardround.trust.canonical import digest
from wardround.trust.keys import sync_folder

_PIECE_BYTES = 128 << 10


class Blobs:
    """A folder of immutable files, named by digest and written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[Digest, bool] = {}
        """What this process has put or found here, and whether it is known to be on the disk."""
        folder.mkdir(parents=True, exist_ok=True)

    def put(
        self, data: bytes | memoryview, name: Digest | None = None, *, durable: bool = False
    ) -> Digest:
        """Keep ``data`` and return its digest; ``name`` is that digest, where it is known.

        ``durable`` waits for the disk: for bytes that could not be had again after a power cut.
        A file from before this process is put anew where it is not whole: the power took the rest.
        """
        name = name or digest(data)
        if name not in self._kept and not durable and self._intact(name):
            self._kept[name] = False
        if self._kept.get(name, -1) < durable:
            with needs_room(self.path(name)):
                self._write(data, self.path(name), durable)
            self._kept[name] = durable
        return name

    def _write(self, data: bytes | memoryview, path: Path, durable: bool) -> None:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            with partial.open("wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(self._folder)

    def _intact(self, name: Digest) -> bool:
        try:
            return digest(self.path(name).read_bytes()) == name
        except FileNotFoundError:
            return False

    def get(self, name: Digest) -> bytes:
        """The bytes of a digest, checked against it."""
        try:
            data = self.path(name).read_bytes()
        except FileNotFoundError:
            data = b""
        if digest(data) != name:
            raise WardroundError(
                "WR-STORE-003",
                f"The stored bytes of {name} are missing or altered.",
                "Restore the blobs folder from a backup; the run can't go on without them.",
            )
        return data

    def read_part(self, name: Digest, offset: int, size: int) -> Iterator[bytes]:
        """Some of a blob's bytes, in pieces; who receives them all checks the digest."""
        with self.path(name).open("rb", buffering=0) as file:
            file.seek(offset)
            while size > 0 and (piece := file.read(min(size, _PIECE_BYTES))):
                size -= len(piece)
                yield piece

    def path(self, name: Digest) -> Path:
        """Where the blob lies."""
        return self._folder / name.removeprefix("sha256:")
