"""FHIR resources in files: NDJSON, Bundles, one resource per file, each also as gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import orjson

from wardround.clinical.fhir.bundle import document
from wardround.clinical.fhir.stream import Body, Resource, StreamRead
from wardround.clinical.lines import (
    HashedFile,
    LineReader,
    truncated,
    unpacked,
    unreadable,
)
from wardround.clinical.provenance import FileRead, locate

_LINES = (".ndjson", ".jsonl")
_LOOK_BYTES = 1024 * 1024


class FileStream:
    """The resources of ``files``, read in order; a :class:`ResourceStream`.

    A file named ``.ndjson`` or ``.jsonl`` has one resource per line; any other is told by its
    content: one JSON document (a Bundle or a resource), or lines. The lines of an NDJSON file come
    as bytes, the entries of a Bundle decoded.

    Raises (while iterating):
        WardroundError: ``WR-DATA-010`` to ``-013`` and ``-017`` for a file that can't be read,
            ``-064`` for a document that is no FHIR.
    """

    def __init__(self, name: str, folder: Path, files: tuple[str, ...]) -> None:
        self.name = name
        self._folder = folder
        self._files = files
        self._parts: list[FileRead] = []
        self._lines: LineReader | None = None
        self._resources = 0

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        before = 0
        for file in self._files:
            path = self._folder / file
            if self._has_lines(path, file):
                # The one loop that every line passes: it counts and does nothing else.
                self._lines = lines = LineReader(path, file)
                for line in lines:
                    if not line.isspace():
                        self._resources += 1
                        yield line, before + lines.lines
                self._lines = None
                self._parts.append(lines.result)
            else:
                yield from self._document(path, file, before)
            before += self._parts[-1].lines

    def blocks(self) -> Iterator[tuple[bytes | Resource, int, int]]:
        """Yield the lines of NDJSON many at a time, the entries of a document one by one.

        Raises as the iteration does.
        """
        before = 0
        for file in self._files:
            path = self._folder / file
            if self._has_lines(path, file):
                self._lines = lines = LineReader(path, file)
                for block, count in lines.blocks():
                    self._resources += count
                    yield block, before + lines.lines - count + 1, count
                self._lines = None
                self._parts.append(lines.result)
            else:
                for resource, place in self._document(path, file, before):
                    yield resource, place, 1
            before += self._parts[-1].lines

    def refuse(self, place: int = 0) -> None:
        """Raise ``WR-DATA-013`` where a line that is no JSON shows its file to be cut off.

        Without ``place`` it is the line handed out last.
        """
        lines = self._lines
        if lines is None:
            return
        number = place - sum(part.lines for part in self._parts) if place else lines.lines
        if not lines.complete:
            raise truncated(lines.name, number)

    def where(self, place: int) -> str:
        """Return a place as ``file:line``, or ``file:entry`` in a Bundle."""
        now = () if self._lines is None else (self._lines.result,)
        return locate((*self._parts, *now), place)

    @property
    def read(self) -> StreamRead:
        """The files as read so far."""
        return StreamRead(self.name, " ".join(self._files), self._resources, tuple(self._parts))

    def _document(self, path: Path, file: str, before: int) -> Iterator[tuple[Resource, int]]:
        entry = 0
        try:
            with HashedFile(path, file) as raw, unpacked(raw) as content:
                for entry, resource in enumerate(document(content, file), 1):
                    if resource is not None:
                        self._resources += 1
                        yield resource, before + entry
                digest = raw.digest
        except EOFError:
            raise truncated(file, entry + 1) from None
        except (OSError, zlib.error) as error:
            raise unreadable(file) from error
        self._parts.append(FileRead(file, digest, entry))

    @staticmethod
    def _has_lines(path: Path, file: str) -> bool:
        if file.lower().removesuffix(".gz").endswith(_LINES):
            return True
        try:
            with HashedFile(path, file) as raw, unpacked(raw) as content:
                return _first_line_is_whole(content)
        except EOFError:
            raise truncated(file, 1) from None
        except (OSError, zlib.error) as error:
            raise unreadable(file) from error


def _first_line_is_whole(content: BinaryIO) -> bool:
    """Whether the first line is a JSON value by itself and something follows it."""
    lines = (line for line in iter(lambda: content.readline(_LOOK_BYTES), b"") if line.strip())
    first, rest = next(lines, b""), next(lines, b"")
    if not rest:
        return False
    try:
        orjson.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return False
    return True
