"""How large bytes travel towards a hospital: in numbered parts, each under its own SHA-256.

The coordinator signs the list of a blob's parts once, so that a part that was altered or cut on
its way is found at once, and that part alone is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Annotated, Self

from pydantic import Field

from wardround.federation.messages import (
    MAXIMUM_MODEL_BYTES,
    PART_BYTES,
    DigestText,
    Hash,
    Statement,
    malformed,
)
from wardround.ids import Digest
from wardround.trust.canonical import digest

_MOST_PARTS = MAXIMUM_MODEL_BYTES // PART_BYTES + 1


class PartList(Statement):
    """What a blob's parts hash to. Signed by the study's coordinator.

    ``blob`` is the SHA-256 of all bytes. Where it is the *delta* of a model, ``model`` is what
    comes out when it is applied to ``base`` (see `federation.delta`); else both are None.
    """

    study: DigestText
    blob: DigestText
    size_bytes: Annotated[int, Field(ge=1, le=MAXIMUM_MODEL_BYTES)]
    part_bytes: Annotated[int, Field(ge=1, le=2**26)]
    parts: Annotated[tuple[Hash, ...], Field(min_length=1, max_length=_MOST_PARTS)]
    model: DigestText | None = None
    base: DigestText | None = None

    @classmethod
    def of(
        cls,
        study: Digest,
        blob: Digest,
        size_bytes: int,
        parts: Iterable[Iterable[bytes | memoryview]],
    ) -> Self:
        """The list for a blob of that name, whose parts come in pieces."""
        return cls(
            study=study,
            blob=blob,
            size_bytes=size_bytes,
            part_bytes=PART_BYTES,
            parts=tuple(_hash(pieces) for pieces in parts),
        )

    @classmethod
    def of_delta(cls, study: Digest, delta: bytes, model: Digest, base: Digest) -> Self:
        """The list for a delta that makes ``model`` of ``base``."""
        view = memoryview(delta)
        starts = range(0, len(delta), PART_BYTES)
        parts = ((view[start : start + PART_BYTES],) for start in starts)
        plain = cls.of(study, digest(delta), len(delta), parts)
        return plain.model_copy(update={"model": model, "base": base})

    def require_sound(self) -> None:
        """Raise WR-ROUND-001 where number and size of the parts do not fit each other."""
        if self.part_bytes != PART_BYTES or len(self.parts) != -(-self.size_bytes // PART_BYTES):
            raise malformed("list of parts")


def _hash(pieces: Iterable[bytes | memoryview]) -> str:
    running = sha256()
    for piece in pieces:
        running.update(piece)
    return running.hexdigest()
