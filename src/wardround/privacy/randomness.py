"""Where noise comes from: AES-256 in counter mode under a key that nobody else has.

The key comes in from outside (a hospital gives 32 bytes of its operating system's generator, fresh
for every contribution, and forgets them), so that this package stays pure and a test can repeat a
draw. Nobody who doesn't know the key can tell the stream from uniform bits, and with them noise
from noise; a generator made for simulation (Mersenne twister, PCG) can be told apart after few
outputs, and a seed that is used twice subtracts out.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from wardround.errors import WardroundError

KEY_BYTES = 32
_BLOCK_BYTES = 16
_CHUNK_BYTES = 256 * 1024
_ZEROS = memoryview(bytes(_CHUNK_BYTES))
_FURTHER_BITS = 1 << 127
"""Counter from which `NoiseSource.more` reads: half-way round, where `fill` never gets."""


class NoiseSource:
    """A stream of independent, uniform 64-bit integers; one key, one contribution, one thread.

    `more` reads from a second place of the same stream. So how many bits an element needed beyond
    its first 64 changes nothing in the elements after it.

    Raises WR-PRIVACY-010 if ``key`` isn't 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise WardroundError(
                "WR-PRIVACY-010",
                f"A key for noise has {KEY_BYTES} bytes, not {len(key)}.",
                "This is a fault in the program that calls; report it.",
            )
        self._stream = _cipher(key, 0)
        self._further = _cipher(key, _FURTHER_BITS)

    def fill(self, out: NDArray[np.uint64]) -> None:
        """Overwrite ``out``, a contiguous array of any shape, with uniform integers."""
        raw = out.data.cast("B")
        for start in range(0, len(raw), _CHUNK_BYTES):
            target = raw[start : start + _CHUNK_BYTES]
            self._stream.update_into(_ZEROS[: len(target)], target)
        if not out.dtype.newbyteorder("<").isnative:
            out.byteswap(inplace=True)

    def integers(self, size: int) -> NDArray[np.uint64]:
        """Draw uniform integers below 2^64, shape (size,)."""
        out = np.empty(size, np.uint64)
        if size:
            self.fill(out)
        return out

    def more(self) -> int:
        """Draw 64 bits more for one element, from the second place of the stream."""
        return int.from_bytes(self._further.update(_ZEROS[:8]), "little")


def _cipher(key: bytes, counter: int) -> CipherContext:
    return Cipher(AES(bytes(key)), CTR(counter.to_bytes(_BLOCK_BYTES, "big"))).encryptor()
