"""Coming last: what a worker is held to, and what it says where the host can't do it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import requires
from wardround.sandbox import CAPS, Limit, Limits, Priority, probe


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
