"""The models of a run as they go out: the parts of each under signed hashes, and its delta.

Both are made when a site first asks for them, beside the event loop: on a fast line nobody asks
for a delta, and making it would cost more than it saves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from wardround.errors import WardroundError
from wardround.federation.delta import make_delta
from wardround.federation.messages import PART_BYTES
from wardround.federation.transfer import PartList
from wardround.ids import Digest
from wardround.store.blobs import Blobs
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

_REMEMBERED = 4
"""So many models back a site may be and still get a delta."""


class OutgoingModels:
    """What may be fetched in one run's exchange: the current model, whole or as a delta."""

    def __init__(self, study: Digest, key: SigningKey, blobs: Blobs) -> None:
        self._study = study
        self._key = key
        self._blobs = blobs
        self._current: Digest | None = None
        self._earlier: set[Digest] = set()
        self._sent: deque[Digest] = deque(maxlen=_REMEMBERED)
        self._lists: dict[Digest, asyncio.Task[Envelope]] = {}
        self._deltas: dict[Digest, asyncio.Task[Envelope | None]] = {}
        self._made: dict[Digest, bytes] = {}

    def offer(self, model: Digest | None) -> None:
        """From now on this is the current model, or there is none; the others' deltas go."""
        if model == self._current:
            return
        self._current = model
        self._lists.clear()
        self._deltas.clear()
        self._made.clear()
        if model is not None:
            if model in self._sent:
                self._sent.remove(model)
            self._sent.append(model)

    def keep(self, earlier: Iterable[Digest]) -> None:
        """Whoever fetches one of these may go on with it, though it is not the current one."""
        self._earlier.update(earlier)

    def read_part(self, name: Digest, number: int) -> Iterator[bytes]:
        """Part ``number`` of the current model or a delta to it; raises WR-COORD-027."""
        if name in self._made:
            return iter((self._made[name][number * PART_BYTES :][:PART_BYTES],))
        if name not in self._earlier:
            self._require(name)
        return self._blobs.read_part(name, number * PART_BYTES, PART_BYTES)

    async def parts(self, name: Digest) -> Envelope:
        """The signed hashes of the current model's parts; raises WR-COORD-027."""
        if name not in self._earlier:
            self._require(name)
        if name not in self._lists:
            make = asyncio.to_thread(self._list, name)
            self._lists[name] = asyncio.create_task(make)
        return await asyncio.shield(self._lists[name])

    async def delta(self, name: Digest, base: Digest) -> Envelope | None:
        """The signed hashes of the delta from ``base``; None where there is none that is smaller.

        Raises WR-COORD-027 as `parts`.
        """
        self._require(name)
        if base == name or base not in self._sent:
            return None
        if base not in self._deltas:
            self._deltas[base] = asyncio.create_task(self._make(name, base))
        return await asyncio.shield(self._deltas[base])

    async def _make(self, name: Digest, base: Digest) -> Envelope | None:
        made = await asyncio.to_thread(self._difference, name, base)
        if made is None:
            return None
        listed, data = made
        if name == self._current:
            self._made[Digest(listed.blob)] = data
        return listed.sign(self._key)

    def _difference(self, name: Digest, base: Digest) -> tuple[PartList, bytes] | None:
        data = make_delta(self._blobs.get(base), self._blobs.get(name))
        if data is None:
            return None
        return PartList.of_delta(self._study, data, name, base), data

    def _list(self, name: Digest) -> Envelope:
        size = self._blobs.path(name).stat().st_size
        starts = range(0, size, PART_BYTES)
        parts = [self._blobs.read_part(name, start, PART_BYTES) for start in starts]
        return PartList.of(self._study, name, size, parts).sign(self._key)

    def _require(self, name: Digest) -> None:
        if name != self._current:
            raise WardroundError(
                "WR-COORD-027",
                "There is no such model in the current round.",
                "Run `wardround explain` with this code; the coordinator's journal has it.",
            )
