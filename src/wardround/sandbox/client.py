"""The agent's side of a confined worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import numpy as np

from wardround.errors import WardroundError
from wardround.sandbox.channel import INLINE_BYTES, SharedMemory
from wardround.sandbox.conversation import Conversation, begin
from wardround.sandbox.governor import Governor
from wardround.sandbox.interface import Columns, Vector, check_columns, check_vector, not_started
from wardround.sandbox.limits import HostLimits, Limit, Limits, require

_LEAST_SHARED_BYTES = 1 << 20
_COPY_IN_THREAD_BYTES = 1 << 20

_OLD = 1 / 4
"""Whatever came before, a task has the other three quarters of the processor time to itself."""


class ConfinedWorker:
    """One warm process that holds a hospital's columns and can do nothing but compute on them.

    ``entry`` names the computation as ``module:function``; ``required`` are the limits without
    which ``start`` refuses (``WR-SANDBOX-001``). Bubblewrap is used where it is installed and
    works, unless ``use_bubblewrap`` is false. Calls are served one at a time. A call that takes
    longer than ``limits.wall_s`` (``WR-SANDBOX-003``), is cancelled, or is answered with nonsense
    (``WR-SANDBOX-012``) ends the process; ``start`` and ``load`` make a new one.

    The kernel counts ``limits.cpu_s`` over the process's whole life, so whoever gives it one task
    after another starts it anew between them when it ``is_old``.
    """

    def __init__(
        self,
        entry: str,
        *,
        required: frozenset[Limit],
        limits: Limits | None = None,
        use_bubblewrap: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._entry = entry
        self._required = required
        self._limits = limits or Limits()
        self._use_bubblewrap = use_bubblewrap
        self._conversation: Conversation | None = None
        self._inbox: SharedMemory | None = None
        self._outbox: SharedMemory | None = None
        self._turn = asyncio.Lock()
        share = self._limits.cpu_share
        self._governor = Governor(share) if share < 1 else None

    @property
    def is_old(self) -> bool:
        """Whether the process began so long ago that it may have spent `_OLD` of its ``cpu_s``.

        By the clock on the wall: a worker has one thread, so it spends no more than that. What it
        has spent in truth depends on the records, and so would a pause whose time it decides.
        """
        return self._clock() - self._began >= self._limits.cpu_s * _OLD

    async def start(self) -> HostLimits:
        """Start a confined process, in place of any earlier one, and say what it is held to.

        Raises ``WR-SANDBOX-001`` (a required limit is missing), ``-002`` (no such computation) or
        ``-013`` (no process).
        """
        await self.close()
        self._began = self._clock()
        conversation, report = await begin(
            self._entry, self._limits, use_bubblewrap=self._use_bubblewrap
        )
        try:
            require(report, self._required)
        except WardroundError:
            conversation.end()
            raise
        self._conversation = conversation
        return report

    async def load(self, columns: Columns) -> None:
        """Hand the columns over through shared memory that the worker can only read."""
        length = check_columns(columns)
        async with self._turn:
            table = SharedMemory.create(8 * length * len(columns), agent_writes=True)
            self._inbox = SharedMemory.create(_LEAST_SHARED_BYTES, agent_writes=True)
            self._outbox = SharedMemory.create(_LEAST_SHARED_BYTES, agent_writes=False)
            for name, target in table.columns(list(columns), length).items():
                await _copy(columns[name], target)
            memories = (table, self._inbox, self._outbox)
            header = {
                "load": list(columns),
                "length": length,
                "sizes": [memory.size_bytes for memory in memories],
            }
            async with self._deadline() as conversation:
                answer = await conversation.ask(header, memories=memories)
                if answer != {"loaded": True}:
                    conversation.distrust()

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        """Compute ``entry(columns, request, array)`` in the worker; see :class:`Worker`.

        Raises what the computation raised if that has a code, ``WR-SANDBOX-006`` for any other
        exception, without its text, and the codes that the class names.
        """
        raw = _encode(request)
        if array is not None:
            array = check_vector(array, "array")
        async with self._turn, self._deadline() as conversation:
            header: dict[str, object] = {"array": None}
            fresh: list[SharedMemory] = []
            if array is not None:
                header["array"] = [array.dtype.name, array.size]
                if self._inbox is None or self._inbox.size_bytes < array.nbytes:
                    self._inbox = SharedMemory.create(array.nbytes, agent_writes=True)
                    header["inbox"] = self._inbox.size_bytes
                    fresh = [self._inbox]
                await _copy(array, self._inbox.view(array.dtype.name, array.size))
            async with self._held_back(conversation):
                answer = await conversation.ask(header, raw, fresh)
            if "room" in answer:
                answer = await self._make_room(conversation, answer["room"])
            return await self._take(conversation, answer)

    async def close(self) -> None:
        """End the process, and with it all that it was handed; closing twice is fine."""
        if self._conversation is not None:
            self._conversation.end()
        self._conversation = self._inbox = self._outbox = None

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[Conversation]:
        """Give the running conversation ``wall_s``; end it if it takes longer or is cancelled."""
        conversation = self._conversation
        if conversation is None or not conversation.running:
            raise not_started()
        try:
            async with asyncio.timeout(self._limits.wall_s):
                yield conversation
        except TimeoutError:
            conversation.end()
            raise WardroundError(
                "WR-SANDBOX-003",
                f"The worker took longer than {self._limits.wall_s:g} s and was ended.",
                "Raise wall_s in the hospital's limits, or let the study ask for less.",
            ) from None
        except asyncio.CancelledError:
            conversation.end()
            raise

    def _held_back(self, conversation: Conversation) -> AbstractAsyncContextManager[None]:
        """Hold the worker to its share of a processor where the kernel does not."""
        if self._governor is None or conversation.share_is_held:
            return nullcontext()
        return self._governor.holding(conversation)

    async def _make_room(self, conversation: Conversation, size: object) -> dict[str, object]:
        """Give the worker room for a larger result, as far as its own memory may reach."""
        if not isinstance(size, int) or not 0 < size <= self._limits.memory_bytes:
            conversation.distrust()
        self._outbox = SharedMemory.create(size, agent_writes=False)
        return await conversation.ask({"outbox": self._outbox.size_bytes}, memories=[self._outbox])

    async def _take(self, conversation: Conversation, answer: Mapping[str, object]) -> Vector:
        """Copy the result out before anyone looks at it: the worker could still change it."""
        try:
            shared = self._result(answer)
        except ValueError:
            conversation.distrust()
        result = np.empty_like(shared)
        await _copy(shared, result)
        return result

    def _result(self, answer: Mapping[str, object]) -> Vector:
        match answer:
            case {"done": [str(dtype), int(length)]} if length >= 0 and self._outbox:
                return self._outbox.view(dtype, length)
            case _:
                raise ValueError("not a result")


async def _copy(source: Vector, target: Vector) -> None:
    """Copy beside the event loop if it takes longer than a change of threads."""
    if source.nbytes > _COPY_IN_THREAD_BYTES:
        await asyncio.to_thread(np.copyto, target, source)
    else:
        np.copyto(target, source)


def _encode(request: Mapping[str, object]) -> bytes:
    try:
        raw = json.dumps(request, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise _bad_request("is not plain JSON") from error
    if len(raw) > INLINE_BYTES:
        raise _bad_request(f"is larger than {INLINE_BYTES // 1024} KiB")
    return raw


def _bad_request(what: str) -> WardroundError:
    return WardroundError(
        "WR-SANDBOX-008",
        f"The request to the worker {what}.",
        "Send numbers in the array rather than in the request.",
    )
