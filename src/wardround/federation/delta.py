"""A model as the difference to the one before it: exact to the last bit, and sent if smaller.

Neighbouring numbers of two models that differ by a training step share sign, exponent and some
leading bits. So the bytes of both are XORed and sorted by significance (all first bytes, then all
second ones, ...: the shuffle of Blosc, Alted 2010); planes that are mostly zero compress well, and
those that are as good as random are sent as they are. Lossless, so the digest of the result is that
of the model itself: a delta that is wrong, or applied to the wrong model, can't be used.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError

_RAW, _ZLIB = 0, 1
_LEVEL = 1
_SAMPLE_BYTES = 1 << 16
_WORTH = 0.95
"""A plane is compressed if a sample of it shrinks to less than this share."""

_HEAD = 1 + 8


def make_delta(base: bytes | memoryview, model: bytes | memoryview) -> bytes | None:
    """What turns ``base`` into ``model``; None unless it is smaller than the model.

    Both are float64 or float32 arrays of the same length; others have no delta.
    """
    if len(base) != len(model) or not model or len(model) % 4:
        return None
    width = 8 if len(model) % 8 == 0 else 4
    pieces = [bytes([width])]
    size = 1
    for plane in _planes(base, width) ^ _planes(model, width):
        method, data = _pack(plane)
        pieces += [bytes([method]) + len(data).to_bytes(8, "big"), data]
        size += _HEAD + len(data)
        if size >= len(model):
            return None
    return b"".join(pieces)


def apply_delta(base: bytes | memoryview, delta: bytes | memoryview) -> memoryview:
    """The model that ``delta`` makes of ``base``; the caller checks its digest.

    Never larger than ``base``, whatever the delta says. Raises WR-SITE-150 when it is malformed.
    """
    view = memoryview(delta)
    width = view[0] if view else 0
    if width not in (4, 8) or not len(base) or len(base) % width:
        raise _malformed()
    planes = _planes(base, width).copy()
    at = 1
    for plane in planes:
        if len(view) < at + _HEAD:
            raise _malformed()
        method, size = view[at], int.from_bytes(view[at + 1 : at + _HEAD], "big")
        at += _HEAD
        plane ^= _unpack(method, view[at : at + size], len(plane))
        at += size
    if at != len(view):
        raise _malformed()
    return np.ascontiguousarray(planes.T).reshape(-1).data.toreadonly()


def _planes(data: bytes | memoryview, width: int) -> NDArray[np.uint8]:
    """The bytes by significance, shape (width, numbers)."""
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(-1, width).T)


def _pack(plane: NDArray[np.uint8]) -> tuple[int, bytes]:
    middle = max(0, len(plane) // 2 - _SAMPLE_BYTES // 2)
    sample = plane[middle : middle + _SAMPLE_BYTES].tobytes()
    if len(zlib.compress(sample, _LEVEL)) < _WORTH * len(sample):
        packed = zlib.compress(plane.data, _LEVEL)
        if len(packed) < len(plane):
            return _ZLIB, packed
    return _RAW, plane.tobytes()


def _unpack(method: int, data: memoryview, length: int) -> NDArray[np.uint8]:
    if method == _RAW:
        content: bytes | memoryview = data
    elif method == _ZLIB:
        inflate = zlib.decompressobj()
        try:
            content = inflate.decompress(data, length + 1)
        except zlib.error as error:
            raise _malformed() from error
        if not inflate.eof or inflate.unused_data:
            raise _malformed()
    else:
        raise _malformed()
    if len(content) != length:
        raise _malformed()
    return np.frombuffer(content, np.uint8)


def _malformed() -> WardroundError:
    return WardroundError(
        "WR-SITE-150",
        "The difference between two models is malformed.",
        "The agent fetches the whole model instead; nothing is lost.",
    )
