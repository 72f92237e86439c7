"""Opening a total: the packets of the survivors are added and the masks taken out, by chunks.

Memory holds one total and one chunk, however many sites there are; the packets stay on disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import Adversary, Advert, RecoveryShares
from wardround.secagg.encoding import RingArray
from wardround.secagg.recovery import Unmasking

_CHUNK_BYTES = 1 << 20


def open_total(
    manifest: Manifest,
    manifest_digest: Digest,
    survivors: tuple[SiteName, ...],
    adverts: Mapping[SiteName, Advert],
    shares: Mapping[SiteName, RecoveryShares],
    spool: Spool,
) -> RingArray:
    """The sum over the survivors' contributions in the ring, shape ``(manifest.length,)``.

    Raises ``WR-SECAGG-…`` when too few good shares are at hand.
    """
    unmasking = Unmasking.prepare(
        adverts=adverts,
        ring_bits=64 if manifest.ring_bits == 64 else 32,
        survivors=survivors,
        recovered=shares,
        index=manifest.index,
        manifest=manifest_digest,
        adversary=Adversary(len(manifest.roster), manifest.corrupt),
    )
    dtype = np.dtype(np.uint64 if manifest.ring_bits == 64 else np.uint32)
    total = np.empty(manifest.length, dtype)
    step = _CHUNK_BYTES // dtype.itemsize
    scratch = np.empty(step, dtype)
    round_ = RoundId(manifest.round)
    with ExitStack() as stack:
        files = [
            stack.enter_context(spool.path(round_, site).open("rb", buffering=0))
            for site in survivors
        ]
        for start in range(0, manifest.length, step):
            chunk = total[start : start + step]
            _read(files[0].fileno(), chunk, start)
            for file in files[1:]:
                part = scratch[: len(chunk)]
                _read(file.fileno(), part, start)
                np.add(chunk, part, out=chunk)
            unmasking.unmask(chunk, start)
    return total


def _read(descriptor: int, into: RingArray, start: int) -> None:
    got = os.preadv(descriptor, [into.view(np.uint8).data], start * into.itemsize)
    if got != into.nbytes:
        raise WardroundError(
            "WR-COORD-012",
            "A spooled payload is shorter than it was when it was accepted.",
            "Nothing to do by hand: the round is tried again. Check the disk if it recurs.",
        )
