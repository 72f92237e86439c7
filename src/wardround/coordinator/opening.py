"""Opening a total: the packets of the survivors are added and the masks taken out, by chunks.

Memory holds one total and one chunk, however many sites there are; the packets stay on disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np

from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest
from wardround.ids import Digest, SiteName
from wardround.secagg import Adversary, Advert, RecoveryShares
from wardround.secagg.encoding import RingArray
from wardround.secagg.graph import Graph
from wardround.secagg.recovery import Unmasking

Suspects: TypeAlias = Mapping[SiteName, tuple[SiteName, ...]]
"""Helper -> dealers; see `Unmasking.suspects`."""

_CHUNK_BYTES = 1 << 20
_SPLIT_FROM = 1 << 19
"""Totals of as many elements are added up by two threads."""


def open_total(
    manifest: Manifest,
    manifest_digest: Digest,
    survivors: tuple[SiteName, ...],
    adverts: Mapping[SiteName, Advert],
    shares: Mapping[SiteName, RecoveryShares],
    spool: Spool,
    graph: Graph | None = None,
) -> tuple[RingArray, Suspects]:
    """The sum over the survivors' contributions in the ring, shape ``(manifest.length,)``.

    And whose shares did not fit whose secrets (`Unmasking.suspects`), though it opened. Raises
    ``WR-SECAGG-…`` when too few good shares are at hand.
    """
    dtype = np.dtype(np.uint64 if manifest.ring_bits == 64 else np.uint32)
    total = np.empty(manifest.length, dtype)

    def add_up(start: int, stop: int) -> Suspects:
        unmasking = Unmasking.prepare(
            adverts=adverts,
            ring_bits=64 if manifest.ring_bits == 64 else 32,
            survivors=survivors,
            recovered=shares,
            index=manifest.index,
            manifest=manifest_digest,
            adversary=Adversary(len(manifest.roster), manifest.corrupt),
            graph=graph,
        )
        paths = [spool.path(manifest.round, site) for site in survivors]
        _add_up(paths, unmasking, total, start, stop)
        return unmasking.suspects

    if manifest.length < _SPLIT_FROM:
        return total, add_up(0, manifest.length)
    middle = manifest.length // 2
    with ThreadPoolExecutor(2) as threads:  # reading, adding and AES all let go of the interpreter
        spans = [(0, middle), (middle, len(total))]
        halves = [threads.submit(add_up, *span) for span in spans]
        suspects, _same = [half.result() for half in halves]
        return total, suspects


def _add_up(
    paths: Sequence[Path], unmasking: Unmasking, total: RingArray, start: int, stop: int
) -> None:
    """Sum elements ``start`` to ``stop`` of the payloads into ``total`` and take the masks out."""
    step = _CHUNK_BYTES // total.itemsize
    scratch = np.empty(step, total.dtype)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb", buffering=0)) for path in paths]
        for at in range(start, stop, step):
            chunk = total[at : min(at + step, stop)]
            _read(files[0].fileno(), chunk, at)
            for file in files[1:]:
                part = scratch[: len(chunk)]
                _read(file.fileno(), part, at)
                np.add(chunk, part, out=chunk)
            unmasking.unmask(chunk, at)


def _read(descriptor: int, into: RingArray, start: int) -> None:
    got = os.preadv(descriptor, [into.view(np.uint8).data], start * into.itemsize)
    if got != into.nbytes:
        raise payload_lost()


def payload_lost() -> WardroundError:
    """The refusal to sum over bytes that are not the ones that were signed."""
    return WardroundError(
        "WR-COORD-012",
        "A spooled payload is gone, or is not what it was when it was accepted.",
        "The run ends here, since the hospitals answer a task only once. Check the disk, then "
        "start a new run.",
    )
