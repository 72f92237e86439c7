"""Where each column of a feature table came from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from wardround.ids import Digest


@dataclass(frozen=True)
class FileRead:
    """One file, page or download as it was read: name, SHA-256 of its bytes, number of lines."""

    name: str
    digest: Digest
    lines: int


@dataclass(frozen=True)
class SourceRead:
    """What was read from one source: the query or the list of files, and how many rows of it.

    ``as_of`` is the source's own clock at that time, where it told it; ``deleted`` counts the
    resources of which it said that they are gone.
    """

    source: str
    query: str
    rows: int
    parts: tuple[FileRead, ...]
    as_of: str | None = None
    deleted: int = 0


@dataclass(frozen=True)
class ColumnProvenance:
    """How one concept's values were obtained.

    ``path`` says each step in words, from the field in the source to the concept; it holds no
    patient's value. ``values_read`` counts the values found, usable or not.
    """

    concept: str
    reads: tuple[SourceRead, ...]
    path: tuple[str, ...]
    values_read: int

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the mapping's sources."""
        return tuple(read.source for read in self.reads)

    @property
    def files(self) -> tuple[FileRead, ...]:
        """Every file, page or download that was read for it."""
        return tuple(dict.fromkeys(part for read in self.reads for part in read.parts))


def locate(files: tuple[FileRead, ...], place: int) -> str:
    """Return ``file:line`` for a line counted from 1 through all ``files``."""
    ends: list[int] = []
    for file in files:
        ends.append(file.lines + (ends[-1] if ends else 0))
    index = min(bisect_right(ends, place - 1), len(files) - 1)
    return f"{files[index].name}:{place - (ends[index - 1] if index else 0)}"
