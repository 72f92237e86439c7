"""How the agent and its worker talk: small packets over a socket pair, arrays in shared memory.

A packet is one message: JSON, a line feed, raw bytes. An array above ``INLINE_BYTES`` lies in a
memory file that the agent makes and both sides keep mapped, so that 40 MB cost one copy and no page
is made twice. Nothing is ever on disk.

The attacker is the worker. It can't write to the memory that it reads from (sealed against later
writable mappings) nor grow what it writes to (sealed), and the agent copies a result out before
looking at it.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from wardround.sandbox.interface import Vector

INLINE_BYTES = 64 * 1024
PACKET_BYTES = 2 * INLINE_BYTES

_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h, since Linux 5.1


def pack(header: Mapping[str, object], raw: bytes = b"") -> bytes:
    """Lay out one packet; ``raw`` is at most ``INLINE_BYTES`` long."""
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + raw


def unpack(packet: bytes) -> tuple[dict[str, object], bytes]:
    """Take a packet apart; raises ``ValueError`` on anything that :func:`pack` did not make."""
    head, _, raw = packet.partition(b"\n")
    header: object = json.loads(head)
    if not isinstance(header, dict):
        raise ValueError("not a packet")
    return header, raw


class SharedMemory:
    """A memory file, mapped for as long as this object or an array on it lives."""

    def __init__(self, descriptor: int, size_bytes: int, *, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.descriptor = descriptor
        self.size_bytes = size_bytes
        self._map = mmap.mmap(
            descriptor, size_bytes, mmap.MAP_SHARED | mmap.MAP_POPULATE, protection
        )

    @classmethod
    def create(cls, size_bytes: int, *, agent_writes: bool) -> SharedMemory:
        """Make one of a fixed size; if the agent writes, nobody else can map it writable.

        Send ``descriptor`` to the worker, then ``close``.
        """
        descriptor = os.memfd_create("wardround", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            size_bytes = max(size_bytes, mmap.PAGESIZE)
            os.ftruncate(descriptor, size_bytes)
            memory = cls(descriptor, size_bytes, writable=agent_writes)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            if agent_writes:
                with suppress(OSError):  # an older kernel; the agent never reads it back anyway
                    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEAL_FUTURE_WRITE)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
        except BaseException:
            os.close(descriptor)
            raise
        return memory

    @classmethod
    def receive(cls, descriptor: int, size_bytes: int, *, writable: bool) -> SharedMemory:
        """Map what the agent has sent, and let go of its descriptor."""
        try:
            return cls(descriptor, size_bytes, writable=writable)
        finally:
            os.close(descriptor)

    def view(self, dtype: str, length: int) -> Vector:
        """Return the first ``length`` elements, ``float32`` or ``float64``, without a copy.

        Raises ``ValueError`` if there is no such dtype or fewer elements.
        """
        match dtype:
            case "float32":
                return np.frombuffer(self._map, np.float32, length)
            case "float64":
                return np.frombuffer(self._map, np.float64, length)
            case _:
                raise ValueError("neither float32 nor float64")

    def columns(self, names: Sequence[str], length: int) -> dict[str, NDArray[np.float64]]:
        """Return columns that lie one after the other, without a copy."""
        return {
            name: np.frombuffer(self._map, np.float64, length, offset=8 * length * position)
            for position, name in enumerate(names)
        }

    def close(self) -> None:
        """Let go of the descriptor; the mapping stays."""
        os.close(self.descriptor)
