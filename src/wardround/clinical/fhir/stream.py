"""What every FHIR source hands over: a stream of resources, and where each of them stood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from wardround.clinical.provenance import FileRead
from wardround.trust.canonical import JSON

Resource: TypeAlias = dict[str, JSON]
Body: TypeAlias = bytes | Resource
"""A resource: the JSON text of one (a line, not yet looked at), or one that is decoded already."""


@dataclass(frozen=True)
class StreamRead:
    """Where a stream's resources came from; it holds no patient's value.

    ``query`` is the list of files, or the request with every value withheld that could be a
    patient's. ``parts`` are the files, pages or downloads in order; the ``lines`` of a page or a
    Bundle count its entries. ``as_of`` is the source's own clock when it was read (an instant, for
    the next incremental reading), ``deleted`` how many deletions it reported, ``errors`` how many
    problems.
    """

    source: str
    query: str
    resources: int
    parts: tuple[FileRead, ...]
    as_of: str | None = None
    deleted: int = 0
    errors: int = 0


class ResourceStream(Protocol):
    """FHIR R4 resources from one source, to be iterated over once.

    Yields (body, place): a place is a line or entry, counted from 1 through all parts. A body that
    is bytes may be anything; where it can't be decoded the consumer calls ``refuse``, which
    raises where this condemns the whole source (it is cut off), and sets the line aside otherwise.
    """

    @property
    def name(self) -> str:
        """The source's name in the mapping."""

    def __iter__(self) -> Iterator[tuple[Body, int]]:
        """Yield each resource and its place. Raises WardroundError where the source fails."""

    def refuse(self, place: int = 0) -> None:
        """Raise where what was handed out at ``place`` shows the source to be unusable."""

    def where(self, place: int) -> str:
        """Return a place as ``part:number``."""

    @property
    def read(self) -> StreamRead:
        """What has been read; complete once the iteration has ended."""


@runtime_checkable
class InBlocks(Protocol):
    """A stream that hands over many lines at a time, as fast as they can be split."""

    def blocks(self) -> Iterator[tuple[bytes | Resource, int, int]]:
        """Yield lines, empty ones too, as one text; the place of the first; and how many.

        A resource that is decoded already comes by itself.
        """
