"""The confined child: ``python -m wardround.sandbox.worker SOCKET``.

It learns what to do over the inherited socket, gives up everything else, says what was enforced,
and only then is sent data. Its standard streams lead nowhere, because a traceback may quote data.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError, WardroundErrors
from wardround.sandbox import channel, confine
from wardround.sandbox.interface import (
    Entry,
    Vector,
    compute,
    load_entry,
    not_started,
    out_of_memory,
)
from wardround.sandbox.limits import HostLimits, Limits

_PROCESSOR_TIME = "WR-SANDBOX-011"


class Orders(TypedDict):
    """The agent's first message."""

    entry: str | None
    limits: dict[str, object]
    readable: list[str]
    outside: dict[str, int]


@dataclass
class _Memory:
    """What the agent has handed over: mapped once, used for every call."""

    columns: Mapping[str, NDArray[np.float64]]
    inbox: channel.SharedMemory
    outbox: channel.SharedMemory


class Session:
    """Answers the agent until it hangs up."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._memory: _Memory | None = None
        self._entry: Entry | None = None

    def begin(self, orders: Orders) -> None:
        """Give everything up and report; data comes after this."""
        limits = Limits.from_wire(orders["limits"])
        failed = confine.separate(orders["outside"])
        entry = orders["entry"]
        if entry is not None:
            # Looked up while folders can still be listed; imported when they can't.
            importlib.util.find_spec(entry.partition(":")[0].partition(".")[0])

        def import_computation() -> None:
            if entry is not None:
                self._entry = load_entry(entry)

        signal.signal(signal.SIGXCPU, _processor_time_spent)
        report = confine.confine(
            limits, orders["readable"], orders["outside"], failed, import_computation
        )
        self._send({"ready": _report_to_wire(report)})

    def serve(self) -> None:
        """Answer until the agent closes its end."""
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self._control, channel.PACKET_BYTES, 3)
            if not packet:
                return
            header, raw = channel.unpack(packet)
            try:
                if "ping" in header:
                    self._send({"pong": True})
                elif "load" in header:
                    self._load(header, descriptors)
                else:
                    self._call(header, raw, descriptors)
            except WardroundError as error:
                self.report(error, ends=error.code == _PROCESSOR_TIME)
            except (OSError, MemoryError):  # no room to map what the agent hands over
                self.report(out_of_memory(), ends=True)

    def report(self, error: WardroundError, *, ends: bool) -> None:
        """Tell the agent of an error, and whether this process is of no more use after it."""
        errors = error.errors if isinstance(error, WardroundErrors) else (error,)
        self._send({"errors": [_error_to_wire(one) for one in errors], "ends": ends})

    def _load(self, header: dict[str, object], descriptors: list[int]) -> None:
        names, length = cast(list[str], header["load"]), cast(int, header["length"])
        sizes = cast(list[int], header["sizes"])
        self._memory = None
        columns, inbox, outbox = (
            channel.SharedMemory.receive(descriptor, size, writable=position == 2)
            for position, (descriptor, size) in enumerate(zip(descriptors, sizes, strict=True))
        )
        self._memory = _Memory(columns.columns(names, length), inbox, outbox)
        self._send({"loaded": True})

    def _call(self, header: dict[str, object], raw: bytes, descriptors: list[int]) -> None:
        memory = self._memory
        if memory is None or self._entry is None:
            raise not_started()
        if descriptors:
            memory.inbox = channel.SharedMemory.receive(
                descriptors[0], cast(int, header["inbox"]), writable=False
            )
        array = None
        if header["array"] is not None:
            dtype, length = cast(tuple[str, int], header["array"])
            array = memory.inbox.view(dtype, length)
        request = cast(dict[str, object], json.loads(raw))
        self._answer(memory, compute(self._entry, memory.columns, request, array))

    def _answer(self, memory: _Memory, result: Vector) -> None:
        if result.nbytes > memory.outbox.size_bytes:
            self._send({"room": result.nbytes})
            packet, descriptors, _, _ = socket.recv_fds(self._control, channel.PACKET_BYTES, 1)
            size = cast(int, channel.unpack(packet)[0]["outbox"])
            memory.outbox = channel.SharedMemory.receive(descriptors[0], size, writable=True)
        memory.outbox.view(result.dtype.name, result.size)[:] = result
        self._send({"done": [result.dtype.name, result.size]})

    def _send(self, header: Mapping[str, object]) -> None:
        self._control.send(channel.pack(header))


def _processor_time_spent(_signal: int, _frame: FrameType | None) -> None:
    raise WardroundError(
        _PROCESSOR_TIME,
        "The worker has used up its processor time.",
        "Raise cpu_s in the hospital's limits, or let the study ask for less.",
    )


def _report_to_wire(report: HostLimits) -> dict[str, object]:
    return {"enforced": sorted(report.enforced), "missing": dict(report.missing)}


def _error_to_wire(error: WardroundError) -> dict[str, str | None]:
    return {
        "code": error.code,
        "problem": error.problem,
        "remedy": error.remedy,
        "path": error.path,
    }


def main() -> None:
    """Serve the agent at the other end of the inherited socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    packet = control.recv(channel.PACKET_BYTES)
    if not packet:
        return
    session = Session(control)
    try:
        session.begin(cast(Orders, channel.unpack(packet)[0]))
    except WardroundError as error:
        session.report(error, ends=True)
    else:
        session.serve()


if __name__ == "__main__":
    main()
