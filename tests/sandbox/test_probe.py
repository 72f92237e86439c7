"""What a host enforces is what was tried on it; and a worker never outlives its agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

import requires
from wardround.sandbox import BASE_LIMITS, Limit, probe

HERE = Path(__file__).parent


def test_every_limit_is_enforced_or_missing_for_a_reason(host):
    assert host.enforced | set(host.missing) == set(Limit)
    assert not host.enforced & set(host.missing)
    assert all(host.missing.values())
    assert not host.simulated


async def test_it_may_be_called_while_an_event_loop_runs(host):
    assert probe(use_bubblewrap=False) == host


def test_a_worker_is_held_to_what_the_probe_found(host):
    requires.host(host.enforced >= BASE_LIMITS, f"missing here: {dict(host.missing)}")


def test_a_container_that_forbids_everything(host):
    """The probe says so, a policy that requires it refuses, and one that does not goes on."""
    requires.host(Limit.SYSCALLS in host.enforced, "cannot forbid anything here either")
    found = _in_a_container_that_forbids("all")
    missing = found["host"]["missing"]
    for limit in ("network", "filesystem", "syscalls", "namespaces.user", "namespaces.pid"):
        assert missing[limit]
    assert {"memory", "cpu", "files", "no_new_privileges"} <= set(found["host"]["enforced"])
    assert found["result"] == [2.0, 2.0]
    assert "WR-SANDBOX-001" in found["refusal"]
    assert "network" in found["refusal"]


def test_bubblewrap_stands_in_for_what_the_agent_may_not_do(host):
    requires.system("bwrap")
    requires.host(Limit.SYSCALLS in host.enforced, "cannot forbid anything here either")
    found = _in_a_container_that_forbids("ours")
    enforced = set(found["host"]["enforced"])
    requires.host("bubblewrap" in enforced, "bubblewrap starts nothing here")
    assert {"filesystem", "namespaces.net", "namespaces.pid"} <= enforced
    assert not {"network", "syscalls"} & enforced


def _in_a_container_that_forbids(what: str) -> dict:
    command = [sys.executable, str(HERE / "handicapped.py"), str(HERE), what]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


_AGENT = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from wardround.sandbox import ConfinedWorker

def children(process):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # a stranger that has just ended
        if parent == process:
            found += [entry.name, *children(int(entry.name))]
    return found

def die():
    print(*children(os.getpid()), flush=True)
    os.kill(os.getpid(), 9)

async def main():
    bubblewrap = sys.argv[2] == "bubblewrap"
    worker = ConfinedWorker(
        "sandbox_entries:spin", required=frozenset(), use_bubblewrap=bubblewrap
    )
    await worker.start()
    await worker.load({"a": np.zeros(1)})
    asyncio.get_running_loop().call_later(0.1, die)
    await worker.call({})

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["plain", "bubblewrap"])
def test_a_busy_worker_dies_with_an_agent_that_is_killed(kind):
    if kind == "bubblewrap":
        requires.system("bwrap")
    # Once in many loaded runs, not understood yet, a plain worker outlived its agent; it then ends
    # by its bound on processor time. Three survivors in a row are a fault in how it is confined.
    assert any(_dies_with_its_agent(kind) for _ in range(3))


def _dies_with_its_agent(kind):
    command = [sys.executable, "-c", _AGENT, str(HERE), kind]
    with tempfile.TemporaryFile("w+") as told:  # a file: a survivor would hold a pipe open
        run = subprocess.run(command, stdout=told, text=True, check=False)
        told.seek(0)
        processes = told.read().split()
    assert run.returncode == -signal.SIGKILL
    assert processes
    deadline = time.monotonic() + 10
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        os.sched_yield()
    survivors = [int(process) for process in processes if _runs(process)]
    for process in survivors:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return not survivors


def _runs(process: str) -> bool:
    """Whether there is such a process, other than one that nobody has reaped yet."""
    try:
        state = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
