"""Lines of a file, read once, hashed on the way, with every bad file refused by name.

The attacker here is bad luck more than malice: a file that is half copied, was saved by another
program in another encoding, or is a folder, a pipe or a picture. None of them may stall the agent,
fill its memory or be read as something that it is not.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from wardround.clinical.provenance import FileRead
from wardround.errors import WardroundError
from wardround.ids import Digest

MAXIMUM_LINE_BYTES = 16 * 1024 * 1024

_BUFFER_BYTES = 1024 * 1024
_HASHED_AT_ONCE = 64 * 1024
"""Less than this is hashed sooner than another thread would begin with it."""

_NOTHING = Digest(f"sha256:{hashlib.sha256().hexdigest()}")
_GZIP = b"\x1f\x8b"
# What a damaged, encrypted or oddly compressed member of a ZIP file may raise, besides a bad disk.
_UNREADABLE = (OSError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)

_LINE_END = ord("\n")
_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16_NULS = 4
"""One byte in so many is NUL: so is every second one of Latin letters in UTF-16."""


class HashedFile(io.RawIOBase):
    """A regular file that is hashed as it is read; what is hashed are its bytes on the disk.

    Hashing goes on beside the reader, one piece behind: it lets go of the interpreter.

    Raises:
        WardroundError: ``WR-DATA-010`` where there is no such file or it can't be opened.
    """

    def __init__(self, path: Path | zipfile.Path, name: str) -> None:
        # A pipe or device would block for ever, so only a regular file is opened.
        try:
            if not path.is_file():
                raise unreadable(name)
            self._file = (
                path.open("rb", buffering=0)
                if isinstance(path, Path)
                else cast("io.RawIOBase", path.open("rb"))
            )
        except (*_UNREADABLE, ValueError) as error:
            raise unreadable(name) from error
        self._hash = hashlib.sha256()
        self._hashing = ThreadPoolExecutor(1)
        self._behind: Future[None] | None = None

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as the file reaches."""
        count = self._file.readinto(buffer) or 0
        self._catch_up()
        piece = bytes(memoryview(buffer)[:count])
        if count < _HASHED_AT_ONCE:
            self._hash.update(piece)
        else:
            self._behind = self._hashing.submit(self._hash.update, piece)
        return count

    def _catch_up(self) -> None:
        if self._behind is not None:
            self._behind.result()
            self._behind = None

    def close(self) -> None:
        """Close the file."""
        self._hashing.shutdown()
        self._file.close()
        super().close()

    @property
    def digest(self) -> Digest:
        """The SHA-256 of what has been read."""
        self._catch_up()
        return Digest(f"sha256:{self._hash.hexdigest()}")


def unpacked(file: HashedFile) -> BinaryIO:
    """The file's content, through gzip where its first bytes say so."""
    buffered = io.BufferedReader(file, _BUFFER_BYTES)
    if buffered.peek(2)[:2] == _GZIP:
        # GzipFile's own readline is slow: one more buffer makes it as fast as a plain file's.
        inner = cast("io.RawIOBase", gzip.GzipFile(fileobj=buffered))
        return io.BufferedReader(inner, _BUFFER_BYTES)
    return buffered


class LineReader:
    """Iterate over a file's lines as bytes, line ends included, a UTF-8 mark at the start not.

    A file that begins as gzip does is unpacked on the way. After the iteration ``result``
    describes the file; ``complete`` tells, during the iteration too, whether the last line handed
    out ended in a line end.

    Raises (while iterating):
        WardroundError: ``WR-DATA-010`` where the file can't be read, ``-011`` where it is empty,
            ``-012`` where it is plainly in another encoding, ``-013`` where its compressed form is
            cut off, ``-017`` where a line is too long.
    """

    def __init__(self, path: Path | zipfile.Path, name: str) -> None:
        self._path = path
        self.name = name
        self.lines = 0
        self.size_bytes = 0
        self.complete = True
        self._file: HashedFile | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            with HashedFile(self._path, self.name) as self._file, unpacked(self._file) as content:
                yield from self.split(content)
        except EOFError:
            raise truncated(self.name, self.lines + 1) from None
        except _UNREADABLE as error:
            raise unreadable(self.name) from error
        if self.lines == 0:
            raise empty(self.name)

    def split(self, content: BinaryIO) -> Iterator[bytes]:
        """Yield the lines of ``content`` and count them; the rules are those of the class."""
        while line := content.readline(MAXIMUM_LINE_BYTES + 1):
            self.lines += 1
            self.size_bytes += len(line)
            if len(line) > MAXIMUM_LINE_BYTES:
                raise too_long(self.name, self.lines)
            self.complete = line.endswith(b"\n")
            yield self._begun(line) if self.lines == 1 else line

    def blocks(self) -> Generator[tuple[bytes, int], None, None]:
        """Yield whole lines many at a time, and how many; the rules are those of the class.

        Several times as fast as one by one. A last line that has no end is a block of its own.
        """
        try:
            with HashedFile(self._path, self.name) as self._file, unpacked(self._file) as content:
                rest = b""
                while piece := content.read(_BUFFER_BYTES):
                    end = piece.rfind(b"\n") + 1
                    if end:
                        yield self._checked(rest + piece[:end])
                        rest = piece[end:]
                    else:
                        rest += piece
                        if len(rest) > MAXIMUM_LINE_BYTES:
                            raise too_long(self.name, self.lines + 1)
                self.complete = not rest
                if rest:
                    yield self._checked(rest)
        except EOFError:
            raise truncated(self.name, self.lines + 1) from None
        except _UNREADABLE as error:
            raise unreadable(self.name) from error
        if self.lines == 0:
            raise empty(self.name)

    def _checked(self, block: bytes) -> tuple[bytes, int]:
        self.size_bytes += len(block)
        if self.lines == 0:
            block = self._begun(block)
        if block.find(b"\n") >= MAXIMUM_LINE_BYTES:  # only what began in an earlier piece can be
            raise too_long(self.name, self.lines + 1)
        # NumPy compares sixteen bytes at a time; bytes.count looks at each.
        ends = np.count_nonzero(np.frombuffer(block, np.uint8) == _LINE_END)
        count = int(ends) + (not block.endswith(b"\n"))
        self.lines += count
        return block, count

    def _begun(self, start: bytes) -> bytes:
        """Return the file's first line, or lines, without a mark; refuse what UTF-16 looks like."""
        first = start[: start.find(b"\n") + 1 or None]
        if first.startswith(_UTF16_OR_32) or first.count(0) * _UTF16_NULS > len(first):
            raise wrong_encoding(self.name, 1)
        return start.removeprefix(codecs.BOM_UTF8)

    @property
    def result(self) -> FileRead:
        """The file as read so far."""
        digest = _NOTHING if self._file is None else self._file.digest
        return FileRead(self.name, digest, self.lines)


def too_long(name: str, line: int) -> WardroundError:
    """Return the error for a line, or a document, that no record is as long as."""
    return WardroundError(
        "WR-DATA-017",
        f"A line is longer than {MAXIMUM_LINE_BYTES // 2**20} MiB.",
        "Check that the file has the form that the mapping says.",
        path=f"{name}:{line}",
    )


def empty(name: str) -> WardroundError:
    """Return the error for a file that holds no record."""
    return WardroundError(
        "WR-DATA-011",
        "The file holds no record.",
        "Export it again, or remove it from the mapping if it is empty on purpose.",
        path=name,
    )


def wrong_encoding(name: str, line: int) -> WardroundError:
    """Return the error for text that is not in the encoding it should be in."""
    return WardroundError(
        "WR-DATA-012",
        "The text is not in the expected encoding.",
        "Save the file as UTF-8, or state a CSV's encoding in the mapping (key `encoding`).",
        path=f"{name}:{line}",
    )


def truncated(name: str, line: int) -> WardroundError:
    """Return the error for a file that ends in the middle of a record."""
    return WardroundError(
        "WR-DATA-013",
        "The file ends in the middle of a record; part of it is missing.",
        "Copy or export it again, and compare its size with the original.",
        path=f"{name}:{line}",
    )


def check_unreadable_share(
    source: str, unreadable: int, total: int, allowed: float, garbled: Sequence[str] = ()
) -> None:
    """Refuse a source of which more than the allowed share of lines could not be read.

    ``garbled`` are the places of those that are no text in the expected encoding.

    Raises:
        WardroundError: ``WR-DATA-012`` where these are the most, else ``-016``.
    """
    if unreadable > allowed * total:
        if 2 * len(garbled) > unreadable:
            name, _, line = garbled[0].rpartition(":")
            raise wrong_encoding(name, int(line))
        raise WardroundError(
            "WR-DATA-016",
            f"{unreadable} of {total} lines can't be read; at most {allowed:.0%} may be.",
            "Check the file's form, or raise `maximum_unreadable_share` in the mapping.",
            path=source,
        )


def changed(name: str) -> WardroundError:
    """Return the error for a file that was written to meanwhile."""
    return WardroundError(
        "WR-DATA-059",
        "The file changed while it was read.",
        "Read it again when whoever writes it has finished.",
        path=name,
    )


def unreadable(name: str) -> WardroundError:
    """Return the error for a file that can't be opened or read."""
    return WardroundError(
        "WR-DATA-010",
        "The file does not exist or can't be read.",
        "Check its name in the mapping, and that the agent's user may read it.",
        path=name,
    )
