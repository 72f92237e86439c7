"""A benchmark's processes: given orders on standard input, answering on standard output."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Protocol

from wardround.trust.canonical import JSON


class Party:
    """A process of ``module`` that obeys JSON lines."""

    def __init__(self, module: str, *words: str, apart: bool = False) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=apart,
        )
        self.number = self._process.pid

    def ask(self, order: Mapping[str, object]) -> dict[str, object]:
        """Give an order and wait for the answer."""
        self.tell(order)
        return self.hear()

    def tell(self, order: Mapping[str, object]) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, object]:
        """Wait for an answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a party of the benchmark has died; its words are above")
        answer: dict[str, object] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


class Obedient(Protocol):
    """What such a process is inside."""

    async def start(self) -> None:
        """Do what comes before the first order."""
        ...

    async def obey(self, order: Mapping[str, JSON], /) -> dict[str, JSON]:
        """Carry an order out and return its answer."""
        ...


async def serve(party: Obedient) -> None:
    """Have ``party`` carry out one order after the other, until the benchmark has ended."""
    await party.start()
    gc.freeze()  # as the services do
    answer({"ready": True})
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(orders.put_nowait, line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        answer(await party.obey(json.loads(await orders.get())))


def answer(document: Mapping[str, JSON]) -> None:
    """Answer an order, or say that this process is ready."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def free_port() -> int:
    """A port of this machine that nobody holds just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
