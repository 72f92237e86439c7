"""Names of columns and concepts, taken apart into words that can be compared."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Final

MAX_READINGS: Final = 12
"""Ways to spell out the abbreviations of one name that are tried."""

_WORD: Final = re.compile(r"[^\W_]+")
_PART: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\WA-Z\d_]+|[A-Z]+|\d+")
_DIGRAPHS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("ph", "f"), ("y", "i"), ("k", "c"))


@dataclass(frozen=True)
class Abbreviations:
    """The explicit table: what short words stand for, and words that say nothing."""

    meanings: Mapping[str, tuple[str, ...]]
    noise: frozenset[str]


@cache
def abbreviations() -> Abbreviations:
    """Return the table that ships with Wardround (``abbreviations.toml``)."""
    text = resources.files("wardround.clinical.suggest").joinpath("abbreviations.toml")
    document = tomllib.loads(text.read_text("utf-8"))
    meanings = {fold(word): tuple(m) for word, m in document["words"].items()}
    return Abbreviations(meanings, frozenset(map(fold, document["noise"]["words"])))


@cache
def fold(word: str) -> str:
    """Fold a word: without case and accents, and with spellings that differ by language made one.

    *Hämoglobin*, *Haemoglobin* and *hemoglobina* then share nearly all their letters; ``k`` and
    ``c``, ``y`` and ``i``, ``ph`` and ``f`` are one, so *Kreatinin* meets *creatinine*.
    """
    apart = unicodedata.normalize("NFKD", word.casefold())
    plain = "".join(mark for mark in apart if not unicodedata.combining(mark))
    # In CK, K and pH the letters are all there is.
    return plain if len(plain) < 4 else _one_spelling(plain)


def _one_spelling(plain: str) -> str:
    for pair, one in _DIGRAPHS:
        plain = plain.replace(pair, one)
    return plain


class Tokenizer:
    """Splits names at marks, capitals and digits, and words that are written together.

    A word that is ``known`` whole stays whole (*HbA1c*); one that consists of known words is taken
    apart (*serumkreatinin*, *sysbp*).
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        # Inside a longer word a short one was folded with it: the *sys* of *sysbp* became *sis*.
        self._inside = {_one_spelling(word): word for word in sorted(self._known) if len(word) < 4}
        self._inside |= {word: word for word in self._known}

    def tokens(self, text: str) -> tuple[str, ...]:
        """Return the folded words of a name, in order."""
        found: list[str] = []
        for word in _WORD.findall(unicodedata.normalize("NFC", text)):
            whole = fold(word)
            if whole in self._known:
                found.append(whole)
                continue
            parts = [fold(part) for part in _PART.findall(word)] or [whole]
            if len(parts) > 1 and all(len(part) == 1 for part in parts):
                parts = [whole]
            for part in parts:
                found.extend(self._apart(part))
        return tuple(found)

    def _apart(self, word: str) -> tuple[str, ...]:
        """Cover a word with known words, as few as possible; itself where that fails."""
        if word in self._known or len(word) < 5 or word.isdigit():
            return (word,)
        best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
        for end in range(2, len(word) + 1):
            for start in range(max(0, end - 24), end - 1):
                before, piece = best[start], self._inside.get(word[start:end])
                if before is None or piece is None:
                    continue
                known = best[end]
                if known is None or len(before) + 1 < len(known):
                    best[end] = (*before, piece)
        found = best[-1]
        # Many short pieces cover nearly anything by chance.
        if found is None or len(found) > 3 or (len(found) > 2 and min(map(len, found)) < 3):
            return (word,)
        return found

    def inside(self, word: str) -> str | None:
        """Return the longest known word that an unknown one ends or begins with, or None.

        Surveys and old systems put a few letters before what they mean: *LBXGLU*, *VSWEIGHT*.
        """
        if word in self._known or len(word) < 4:
            return None
        for length in range(len(word) - 1, 1, -1):
            ending, beginning = self._inside.get(word[-length:]), self._inside.get(word[:length])
            if ending is not None:
                return ending
            if length >= 3 and beginning is not None:
                return beginning
        return None


def readings(
    tokens: tuple[str, ...], inside: Callable[[str], str | None]
) -> tuple[tuple[str, ...], ...]:
    """Return the name as it stands, then with its abbreviations spelt out, in each way.

    ``inside`` finds a known word in an unknown one. Meanings are returned folded but not split
    further than at blanks.
    """
    table = abbreviations().meanings
    choices: list[tuple[str, ...]] = []
    for token in tokens[:8]:
        core = inside(token)
        meanings = table.get(token, ()) if core is None else (core, *table.get(core, ()))
        choices.append((token, *meanings))
    spelt = []
    for chosen in product(*choices):
        words = tuple(fold(word) for phrase in chosen for word in phrase.split())
        spelt.append(words)
        if len(spelt) == MAX_READINGS:
            break
    return tuple(dict.fromkeys(spelt))
