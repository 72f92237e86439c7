"""One child process from its start to its end, as the agent speaks to it.

The child is the attacker: whatever it answers is checked before it is used, and an answer that
makes no sense ends it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from wardround.errors import WardroundError, WardroundErrors
from wardround.sandbox import bubblewrap, cgroups, namespaces
from wardround.sandbox.channel import PACKET_BYTES, SharedMemory, pack, unpack
from wardround.sandbox.launch import Child, launch, readable_paths
from wardround.sandbox.limits import HostLimits, Limit, Limits
from wardround.sandbox.meter import meter_of

START_S = 60.0
_STANDSTILL_S = 0.02
_TEXT_CHARACTERS = 1000
_CODE = re.compile(r"WR-[A-Z]+-\d{3}")
_ENDED = "WR-SANDBOX-004"
_DID_NOT_START = "WR-SANDBOX-013"


class Conversation:
    """Asks the child one thing at a time."""

    def __init__(self, child: Child) -> None:
        self._child: Child | None = child
        self._meter: Callable[[], float] | None = None

    @property
    def running(self) -> bool:
        """Whether there still is a child to ask."""
        return self._child is not None

    async def ask(
        self,
        header: Mapping[str, object],
        raw: bytes = b"",
        memories: Sequence[SharedMemory] = (),
    ) -> dict[str, object]:
        """Send one packet, with memory for the child to map, and return the answer's header.

        Raises what the child reports as an error, ``WR-SANDBOX-004`` if it ended and
        ``WR-SANDBOX-012`` if it answered nonsense.
        """
        if self._child is None:
            raise ended(0)
        control = self._child.control
        try:
            try:
                descriptors = [memory.descriptor for memory in memories]
                socket.send_fds(control, [pack(header, raw)], descriptors)
            finally:
                for memory in memories:
                    memory.close()
            packet = await asyncio.get_running_loop().sock_recv(control, PACKET_BYTES)
        except OSError:
            packet = b""
        if not packet:
            raise ended(self.end())
        try:
            answer, _ = unpack(packet)
        except ValueError:
            self.distrust()
        if "errors" in answer:
            self._raise_errors(answer)
        return answer

    def stop(self) -> None:
        """Let the child compute nothing for now."""
        if self._child is not None:
            self._child.stop()

    def go_on(self) -> None:
        """Let it compute again."""
        if self._child is not None:
            self._child.go_on()

    def spent_s(self) -> float:
        """Processor time that the child has spent; the clock on the wall if that can't be had."""
        if self._meter is None:
            self._meter = meter_of(self._child.process.pid) if self._child else time.monotonic
        return self._meter()

    @property
    def share_is_held(self) -> bool:
        """Whether the kernel holds the child to its share of a processor, by its group."""
        group = self._child.group if self._child is not None else None
        return group is not None and group.holds_share

    async def stands_still(self) -> bool:
        """Try whether the child can be stopped: it must not answer while it is."""
        if self._child is None:
            return False
        control = self._child.control
        self.stop()
        try:
            with suppress(OSError):
                socket.send_fds(control, [pack({"ping": True})], [])
            silent = not select.select([control], [], [], _STANDSTILL_S)[0]
        finally:
            self.go_on()
        answer = await asyncio.get_running_loop().sock_recv(control, PACKET_BYTES)
        return silent and unpack(answer)[0] == {"pong": True}

    def end(self) -> int:
        """End the child; return its exit status, or zero if there was none any more."""
        child, self._child = self._child, None
        return child.end() if child is not None else 0

    def distrust(self) -> NoReturn:
        """End a child that does not keep to the protocol."""
        self.end()
        raise WardroundError(
            "WR-SANDBOX-012",
            "The worker gave an answer that makes no sense and was ended.",
            "Treat the study's computation as suspect; its result was not used.",
        )

    def _raise_errors(self, answer: Mapping[str, object]) -> NoReturn:
        if answer.get("ends"):
            self.end()
        listed = answer["errors"]
        errors = tuple(map(_error_from_wire, listed)) if isinstance(listed, list) else ()
        known = tuple(error for error in errors if error is not None)
        if not known or len(known) != len(errors):
            self.distrust()
        raise known[0] if len(known) == 1 else WardroundErrors(known)


async def begin(
    entry: str | None, limits: Limits, *, use_bubblewrap: bool
) -> tuple[Conversation, HostLimits]:
    """Start a child, in bubblewrap where that works, and let it confine itself.

    Raises ``WR-SANDBOX-013`` if no child came so far, ``WR-SANDBOX-002`` without ``entry``.
    """
    program = bubblewrap.available() if use_bubblewrap else None
    reason = "not used" if not use_bubblewrap else "not installed"
    if program is not None:
        try:
            conversation, report = await _begin(entry, limits, program)
        except WardroundError as error:
            if error.code != _DID_NOT_START:
                raise
            reason = "installed, but no worker starts in it on this host"
        else:
            return conversation, report.adding(Limit.BUBBLEWRAP, None)
    conversation, report = await _begin(entry, limits, None)
    return conversation, report.adding(Limit.BUBBLEWRAP, reason)


async def _begin(
    entry: str | None, limits: Limits, bubblewrap_path: str | None
) -> tuple[Conversation, HostLimits]:
    readable = readable_paths(entry)
    orders = {
        "entry": entry,
        "limits": dataclasses.asdict(limits),
        "readable": readable,
        "outside": namespaces.identities(),
    }
    try:
        child, ungrouped = _launch(entry, readable, limits, bubblewrap_path)
    except OSError as error:
        raise _did_not_start(error.strerror or "unknown reason") from error
    conversation = Conversation(child)
    try:
        async with asyncio.timeout(START_S):
            answer = await conversation.ask(orders)
            report = _report_from_wire(answer)
            held = conversation.share_is_held or await conversation.stands_still()
    except BaseException as error:
        conversation.end()
        if isinstance(error, WardroundError) and error.code != _ENDED:
            raise
        if isinstance(error, WardroundError | TimeoutError | ValueError):
            raise _did_not_start(_why(error)) from error
        raise
    report = report.adding(Limit.CPU_SHARE, None if held else "it can't be stopped and continued")
    return conversation, report.adding(Limit.CGROUPS, ungrouped)


def _launch(
    entry: str | None, readable: Sequence[str], limits: Limits, bubblewrap_path: str | None
) -> tuple[Child, str | None]:
    """Launch in a control group where one can be had, else without and say why."""
    try:
        group = cgroups.Group.create(limits)
        return launch(entry, readable, bubblewrap_path=bubblewrap_path, group=group), None
    except OSError as error:
        why = error.strerror or str(error)
    return launch(entry, readable, bubblewrap_path=bubblewrap_path, group=None), why


def _why(error: WardroundError | TimeoutError | ValueError) -> str:
    match error:
        case TimeoutError():
            return f"no report within {START_S:.0f} s"
        case WardroundError():
            return error.problem
        case _:
            return "its report makes no sense"


def _did_not_start(why: str) -> WardroundError:
    return WardroundError(
        _DID_NOT_START,
        f"No worker process could be started: {why.rstrip('.')}.",
        "Check that this host can start wardround's Python, then run `wardround site limits`.",
    )


def ended(status: int) -> WardroundError:
    """Build the error for a worker that is no more, from its exit status."""
    try:
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    except ValueError:
        how = f"signal {-status}"
    return WardroundError(
        _ENDED,
        f"The worker ended by itself ({how}).",
        "Start it again; after SIGKILL, see whether memory or processor time had run out.",
    )


def _report_from_wire(answer: Mapping[str, object]) -> HostLimits:
    """Read the child's report; raises ``ValueError`` if it isn't one."""
    match answer.get("ready"):
        case {"enforced": list(enforced), "missing": dict(missing)}:
            return HostLimits(
                frozenset(Limit(name) for name in enforced),
                {Limit(name): str(why)[:_TEXT_CHARACTERS] for name, why in missing.items()},
            )
        case _:
            raise ValueError("not a report")


def _error_from_wire(error: object) -> WardroundError | None:
    """Pass on an error in bounded, printable text; anything else than an error is None."""
    match error:
        case {"code": str(code), "problem": str(problem), "remedy": str(remedy), "path": path}:
            if _CODE.fullmatch(code) is None:
                return None
            where = _printable(path) if isinstance(path, str) else None
            return WardroundError(code, _printable(problem), _printable(remedy), path=where)
        case _:
            return None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_CHARACTERS])
