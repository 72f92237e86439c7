"""Attempts to break out, made from inside a worker; each is refused where the host can do that."""

from __future__ import annotations

import asyncio
import os

import numpy as np
import pytest

import requires
from wardround.errors import WardroundError
from wardround.sandbox import ConfinedWorker, Limit, Limits

REFUSED = [1.0]


ATTEMPTS = [
    *((Limit.NETWORK, "socket", f) for f in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK")),
    (Limit.SYSCALLS, "pair"),
    (Limit.FILESYSTEM, "read", "/etc/passwd"),
    (Limit.FILESYSTEM, "read", "/proc/self/environ"),
    (Limit.FILESYSTEM, "read", "/proc/1/status"),
    (Limit.FILESYSTEM, "read", __file__),
    (Limit.FILESYSTEM, "list", "/"),
    (Limit.FILESYSTEM, "list", "/tmp"),
    (Limit.FILESYSTEM, "write", "/tmp/wardround-break-out"),
    (Limit.FILESYSTEM, "write", "/dev/shm/wardround-break-out"),
    (Limit.PROCESSES, "fork"),
    (Limit.SYSCALLS, "exec"),
    (Limit.SYSCALLS, "signal", os.getpid()),
    (Limit.MEMORY, "memory", 4 << 30),
    (Limit.FILES, "files"),
    (Limit.SYSCALLS, "memory file"),
    (Limit.SYSCALLS, "unlimit"),
    (Limit.SYSCALLS, "be dumpable"),
    (Limit.SYSCALLS, "unlock"),
    (Limit.SYSCALLS, "unshare"),
    (Limit.SYSCALLS, "be less nice"),
    (Limit.SYSCALLS, "be scheduled"),
    (Limit.SYSCALLS, "move"),
]


@pytest.fixture(scope="module")
def outcomes(host, entries) -> dict[tuple, list[float]]:
    """Every attempt this host can refuse, made by one worker."""

    async def attempt_all() -> dict[tuple, list[float]]:
        worker = ConfinedWorker(
            "sandbox_entries:attempt", required=frozenset(), use_bubblewrap=False
        )
        await worker.start()
        await worker.load({"a": np.zeros(1)})
        found = {}
        for limit, what, *arguments in ATTEMPTS:
            if limit in host.enforced:
                result = await worker.call({"what": what, "with": arguments})
                found[limit, what, *arguments] = result.tolist()
        await worker.close()
        return found

    return asyncio.run(attempt_all())


def name(attempt: tuple) -> str:
    """The attempt in words, without numbers: test names are the same in every process."""
    return "-".join(part for part in attempt[1:] if isinstance(part, str))


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=name)
def test_it_is_refused(host, outcomes, attempt):
    limit = attempt[0]
    requires.host(limit in host.enforced, f"{limit.value}: {host.missing.get(limit)}")
    assert outcomes[attempt] == REFUSED


async def test_libraries_can_still_be_imported(make_worker):
    worker = await make_worker("late_import")
    assert (await worker.call({})).tolist() == [0.5]


async def test_a_call_by_the_numbers_of_another_mode_ends_the_process(host, make_worker):
    requires.host(os.uname().machine == "x86_64", "x32 exists on x86-64 only")
    requires.host(Limit.SYSCALLS in host.enforced, f"{host.missing.get(Limit.SYSCALLS)}")
    worker = await make_worker("foreign_mode")
    with pytest.raises(WardroundError, match="SIGSYS"):
        await worker.call({})


async def test_memory_that_runs_out_has_a_code_and_the_worker_goes_on(host, make_worker):
    requires.host(Limit.MEMORY in host.enforced, "no bound on memory")
    worker = await make_worker("grow_result", Limits(memory_bytes=1 << 30))
    with pytest.raises(WardroundError, match="WR-SANDBOX-005"):
        await worker.call({"length": 1 << 28, "dtype": "float64"})
    assert (await worker.call({"length": 2, "dtype": "float32"})).size == 2


async def test_a_model_too_large_to_map_ends_the_worker_with_a_code(host, make_worker):
    requires.host(Limit.MEMORY in host.enforced, "no bound on memory")
    worker = await make_worker("double", Limits(memory_bytes=512 << 20))
    with pytest.raises(WardroundError, match="WR-SANDBOX-005"):
        await worker.call({}, np.zeros(64 << 20))
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({}, np.zeros(1))


async def test_processor_time_that_is_spent_ends_the_worker(host, make_worker):
    requires.host(Limit.CPU in host.enforced, "no bound on processor time")
    worker = await make_worker("spin", Limits(cpu_s=1))
    with pytest.raises(WardroundError, match="WR-SANDBOX-011"):
        await worker.call({})
    with pytest.raises(WardroundError, match="WR-SANDBOX-007"):
        await worker.call({})
