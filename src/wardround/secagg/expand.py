"""Masks as long as the vector: AES-256 in counter mode, added to ring elements in place.

A key of 32 bytes stands for one pseudo-random vector, and is used for one vector only, so the
counter starts at zero. Bytes are read as little-endian integers whatever the host. The work is
done in chunks of 256 KiB that stay in a core's cache: at 10 million elements a stream costs
about two passes over memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from wardround.errors import WardroundError
from wardround.secagg.encoding import RingArray

KEY_BYTES = 32
_BLOCK_BYTES = 16
_CHUNK_BYTES = 256 * 1024
_ZEROS = memoryview(bytes(_CHUNK_BYTES))


class Keystream:
    """The pseudo-random vector that ``key`` stands for, readable from any offset.

    Reading on from where the last read ended is free; anything else sets up the cipher again
    (about 15 microseconds). One thread at a time.
    """

    def __init__(self, key: bytes | bytearray) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("a mask key has 32 bytes")
        self._algorithm = AES(bytes(key))
        self._cipher: CipherContext | None = None
        self._position = 0

    def add_into(self, array: RingArray, offset_elements: int = 0) -> None:
        """Add elements ``offset_elements`` onwards of the vector to ``array``, modulo the ring."""
        apply(array, (self,), (), offset_elements)

    def subtract_from(self, array: RingArray, offset_elements: int = 0) -> None:
        """The reverse of :meth:`add_into`."""
        apply(array, (), (self,), offset_elements)

    def read_into(self, target: memoryview, offset_bytes: int) -> None:
        """Write the stream from ``offset_bytes`` on over ``target``, at most 256 KiB of bytes."""
        if self._cipher is None or self._position != offset_bytes:
            block, skip = divmod(offset_bytes, _BLOCK_BYTES)
            mode = CTR(block.to_bytes(_BLOCK_BYTES, "big"))
            self._cipher = Cipher(self._algorithm, mode).encryptor()
            self._cipher.update(bytes(skip))
        self._cipher.update_into(_ZEROS[: len(target)], target)
        self._position = offset_bytes + len(target)


def apply(
    array: RingArray,
    added: Sequence[Keystream],
    subtracted: Sequence[Keystream],
    offset_elements: int = 0,
) -> None:
    """Add and subtract many streams, from element ``offset_elements`` on, into ``array``.

    All streams pass over one chunk before the next, so the array itself crosses memory once.
    Raises WR-SECAGG-004 unless ``array`` is one-dimensional, writeable uint32 or uint64.
    """
    if array.ndim != 1 or array.dtype not in (np.uint32, np.uint64) or not array.flags.writeable:
        raise WardroundError(
            "WR-SECAGG-004",
            "A vector to be masked or opened is not a writeable, one-dimensional array of uint32 "
            "or uint64.",
            "This is a fault in the program that calls; report it.",
        )
    width = array.itemsize
    step = _CHUNK_BYTES // width
    scratch_bytes = memoryview(bytearray(_CHUNK_BYTES))
    scratch = np.frombuffer(scratch_bytes, f"<u{width}")
    for start in range(0, len(array), step):
        chunk = array[start : start + step]
        mask = scratch[: len(chunk)]
        mask_bytes = scratch_bytes[: len(chunk) * width]
        offset_bytes = (offset_elements + start) * width
        for stream in added:
            stream.read_into(mask_bytes, offset_bytes)
            np.add(chunk, mask, out=chunk)
        for stream in subtracted:
            stream.read_into(mask_bytes, offset_bytes)
            np.subtract(chunk, mask, out=chunk)
