"""The few Linux calls that Python has no function for, as functions that raise ``OSError``."""

from __future__ import annotations

import ctypes
import os
import platform

_LIBC = ctypes.CDLL(None, use_errno=True)

MACHINE = platform.machine()
"""The processor: ``x86_64`` or ``aarch64`` where system calls are known to us."""

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4

_CAPABILITY_VERSION_3 = 0x20080522


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, argument: int = 0) -> int:
    """Operate on this process; see prctl(2)."""
    zero = ctypes.c_ulong(0)
    result = int(_LIBC.prctl(option, ctypes.c_ulong(argument), zero, zero, zero))
    return _checked(result, f"prctl {option}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces; see unshare(2)."""
    _checked(int(_LIBC.unshare(ctypes.c_int(flags))), "unshare")


def mlockall(flags: int) -> None:
    """Keep this process's memory out of swap; see mlockall(2)."""
    _checked(int(_LIBC.mlockall(ctypes.c_int(flags))), "mlockall")


def syscall(number: int, *arguments: int | ctypes.c_void_p) -> int:
    """Make a system call that the C library has no function for."""
    wide = [a if isinstance(a, ctypes.c_void_p) else ctypes.c_long(a) for a in arguments]
    return _checked(int(_LIBC.syscall(ctypes.c_long(number), *wide)), f"system call {number}")


class _SchedulingAttributes(ctypes.Structure):
    """``struct sched_attr`` in its first version (linux/sched/types.h)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def set_turn(number: int, *, policy: int, nice: int, turn_ns: int) -> None:
    """Say how long this thread's turns on a processor may be; see sched_setattr(2).

    ``number`` is that call's. Linux before 6.12 knows no such turns and ignores ``turn_ns``.
    """
    asked = _SchedulingAttributes(policy=policy, nice=nice, runtime_ns=turn_ns)
    asked.size = ctypes.sizeof(asked)
    syscall(number, 0, ctypes.c_void_p(ctypes.addressof(asked)), 0)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityWord(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def set_no_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets of this thread; see capset(2)."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (_CapabilityWord * 2)()
    _checked(int(_LIBC.capset(ctypes.byref(header), words)), "capset")


def has_capabilities() -> bool:
    """Whether this thread holds or could regain any capability; see capget(2)."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (_CapabilityWord * 2)()
    _checked(int(_LIBC.capget(ctypes.byref(header), words)), "capget")
    return any(word.effective or word.permitted or word.inheritable for word in words)
