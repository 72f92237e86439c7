"""Letting the hospital's own work go first: processor, disk and where on the machine.

Niceness alone is not enough. Where the kernel schedules by session (``sched_autogroup_enabled``,
usual on desktops and many servers), niceness counts only among processes of one session, and a
worker has a session of its own; so the session is made nice as well (sched(7), "The autogroup
feature"). ``SCHED_IDLE`` ends at the session's edge, too: another session's program that wakes may
wait there for a tick of the kernel's clock (4 ms at 250 Hz), however nice the worker is. Two things
help. A worker asks for long turns, and whoever has shorter ones, which is everybody else, takes the
processor from it on waking (Linux 6.12). When one of two programs hands over to the other, the
worker may still come in between for a tick, because the kernel then goes by who had less than its
due, and no priority changes that; so a worker with a share keeps to one half of the processors,
and on the other half nobody meets it. Nothing here needs an administrator, and nothing that was
given up can be taken back by an ordinary user; a worker's system-call filter refuses even to try.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from wardround.sandbox import libc, syscalls
from wardround.sandbox.limits import Limit, Limits, Priority

NICENESS = {Priority.LOW: 10, Priority.LOWEST: 19, Priority.IDLE: 19}

_POLICY = {
    Priority.LOW: os.SCHED_OTHER,
    Priority.LOWEST: os.SCHED_BATCH,
    Priority.IDLE: os.SCHED_IDLE,
}

# linux/ioprio.h: the class in the upper bits, the level within "best effort" in the lower ones.
_BEST_EFFORT_LAST, _WHEN_IDLE = (2 << 13) | 7, 3 << 13
_OF_A_PROCESS = 1

_TURN_NS = 100_000_000
"""The longest turn that the kernel grants; its own are a few milliseconds."""

_AUTOGROUP = Path("/proc/self/autogroup")
_TRIES, _PAUSE_S = 20, 0.05
"""The kernel lets ordinary users change an autogroup ten times a second, all of them together."""


def disk_priority(priority: Priority) -> int:
    """The I/O priority that goes with a priority, as the kernel writes it (ioprio_set(2))."""
    return _WHEN_IDLE if priority is Priority.IDLE else _BEST_EFFORT_LAST


def yield_processor(priority: Priority) -> None:
    """Lower this thread's place in the queue for the processor; raises ``OSError``."""
    nice = max(NICENESS[priority], os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with suppress(OSError):  # more than the limit promises: a kernel may not know of turns
        # Before the policy, because an idle thread can't ask; it keeps what it has asked for.
        libc.set_turn(_number("sched_setattr"), policy=os.SCHED_BATCH, nice=nice, turn_ns=_TURN_NS)
    os.sched_setscheduler(0, _POLICY[priority], os.sched_param(0))
    _make_session_nice(NICENESS[priority])


def yield_disk(priority: Priority) -> None:
    """Lower this thread's place in the queue for the disk; raises ``OSError``."""
    _set_disk_priority(0, priority)


def processors_for(limits: Limits, usable: frozenset[int]) -> frozenset[int]:
    """Where a worker runs: where it is told to; with a share in the upper half; else anywhere.

    The upper half, rather than one processor, so that the workers of several studies on a large
    machine still find their shares.
    """
    if limits.processors:
        return frozenset(limits.processors)
    if limits.cpu_share < 1:
        return frozenset(sorted(usable)[len(usable) // 2 :])
    return usable


def stay_on_processors(limits: Limits) -> None:
    """Run only where :func:`processors_for` says; raises ``OSError``."""
    os.sched_setaffinity(0, processors_for(limits, frozenset(os.sched_getaffinity(0))))


def agent_yields(priority: Priority) -> None:
    """Make a whole agent, with all its threads, give way to the hospital's other programs.

    It is never made idle altogether: on a busy machine it must still answer in time, or rounds are
    lost. What this host does not know is left out; the worker's report says so for the worker.
    """
    nice = NICENESS[priority]
    for thread in [int(one.name) for one in Path("/proc/self/task").iterdir()]:
        with suppress(OSError):  # it has just ended
            os.setpriority(
                os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread))
            )
        with suppress(OSError):
            _set_disk_priority(thread, Priority.LOW)


def held(limits: Limits) -> frozenset[Limit]:
    """What of it holds, read back from the kernel; before the filter, which refuses the asking."""
    found = set()
    with suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, 0) >= NICENESS[limits.priority]
        policy = os.sched_getscheduler(0) == _POLICY[limits.priority]
        if nice and policy and _session_niceness() >= NICENESS[limits.priority]:
            found.add(Limit.PRIORITY)
    with suppress(OSError, KeyError):
        if _disk_priority() == disk_priority(limits.priority):
            found.add(Limit.IO_PRIORITY)
    with suppress(OSError):
        here = frozenset(os.sched_getaffinity(0))
        if not limits.processors or here == frozenset(limits.processors):
            found.add(Limit.PROCESSORS)
    return frozenset(found)


def _set_disk_priority(thread: int, priority: Priority) -> None:
    number = _number("ioprio_set")
    libc.syscall(number, _OF_A_PROCESS, thread, disk_priority(priority))


def _disk_priority() -> int:
    return libc.syscall(_number("ioprio_get"), _OF_A_PROCESS, 0)


def _number(name: str) -> int:
    try:
        return syscalls.number(name, libc.MACHINE)
    except KeyError:
        raise OSError(errno.ENOSYS, f"no number is known for {name} on {libc.MACHINE}") from None


def _make_session_nice(nice: int) -> None:
    """Give this process's session the niceness too, where sessions are scheduled apart."""
    for attempt in range(_TRIES):
        if _session_niceness() >= nice:
            return
        try:
            _AUTOGROUP.write_text(str(nice), encoding="ascii")
        except OSError as error:
            if error.errno != errno.EAGAIN or attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_S)


def _session_niceness() -> int:
    """How nice this process's session is; as nice as can be where there is no such thing."""
    try:
        enabled = Path("/proc/sys/kernel/sched_autogroup_enabled").read_text(encoding="ascii")
        told = _AUTOGROUP.read_text(encoding="ascii")
    except OSError:
        return max(NICENESS.values())
    if enabled.strip() == "0" or " nice " not in told:
        return max(NICENESS.values())
    return int(told.rsplit(" ", 1)[1])
