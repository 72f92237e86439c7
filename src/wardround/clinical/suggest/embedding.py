"""Likeness of meanings by a sentence embedding that works offline: the extra ``[embed]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.graph import Concept
from wardround.clinical.headers import split_header
from wardround.clinical.profile import FieldProfile
from wardround.clinical.suggest.suggestion import Evidence, Signal

_UNRELATED: Final = 0.3
"""The cosine that two unrelated clinical phrases easily have."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1 whose products say how alike the texts are."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors, shape ``(texts, dimensions)``."""


class EmbeddingIndex:
    """The concepts' names and definitions as vectors, computed once."""

    def __init__(self, concepts: Sequence[Concept], embedder: Embedder) -> None:
        self._ids = [concept.id for concept in concepts]
        self._embedder = embedder
        names = embedder.embed([concept.name for concept in concepts])
        defined = embedder.embed([f"{c.name}: {c.definition}" for c in concepts])
        self._names, self._defined = names, defined

    def match(self, profile: FieldProfile) -> Mapping[str, Evidence]:
        """Return, by concept, how alike the field's name and description are in meaning.

        No value of the field is embedded, only what it is called.
        """
        header = split_header(profile.field).name.replace("_", " ")
        text = header if not profile.description else f"{header}: {profile.description}"
        vector = self._embedder.embed([text])[0]
        cosines = np.maximum(self._names @ vector, self._defined @ vector)
        found = {}
        for concept, cosine in zip(self._ids, cosines.tolist(), strict=True):
            if cosine > _UNRELATED:
                strength = (cosine - _UNRELATED) / (1 - _UNRELATED)
                words = "the embedding finds the meaning of name and description alike"
                words += f" (cosine {cosine:.2f})"
                found[concept] = Evidence(Signal.EMBEDDING, strength, words)
        return found
