"""A file that a server sends, read line by line as it arrives."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from wardround.clinical.fhir.answers import pieces
from wardround.clinical.lines import LineReader
from wardround.clinical.provenance import FileRead
from wardround.ids import Digest


class Download(LineReader):
    """The lines of an answer, under the rules for the lines of a file."""

    def __init__(self, name: str) -> None:
        super().__init__(Path(name), name)
        self.response: httpx.Response | None = None
        self.resources = 0
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        assert self.response is not None
        body = _Raw(pieces(self.response, f"GET {self.name}"), self._digest)
        content = cast("BinaryIO", io.BufferedReader(body, 1024 * 1024))
        for line in self.split(content):
            self.resources += not line.isspace()
            yield line

    @property
    def result(self) -> FileRead:
        """The download so far, with the digest of its unpacked bytes."""
        return FileRead(self.name, Digest(f"sha256:{self._digest.hexdigest()}"), self.lines)


class _Raw(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, source: Iterator[bytes], digest: hashlib._Hash) -> None:
        self._source = source
        self._digest = digest
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._source, None)
            if piece is None:
                return 0
            self._digest.update(piece)
            self._left = piece
        part = self._left[: len(buffer)]
        buffer[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)
