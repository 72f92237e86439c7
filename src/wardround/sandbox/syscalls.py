"""The system calls a computation needs, and their numbers.

Everything else is refused. The list holds what numpy and the interpreter use once imported: memory,
time, reading library files (late imports), and messages over the one socket that the worker
inherits. It holds nothing that makes a socket, a process, a thread, a memory file or an io_uring,
changes rights or limits, mounts, traces or signals.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AUDIT_ARCH: Mapping[str, int] = MappingProxyType({"x86_64": 0xC000003E, "aarch64": 0xC00000B7})
"""What seccomp calls each processor's native system calls (linux/audit.h)."""

_COLUMN: Mapping[str, int] = MappingProxyType({"x86_64": 0, "aarch64": 1})

# name: (x86_64, aarch64), from asm/unistd_64.h and asm-generic/unistd.h.
_ALLOWED: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "read": (0, 63),
        "write": (1, 64),
        "readv": (19, 65),
        "writev": (20, 66),
        "pread64": (17, 67),
        "close": (3, 57),
        "close_range": (436, 436),
        "fstat": (5, 80),
        "newfstatat": (262, 79),
        "statx": (332, 291),
        "lseek": (8, 62),
        "faccessat": (269, 48),
        "faccessat2": (439, 439),
        "readlinkat": (267, 78),
        "getdents64": (217, 61),
        "getcwd": (79, 17),
        "mmap": (9, 222),
        "munmap": (11, 215),
        "mprotect": (10, 226),
        "mremap": (25, 216),
        "madvise": (28, 233),
        "brk": (12, 214),
        "futex": (202, 98),
        "rt_sigaction": (13, 134),
        "rt_sigprocmask": (14, 135),
        "rt_sigreturn": (15, 139),
        "sigaltstack": (131, 132),
        "sched_yield": (24, 124),
        "sched_getaffinity": (204, 123),
        "getcpu": (309, 168),
        "clock_gettime": (228, 113),
        "clock_getres": (229, 114),
        "clock_nanosleep": (230, 115),
        "nanosleep": (35, 101),
        "gettimeofday": (96, 169),
        "getrandom": (318, 278),
        "getpid": (39, 172),
        "gettid": (186, 178),
        "getuid": (102, 174),
        "geteuid": (107, 175),
        "getgid": (104, 176),
        "getegid": (108, 177),
        "uname": (63, 160),
        "sysinfo": (99, 179),
        "getrusage": (98, 165),
        "times": (100, 153),
        "ppoll": (271, 73),
        "recvmsg": (47, 212),
        "recvfrom": (45, 207),
        "sendmsg": (46, 211),
        "sendto": (44, 206),
        "exit": (60, 93),
        "exit_group": (231, 94),
        "restart_syscall": (219, 128),
        "set_robust_list": (273, 99),
        "rseq": (334, 293),
        "membarrier": (324, 283),
        "dup": (32, 23),
        "fadvise64": (221, 223),
    }
)

_OLD_X86_64: Mapping[str, int] = MappingProxyType(
    {"stat": 4, "lstat": 6, "poll": 7, "access": 21, "readlink": 89, "time": 201}
)

# Allowed with some arguments only; see seccomp.py.
_CONDITIONAL: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "openat": (257, 56),
        "fcntl": (72, 25),
        "ioctl": (16, 29),
        "prlimit64": (302, 261),
    }
)

# Never allowed in a worker once the filter holds; named to load it, to try it, or to come before.
_OTHERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "seccomp": (317, 277),
        "getppid": (110, 173),
        "execve": (59, 221),
        "io_uring_setup": (425, 425),
        "memfd_create": (319, 279),
        "ioprio_set": (251, 30),
        "ioprio_get": (252, 31),
        "sched_setattr": (314, 274),
    }
)


def allowed(machine: str) -> dict[str, int]:
    """Calls that are allowed whatever their arguments: name -> number on ``machine``."""
    column = _COLUMN[machine]
    found = {name: numbers[column] for name, numbers in _ALLOWED.items()}
    return found | dict(_OLD_X86_64) if machine == "x86_64" else found


def number(name: str, machine: str) -> int:
    """Return the number of a conditional or forbidden call that this package itself names."""
    return (_CONDITIONAL.get(name) or _OTHERS[name])[_COLUMN[machine]]
