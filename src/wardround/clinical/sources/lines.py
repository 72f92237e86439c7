"""Lines of a file, read once, hashed on the way, with every bad file refused by name.

The attacker here is bad luck more than malice: a file that is half copied, was saved by another
program in another encoding, or is a folder, a pipe or a picture. None of them may stall the agent,
fill its memory or be read as something that it is not.
"""

from __future__ import annotations

import codecs
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from wardround.clinical.provenance import FileRead
from wardround.errors import WardroundError
from wardround.ids import Digest

MAXIMUM_LINE_BYTES = 16 * 1024 * 1024

# What a damaged, encrypted or oddly compressed member of a ZIP file may raise, besides a bad disk.
_UNREADABLE = (
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)

_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


class LineReader:
    """Iterate over a file's lines as bytes, line ends included, a UTF-8 mark at the start not.

    After the iteration ``result`` describes the file; ``complete`` tells, during the iteration
    too, whether the last line handed out ended in a line end.

    Raises (while iterating):
        WardroundError: ``WR-DATA-010`` where the file can't be read, ``-011`` where it is empty,
            ``-012`` where it is plainly in another encoding, ``-017`` where a line is too long.
    """

    def __init__(self, path: Path | zipfile.Path, name: str) -> None:
        self._path = path
        self.name = name
        self.lines = 0
        self.size_bytes = 0
        self.complete = True
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        try:
            # A pipe or device would block for ever, so only a regular file is opened.
            if not self._path.is_file():
                raise unreadable_file(self.name)
            with self._path.open("rb") as file:
                while line := file.readline(MAXIMUM_LINE_BYTES + 1):
                    self._hash.update(line)
                    self.lines += 1
                    self.size_bytes += len(line)
                    if len(line) > MAXIMUM_LINE_BYTES:
                        raise WardroundError(
                            "WR-DATA-017",
                            f"A line is longer than {MAXIMUM_LINE_BYTES // 2**20} MiB.",
                            "Check that the file has the form that the mapping says.",
                            path=f"{self.name}:{self.lines}",
                        )
                    self.complete = line.endswith(b"\n")
                    if self.lines == 1:
                        if line.startswith(_UTF16_OR_32):
                            raise wrong_encoding(self.name, 1)
                        line = line.removeprefix(codecs.BOM_UTF8)
                    if b"\0" in line:
                        raise wrong_encoding(self.name, self.lines)
                    yield line
        except _UNREADABLE as error:
            raise unreadable_file(self.name) from error
        if self.lines == 0:
            raise empty(self.name)

    @property
    def result(self) -> FileRead:
        """The file as read so far."""
        return FileRead(self.name, Digest(f"sha256:{self._hash.hexdigest()}"), self.lines)


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


def check_unreadable_share(source: str, unreadable: int, total: int, allowed: float) -> None:
    """Refuse a source of which more than the allowed share of lines could not be read."""
    if unreadable > allowed * total:
        raise WardroundError(
            "WR-DATA-016",
            f"{unreadable} of {total} lines can't be read; at most {allowed:.0%} may be.",
            "Check the file's form, or raise `maximum_unreadable_share` in the mapping.",
            path=source,
        )


def unreadable_file(name: str) -> WardroundError:
    """Return the error for a file that isn't there or may not be read."""
    return WardroundError(
        "WR-DATA-010",
        "The file does not exist or can't be read.",
        "Check its name in the mapping, and that the agent's user may read it.",
        path=name,
    )
