"""Coming last: what a worker is held to, and what it says where the host can't do it."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import requires
from wardround.sandbox import CAPS, Limit, Limits, Priority, libc, probe
from wardround.sandbox.priority import processors_for


@pytest.mark.parametrize("priority", list(Priority))
def test_every_priority_holds_on_this_host(priority):
    found = probe(Limits(priority=priority), use_bubblewrap=False)
    requires.host(found.enforced >= CAPS, f"missing here: {dict(found.missing)}")


def test_processors_that_are_there_and_one_that_is_not():
    mine = tuple(sorted(os.sched_getaffinity(0)))[:1]
    found = probe(Limits(processors=mine), use_bubblewrap=False)
    requires.host(Limit.PROCESSORS in found.enforced, found.missing.get(Limit.PROCESSORS, ""))
    beyond = probe(Limits(processors=(8191,)), use_bubblewrap=False)
    assert beyond.missing[Limit.PROCESSORS]


async def test_the_worker_runs_as_it_was_told(make_worker):
    """Read from outside: the processes of the worker's own session."""
    mine = min(os.sched_getaffinity(0))
    limits = Limits(priority=Priority.IDLE, processors=(mine,))
    worker = await make_worker("double", limits)
    inside = [one for one in _descendants(os.getpid()) if _policy(one) == os.SCHED_IDLE]
    requires.host(bool(inside), "this host lets nobody be idle")
    assert all(os.getpriority(os.PRIO_PROCESS, one) == 19 for one in inside)
    assert all(os.sched_getaffinity(one) == {mine} for one in inside)
    await worker.close()


@pytest.mark.parametrize(
    ("limits", "usable", "expected"),
    [
        (Limits(), {0, 1, 2, 3}, {0, 1, 2, 3}),
        (Limits(cpu_share=0.5), {0, 1, 2, 3}, {2, 3}),
        (Limits(cpu_share=0.5), {1, 4, 6}, {4, 6}),
        (Limits(cpu_share=0.5), {5}, {5}),
        (Limits(cpu_share=0.5, processors=(0,)), {0, 1}, {0}),
        (Limits(processors=(7,)), {0, 1}, {7}),
    ],
)
def test_a_share_leaves_half_of_the_processors_alone_unless_told_where(limits, usable, expected):
    assert processors_for(limits, frozenset(usable)) == expected


async def test_a_worker_with_a_share_keeps_to_its_half(make_worker):
    """Every process of its session that computes, read from outside."""
    limits = Limits(cpu_share=0.5, priority=Priority.IDLE)
    worker = await make_worker("double", limits)
    inside = [one for one in _descendants(os.getpid()) if _policy(one) == os.SCHED_IDLE]
    requires.host(bool(inside), "this host lets nobody be idle")
    expected = processors_for(limits, frozenset(os.sched_getaffinity(0)))
    assert all(os.sched_getaffinity(one) == expected for one in inside)
    await worker.close()


@pytest.mark.parametrize("priority", list(Priority))
async def test_a_worker_asks_for_longer_turns_than_anybody(make_worker, priority):
    """Whoever has shorter ones need not wait for the end of its turn."""
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    requires.host(release >= (6, 12), "Linux before 6.12 knows no turns")
    worker = await make_worker("double", Limits(priority=priority))
    turns = [_turn_ms(one) for one in _descendants(os.getpid())]
    assert max(turns) == 100
    assert _turn_ms(0) < 100
    await worker.close()


_AGENT = """
import os, threading
from wardround.sandbox import Priority, agent_yields
held = threading.Event()
threading.Thread(target=held.wait, daemon=True).start()
agent_yields(Priority.LOWEST)
print(*{os.getpriority(os.PRIO_PROCESS, int(one)) for one in os.listdir("/proc/self/task")})
print(os.sched_getscheduler(0))
"""


def test_an_agent_gives_way_with_all_its_threads_and_is_never_idle():
    done = subprocess.run(
        [sys.executable, "-c", _AGENT], capture_output=True, text=True, check=True
    )
    niceness, policy = done.stdout.split("\n")[:2]
    assert niceness == "19"
    assert int(policy) == os.SCHED_OTHER


def _policy(process: int) -> int | None:
    try:
        return os.sched_getscheduler(process)
    except OSError:
        return None


def _turn_ms(process: int) -> float:
    """Read a process's turn as the kernel has it (sched_getattr(2))."""
    number = {"x86_64": 315, "aarch64": 275}[libc.MACHINE]
    told = ctypes.create_string_buffer(48)
    libc.syscall(number, process, ctypes.c_void_p(ctypes.addressof(told)), len(told), 0)
    return struct.unpack("=IIQiIQQQ", told.raw)[5] / 1e6


def _descendants(process: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text(errors="replace")
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]
