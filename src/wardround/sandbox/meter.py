"""Another process's processor time, read from its clock (clock_getcpuclockid(3)).

What it has spent is no secret of the process's, so no right is needed. Where the process can't be
found, the clock on the wall is taken instead: it runs no slower, so a share stays an upper bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_DEEPEST = 8


def meter_of(process: int) -> Callable[[], float]:
    """A meter, in seconds, of the last process in the line of children that ``process`` began."""
    clock = _clock_of(_last_of_line(process))
    try:
        time.clock_gettime(clock)
    except OSError:
        return time.monotonic
    spent = 0.0

    def read() -> float:
        nonlocal spent
        try:
            spent = time.clock_gettime(clock)
        except OSError:
            pass  # it has ended, and spends no more
        return spent

    return read


def _clock_of(process: int) -> int:
    """How Linux numbers a process's clock: the process's complement, and CPUCLOCK_SCHED."""
    return (~process << 3) | 2


def _last_of_line(process: int) -> int:
    """The worker: what stands between it and us starts one process and waits for it."""
    for _ in range(_DEEPEST):
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        except OSError:
            break
        if not children.split():
            break
        process = int(children.split()[0])
    return process
