"""Cut the entries out of a Bundle that is too large to decode whole.

Only brackets outside of strings matter for where an entry ends, and NumPy finds those in a chunk
at once. Whatever is cut out still goes through a real JSON parser, so a document that misleads
this scan is refused, never misread. Memory: one chunk and the largest entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 1024 * 1024

_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_IS_BRACKET = np.zeros(256, dtype=np.bool_)
_IS_BRACKET[list(b"{}[]")] = True
_IS_OPENING = np.zeros(256, dtype=np.bool_)
_IS_OPENING[list(b"{[")] = True
_ENTRY_KEY = re.compile(rb'"entry"[ \t\r\n]*:[ \t\r\n]*\Z')
_KEY_BYTES = 1024
"""How far before the array its key is looked for: white space in between is rare and short."""
_SPACE = b" \t\r\n"


class MalformedError(Exception):
    """The text is not a JSON object as this scan needs it."""


class CutOffError(Exception):
    """The text ends before the object that it began does."""


class TooLongError(Exception):
    """An entry, or everything but the entries, is longer than allowed."""


@dataclass
class _Position:
    """Where the scan stands between two chunks."""

    depth: int = 0
    in_string: bool = False


def entries(content: BinaryIO, envelope: bytearray, maximum_bytes: int) -> Iterator[bytes]:
    """Yield each member of the top-level array ``entry``; leave the rest in ``envelope``.

    Afterwards ``envelope`` is the document with an empty ``entry``.

    Raises:
        MalformedError, CutOffError, TooLongError: as they say.
    """
    position, cutter, carried = _Position(), _Cutter(envelope), b""
    while chunk := content.read(CHUNK_BYTES):
        # Whether a quotation mark is escaped is seen from the backslashes before it: a run of them
        # is never parted.
        chunk = carried + chunk
        whole = len(chunk.rstrip(b"\\"))
        chunk, carried = chunk[:whole], chunk[whole:]
        yield from cutter.cut(chunk, *_brackets(chunk, position))
        if max(len(cutter.buffer), len(carried), len(envelope)) > maximum_bytes:
            raise TooLongError
    cutter.finish(carried)


def is_cut_off(text: bytes) -> bool:
    """Whether ``text`` ends inside an object, array or string that it began."""
    position = _Position()
    _brackets(text, position)
    return position.in_string or position.depth > 0


def _brackets(
    chunk: bytes, position: _Position
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """The brackets outside of strings: where they stand, and the depth after each of them."""
    text = np.frombuffer(chunk, dtype=np.uint8)
    quotes = _unescaped(text, np.flatnonzero(text == _QUOTE))
    brackets = np.flatnonzero(_IS_BRACKET[text])
    inside = (np.searchsorted(quotes, brackets) + position.in_string) % 2 == 1
    brackets = brackets[~inside]
    depths = position.depth + np.cumsum(np.where(_IS_OPENING[text[brackets]], 1, -1))
    position.in_string = bool((len(quotes) + position.in_string) % 2)
    position.depth = int(depths[-1]) if len(depths) else position.depth
    return brackets, depths


def _unescaped(text: npt.NDArray[np.uint8], quotes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Those quotation marks that an even number of backslashes precedes."""
    backslashes = np.flatnonzero(text == _BACKSLASH)
    if not len(backslashes):
        return quotes
    # For each backslash the index, among the backslashes, at which its unbroken run begins.
    begins = np.flatnonzero(np.diff(backslashes, prepend=-2) > 1)
    begin_of = np.repeat(begins, np.diff(begins, append=len(backslashes)))
    before = np.searchsorted(backslashes, quotes) - 1
    preceded = (before >= 0) & (backslashes[before] == quotes - 1)
    run = np.where(preceded, before - begin_of[before] + 1, 0)
    return np.extract(run % 2 == 0, quotes)


class _Cutter:
    """Keeps what is not yet cut; its states are before, inside and after the array ``entry``."""

    def __init__(self, envelope: bytearray) -> None:
        self._envelope = envelope
        self.buffer = bytearray()
        self._inside = False
        self._found = False
        self._first = True
        self._start: int | None = None
        self._ended = False

    def cut(
        self, chunk: bytes, brackets: npt.NDArray[np.intp], depths: npt.NDArray[np.int64]
    ) -> Iterator[bytes]:
        shallow = np.flatnonzero(depths <= 3)
        offset, cut = len(self.buffer), 0
        self.buffer += chunk
        buffer = self.buffer
        for at, depth in zip(
            (brackets[shallow] + offset).tolist(), depths[shallow].tolist(), strict=True
        ):
            opening = buffer[at] in b"{["
            if depth < 0 or self._ended:
                raise MalformedError
            if self._inside and depth == 3 and opening:
                between = buffer[cut:at].translate(None, _SPACE)
                if buffer[at] != ord("{") or bytes(between) != (b"" if self._first else b","):
                    raise MalformedError
                self._start, self._first = at, False
            elif self._inside and depth == 2 and not opening and self._start is not None:
                yield bytes(buffer[self._start : at + 1])
                self._start, cut = None, at + 1
            elif self._inside and depth == 1:
                if buffer[at] != ord("]") or buffer[cut:at].strip(_SPACE):
                    raise MalformedError
                self._inside, cut = False, at
            elif depth == 2 and buffer[at] == ord("[") and self._is_entry(cut, at):
                self._envelope += buffer[cut : at + 1]
                self._inside, self._found, cut = True, True, at + 1
            elif depth == 0:
                self._ended = True
        del buffer[:cut]
        if self._start is not None:
            self._start -= cut

    def finish(self, carried: bytes) -> None:
        if not self._ended:
            raise CutOffError
        self._envelope += self.buffer + carried

    def _is_entry(self, cut: int, at: int) -> bool:
        if self._inside or not _ENTRY_KEY.search(self.buffer[max(cut, at - _KEY_BYTES) : at]):
            return False
        if self._found:  # of two arrays, which one is meant would be a guess
            raise MalformedError
        return True
