"""Where each column of a feature table came from."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.ids import Digest


@dataclass(frozen=True)
class FileRead:
    """One file as it was read: its name, the SHA-256 of its bytes, its number of lines."""

    name: str
    digest: Digest
    lines: int


@dataclass(frozen=True)
class ColumnProvenance:
    """How one concept's values were obtained.

    ``path`` says each step in words, from the field in the source to the concept; it holds no
    value. ``values_read`` counts the values found, usable or not; ``sources`` are the names of the
    mapping's sources and ``files`` their files.
    """

    concept: str
    sources: tuple[str, ...]
    files: tuple[FileRead, ...]
    path: tuple[str, ...]
    values_read: int
