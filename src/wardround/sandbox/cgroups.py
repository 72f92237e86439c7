"""A control group for the worker, where the host has delegated one (cgroups(7), version 2).

It counts what bounds per process don't see, such as memory that is shared, and ends the group as a
whole. Only a delegated tree can be used: under systemd a service with ``Delegate=yes`` and
``DelegateSubgroup=agent``, because a group that holds the agent itself can't hand out controllers.
Version 1 and undelegated trees are left alone and reported as missing.

Where the processor is delegated too, the kernel itself holds the worker's share (``cpu.max``), and
where niceness ends at the group's edge the group's weights take over; the same for the disk.
``memory.high`` is left alone: it slows a worker down without end where ``memory.max`` says no.
"""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from pathlib import Path

from wardround.sandbox.limits import Limits

_MOUNT = Path("/sys/fs/cgroup")
_CONTROLLERS = frozenset({"memory", "pids"})
_OPTIONAL_CONTROLLERS = ("cpu", "io")
_PREFIX = "wardround-worker-"
_PERIOD_US = 100_000
_LEAST_WEIGHT = 1
# Watcher and worker, or bubblewrap's two and the worker, and one to spare while they replace it.
_PROCESSES = 4
_DELEGATION_MARKS = ("user.delegate", "trusted.delegate")
_numbers = itertools.count()


class Group:
    """One worker's control group: create it, add the process before it forks, remove it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.holds_share = False
        """Whether the kernel holds the worker to its share of a processor."""

    @classmethod
    def create(
        cls, limits: Limits, mount: Path = _MOUNT, own: Path = Path("/proc/self/cgroup")
    ) -> Group:
        """Make a group beside or beneath the agent's own and set its bounds; raises ``OSError``."""
        parent = _delegated(mount, own.read_text(encoding="utf-8"))
        for stale in parent.glob(f"{_PREFIX}*"):
            with suppress(OSError):  # still in use
                stale.rmdir()
        folder = parent / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        folder.mkdir()
        group = cls(folder)
        try:
            group._write("memory.max", limits.memory_bytes)
            group._write("pids.max", _PROCESSES)
            with suppress(OSError):  # a kernel that does not count swap
                group._write("memory.swap.max", 0)
            group._give_way(limits)
        except OSError:
            group.remove()
            raise
        return group

    def _give_way(self, limits: Limits) -> None:
        """Bound the share of a processor, and come last, as far as that is delegated."""
        for name in ("cpu.weight", "io.weight"):
            with suppress(OSError):
                self._write(name, _LEAST_WEIGHT)
        with suppress(OSError):
            bound = f"{round(limits.cpu_share * _PERIOD_US)} {_PERIOD_US}"
            self._write("cpu.max", bound)
            told = (self._folder / "cpu.max").read_text(encoding="ascii")
            self.holds_share = told.split() == bound.split()

    def add(self, process: int) -> None:
        """Move a process into the group, with all the children it will have."""
        self._write("cgroup.procs", process)

    def remove(self) -> None:
        """Remove the group; while a process still ends, that is left to the next ``create``."""
        with suppress(OSError):
            self._folder.rmdir()

    def _write(self, name: str, value: int | str) -> None:
        # Not created if absent: the kernel provides these files or the controller is not there.
        with (self._folder / name).open("r+", encoding="ascii") as file:
            file.write(str(value))


def _delegated(mount: Path, membership: str) -> Path:
    """Find the group in which one for a worker may be made."""
    paths = [line[3:] for line in membership.splitlines() if line.startswith("0::/")]
    if not paths:
        raise OSError(errno.ENOENT, "this host has no control groups of version 2")
    own = mount / paths[0].lstrip("/")
    for folder in (own, own.parent) if own != mount else (own,):
        control = folder / "cgroup.subtree_control"
        try:
            if not _is_delegated(folder):
                continue
            if not _CONTROLLERS.issubset(control.read_text(encoding="ascii").split()):
                control.write_text("+memory +pids", encoding="ascii")
        except OSError:
            continue
        for name in _OPTIONAL_CONTROLLERS:
            with suppress(OSError):
                if name not in control.read_text(encoding="ascii").split():
                    control.write_text(f"+{name}", encoding="ascii")
        return folder
    raise OSError(errno.EPERM, "the host delegates no control group to the agent (Delegate=)")


def _is_delegated(folder: Path) -> bool:
    """Whether the host gave this tree away: it belongs to an ordinary user, or systemd marked it.

    An administrator could write anywhere, but the rest of the tree is systemd's.
    """
    if os.geteuid() != 0 and folder.stat().st_uid == os.geteuid():
        return True
    for mark in _DELEGATION_MARKS:
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return False
