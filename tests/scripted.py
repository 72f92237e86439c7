"""An agent's line played from a list, and what the agent says to its operator."""

from __future__ import annotations

import orjson

from bedside import RUN, Bedside
from wardround.errors import WardroundError
from wardround.federation.causes import Hindrance
from wardround.federation.messages import PART_BYTES, Ask, Instruction
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.ids import Digest
from wardround.site.link import Asked
from wardround.site.order import Order
from wardround.trust.canonical import JSON
from wardround.trust.journal import Checkpoint, sign_checkpoint
from wardround.trust.keys import SigningKey

STOP = Instruction(ask=Ask.STOP, run=RUN, reason="the test is over")


class Script:
    """A line whose other end reads its instructions from a list, and hears the answers."""

    def __init__(self, *asks: Instruction | Asked) -> None:
        self.asks = [one if isinstance(one, tuple) else (one, memoryview(b"")) for one in asks]
        self.heard: list[Packet | Refusal | Status] = []
        self.polls: list[int] = []
        self.blobs: dict[Digest, bytes] = {}
        self.refuse: list[str] = []
        self.bytes_out = self.bytes_in = 0
        self.hindrance: Hindrance | None = None
        self.hindrances: list[Hindrance | None] = []
        """What was said beside each poll."""

    async def next(self, seen: int) -> Asked | None:
        self.polls.append(seen)
        self.hindrances.append(self.hindrance)
        return self.asks.pop(0) if self.asks else (STOP, memoryview(b""))

    async def send(self, item: Packet | Refusal | Status, seen: int) -> Asked | None:
        self.heard.append(item)
        if isinstance(item, Status) and item.kind is StatusKind.APPROVAL:
            return None
        if self.refuse:
            raise WardroundError(self.refuse.pop(0), "It is refused.", "Look.")
        last = isinstance(item, Status) and item.kind is StatusKind.WITNESS
        return None if last else await self.next(seen)

    async def part(self, name: Digest, number: int) -> bytes:
        return self.blobs[name][number * PART_BYTES :][:PART_BYTES]


class Told:
    """What the agent said to its operator."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **facts: object) -> None:
        self.events.append((event, facts))


def finish(bedside: Bedside, **documents: JSON) -> Instruction:
    """The end of a run, under the coordinator's journal; ``documents`` change what comes."""
    signed = checkpoint(bedside.head.size, bedside.head.root, bedside.keys.coordinator)
    head = {"journal": bedside.head.model_dump(), "checkpoint": signed}
    return Instruction(ask=Ask.FINISH, run=RUN, documents={**head, **documents})


def checkpoint(size: int, root: str, key: SigningKey) -> JSON:
    """The head of a journal under somebody's signature."""
    signed = sign_checkpoint(Checkpoint("there", size, bytes.fromhex(root)), key)
    return orjson.loads(signed.to_json())


def contribute(bedside: Bedside, order: Order, **changes: object) -> Instruction:
    manifest = order.manifest.sign(bedside.keys.coordinator)
    return bedside.ask(
        Ask.CONTRIBUTE,
        **{
            "round": order.manifest.round,
            "manifest": manifest,
            "task": order.task.to_wire(),
            "envelopes": bedside.deals,
            "blobs": bedside.to_me,
            "consistency": tuple(one.hex() for one in order.consistency),
            **changes,
        },
    )
