"""Bounds on memory, processor time, files and processes, and none on the hospital's own work.

The attacker, or the mistake, is a computation that starves a hospital's live systems: it is
the first to go when memory runs out, and may not grow beyond its bounds (setrlimit(2), mlockall(2),
core(5)).
"""

from __future__ import annotations

import resource
from pathlib import Path

from wardround.sandbox import libc
from wardround.sandbox.limits import MEBIBYTE, Limits

CPU_GRACE_S = 2
"""After the first warning a computation has this long before the kernel ends it."""


def go_first() -> None:
    """Offer this process first when the host runs out of memory."""
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def raise_memory_lock() -> None:
    """Let this process lock as much as the host allows; more than that needs an administrator."""
    try:
        resource.setrlimit(
            resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    except (OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))


def lock_memory(limits: Limits) -> None:
    """Keep this process's pages, present and future, out of swap; raises ``OSError``.

    With less than ``memory_bytes`` of allowance it is not tried at all, for later allocations
    would fail at the allowance rather than at the limit. Pages are locked as they are touched.
    """
    allowance = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if allowance != resource.RLIM_INFINITY and allowance < limits.memory_bytes:
        raise OSError(0, f"the host lets it lock {allowance // MEBIBYTE} MiB (LimitMEMLOCK)")
    libc.mlockall(libc.MCL_CURRENT | libc.MCL_FUTURE | libc.MCL_ONFAULT)


def apply(limits: Limits) -> None:
    """Set the bounds, hard ones, so that the worker can't raise them again; raises ``OSError``.

    No file may grow by a byte (shared memory is mapped, not written), whatever the file system
    rules say. The bound on processes does not hold for an administrator; the filter does.
    """
    cpu = (limits.cpu_s, limits.cpu_s + CPU_GRACE_S)
    for kind, (soft, hard) in {
        resource.RLIMIT_AS: (limits.memory_bytes, limits.memory_bytes),
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_NPROC: (1, 1),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
    }.items():
        allowed = resource.getrlimit(kind)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(kind, (soft, hard))


def leave_no_core() -> None:
    """Write no memory image on a crash, and let no process of the same user read this memory.

    A bound of zero alone would not do: it does not hold where cores are piped to a program.
    """
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
