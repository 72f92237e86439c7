"""Opening a total: the packets of the survivors are added and the masks taken out, by chunks.

Memory holds one total and one chunk, however many sites there are; the packets stay on disk. Each
chunk is checked while it is at hand: honest packets add up to a vector whose lanes fit, and none of
whose elements is larger than the bound on one site's values allows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.messages import Manifest
from wardround.ids import Digest, SiteName
from wardround.secagg import LANES, Adversary, Advert, Checksum, RecoveryShares
from wardround.secagg.encoding import RingArray, magnitude
from wardround.secagg.graph import Graph
from wardround.secagg.headroom import Headroom
from wardround.secagg.recovery import Unmasking

Suspects: TypeAlias = Mapping[SiteName, tuple[SiteName, ...]]
"""Helper -> dealers; see `Unmasking.suspects`."""

_CHUNK_BYTES = 1 << 20
_SPLIT_FROM = 1 << 19
"""Totals of as many elements are added up by two threads."""


class Garbage(Exception):
    """What was opened is no sum of honest contributions; it has been wiped.

    ``failed`` says which of the checks did not hold, and is all that may be told of it.
    """

    def __init__(self, failed: tuple[str, ...]) -> None:
        super().__init__(", ".join(failed))
        self.failed = failed


def open_total(
    manifest: Manifest,
    manifest_digest: Digest,
    survivors: tuple[SiteName, ...],
    adverts: Mapping[SiteName, Advert],
    shares: Mapping[SiteName, RecoveryShares],
    spool: Spool,
    room: Headroom,
    graph: Graph | None = None,
) -> tuple[RingArray, Suspects]:
    """The sum over the survivors' contributions in the ring, shape ``(manifest.length,)``.

    And whose shares did not fit whose secrets (`Unmasking.suspects`), though it opened. Raises
    ``WR-SECAGG-…`` when too few good shares are at hand, and `Garbage`.
    """
    encoding = room.encoding
    whole = np.empty(manifest.length + LANES, encoding.dtype)
    data, lanes = whole[:-LANES], whole[-LANES:]

    def add_up(start: int, stop: int) -> tuple[_Seen, Suspects]:
        unmasking = Unmasking.prepare(
            adverts=adverts,
            ring_bits=encoding.ring_bits,
            survivors=survivors,
            recovered=shares,
            index=manifest.index,
            manifest=manifest_digest,
            adversary=Adversary(len(manifest.roster), manifest.corrupt, manifest.threshold),
            graph=graph,
        )
        paths = [spool.path(manifest.round, site) for site in survivors]
        checksum = Checksum(manifest.study, manifest.run, manifest.step, manifest.task)
        seen = _add_up(paths, unmasking, checksum, whole, start, stop, encoding.bounded_from)
        return seen, unmasking.suspects

    if len(whole) < _SPLIT_FROM:
        seen, suspects = add_up(0, len(whole))
    else:
        middle = len(whole) // 2
        with ThreadPoolExecutor(2) as threads:  # reading, adding, AES let go of the interpreter
            halves = threads.map(add_up, (0, middle), (middle, len(whole)))
            (first, suspects), (second, _same) = halves
        seen = first.and_(second)
    failed = []
    if not np.array_equal(seen.lanes, lanes):
        failed.append("checksum")
    if seen.largest > room.largest_total(len(survivors)):
        failed.append("bounds")
    if failed:
        whole.fill(0)
        raise Garbage(tuple(failed))
    return data, suspects


@dataclass(frozen=True)
class _Seen:
    """The lanes of a part of a total, and its largest magnitude."""

    lanes: RingArray
    largest: int

    def and_(self, other: _Seen) -> _Seen:
        return _Seen(self.lanes + other.lanes, max(self.largest, other.largest))


def _add_up(
    paths: Sequence[Path],
    unmasking: Unmasking,
    checksum: Checksum,
    whole: RingArray,
    start: int,
    stop: int,
    bounded_from: int,
) -> _Seen:
    """Sum elements ``start`` to ``stop`` of the payloads into ``whole``, take the masks out, look.

    The last ``LANES`` elements of ``whole`` are not data; those before ``bounded_from`` may be of
    any magnitude.
    """
    step = _CHUNK_BYTES // whole.itemsize
    scratch = np.empty(step, whole.dtype)
    seen = _Seen(np.zeros(LANES, whole.dtype), 0)
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb", buffering=0)) for path in paths]
        for at in range(start, stop, step):
            chunk = whole[at : min(at + step, stop)]
            _read(files[0].fileno(), chunk, at)
            for file in files[1:]:
                part = scratch[: len(chunk)]
                _read(file.fileno(), part, at)
                np.add(chunk, part, out=chunk)
            unmasking.unmask(chunk, at)
            data = chunk[: max(0, len(whole) - LANES - at)]
            if len(data):
                bounded = data[max(0, bounded_from - at) :]
                largest = magnitude(bounded) if len(bounded) else 0
                seen = seen.and_(_Seen(checksum.lanes(data, at), largest))
    return seen


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
