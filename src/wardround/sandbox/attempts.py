"""Each limit tried from inside: a worker reports what it saw refused, not what it asked for.

Every attempt is harmless when it succeeds. What would take long or end the process to try (spending
processor time, dumping core) is read back from the kernel instead, and says so here.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from wardround.sandbox import libc, syscalls
from wardround.sandbox.limits import Limit, Limits

NOT_REFUSED = "it was tried and not refused"

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK)
_FOREIGN_FILES = ("/etc/passwd", "/etc/hostname")
_WRITABLE_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/")  # noqa: S108 - to see them refused


def before_filter() -> frozenset[Limit]:
    """Find what only calls tell that the filter will refuse: rights given up, no core."""
    found = set()
    if libc.prctl(libc.PR_GET_NO_NEW_PRIVS) == 1:
        found.add(Limit.NO_NEW_PRIVILEGES)
    if not libc.has_capabilities():
        found.add(Limit.CAPABILITIES)
    if libc.prctl(libc.PR_GET_DUMPABLE) == 0:
        found.add(Limit.CORE_DUMPS)
    return frozenset(found)


def after_filter(limits: Limits) -> frozenset[Limit]:
    """Try everything else; return the limits that held."""
    attempts = {
        Limit.NETWORK: _no_socket,
        Limit.FILESYSTEM: _no_foreign_file,
        Limit.PROCESSES: _no_fork,
        Limit.MEMORY: lambda: _no_memory_beyond(limits.memory_bytes),
        Limit.CPU: lambda: _processor_time_bounded(limits.cpu_s),
        Limit.FILES: lambda: _no_files_beyond(limits.open_files),
        Limit.SYSCALLS: _no_unlisted_call,
    }
    return frozenset(limit for limit, holds in attempts.items() if holds())


def _all_refused(attempts: Iterable[Callable[[], object]]) -> bool:
    for attempt in attempts:
        try:
            attempt()
        except OSError:
            continue
        return False
    return True


def _no_socket() -> bool:
    def make(family: int) -> None:
        socket.socket(family, socket.SOCK_DGRAM).close()

    return _all_refused(partial(make, family) for family in _FAMILIES)


def _no_foreign_file() -> bool:
    def read(path: str) -> None:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def write(folder: str) -> None:
        path = f"{folder}/.wardround-attempt-{os.getpid()}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        Path(path).unlink()

    reading = [partial(read, path) for path in _FOREIGN_FILES]
    writing = [partial(write, folder) for folder in _WRITABLE_FOLDERS]
    return _all_refused(reading + writing)


def _no_fork() -> bool:
    try:
        child = os.fork()
    except OSError:
        return True
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return False


def _no_memory_beyond(memory_bytes: int) -> bool:
    try:
        mmap.mmap(-1, memory_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return True
    return False


def _processor_time_bounded(cpu_s: int) -> bool:
    """Read back: spending the time would take that long."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    return 0 <= soft <= cpu_s


def _no_files_beyond(open_files: int) -> bool:
    opened: list[int] = []
    try:
        for _ in range(open_files + 1):
            opened.append(os.dup(0))
    except OSError as error:
        return error.errno == errno.EMFILE
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False


def _no_unlisted_call() -> bool:
    """Calls that are in nobody's way: without the filter they succeed or find a bad address."""
    for name in ("getppid", "execve", "io_uring_setup", "memfd_create"):
        try:
            libc.syscall(syscalls.number(name, libc.MACHINE), 0, 0, 0)
        except KeyError:
            return False  # no filter is known for this processor
        except OSError as error:
            if error.errno != errno.EPERM:
                return False
        else:
            return False
    return True
