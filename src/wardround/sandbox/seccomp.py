"""The system-call filter, assembled here so that no system library is needed (seccomp(2)).

The attacker is code inside the worker that tries to send patient data out, to reach other
processes, or to attack the kernel through rarely used calls. A call that is not on the list fails
with EPERM, so that a library that merely tries something goes on and a test can see the refusal; a
call made through another processor mode (ia32, x32) ends the process, because its numbers mean
something else. Once loaded, a filter can't be taken off.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable

from wardround.sandbox import libc, syscalls

# Classic BPF (linux/bpf_common.h): load a word, jump, return.
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM

_X32_BIT = 0x40000000
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1

# Offsets in struct seccomp_data; both processors are little-endian.
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FCNTL_COMMANDS = (
    fcntl.F_DUPFD,
    fcntl.F_DUPFD_CLOEXEC,
    fcntl.F_GETFD,
    fcntl.F_SETFD,
    fcntl.F_GETFL,
    fcntl.F_SETFL,
)
# isatty() and close-on-exec, and nothing that reaches a device.
_IOCTL_COMMANDS = (termios.TCGETS, termios.FIOCLEX, termios.FIONCLEX)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _argument(index: int, high: bool = False) -> bytes:
    """Load half of a 64-bit argument."""
    return _step(_LOAD, _ARGUMENTS_AT + 8 * index + (4 if high else 0))


def _one_of(index: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow the call if the low half of an argument is one of ``values``."""
    program = [_argument(index)]
    for value in values:
        program += [_step(_JUMP_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
    return [*program, _step(_RETURN, _REFUSE)]


def _without(index: int, bits: int) -> list[bytes]:
    """Allow the call if none of ``bits`` is set in the low half of an argument."""
    return [
        _argument(index),
        _step(_JUMP_ANY_BIT, bits, 0, 1),
        _step(_RETURN, _REFUSE),
        _step(_RETURN, _ALLOW),
    ]


def _null(index: int) -> list[bytes]:
    """Allow the call if a pointer is null."""
    return [
        _argument(index),
        _step(_JUMP_EQUAL, 0, 0, 2),
        _argument(index, high=True),
        _step(_JUMP_EQUAL, 0, 1, 0),
        _step(_RETURN, _REFUSE),
        _step(_RETURN, _ALLOW),
    ]


_CONDITIONS: dict[str, Callable[[], list[bytes]]] = {
    "openat": lambda: _without(2, _WRITING),
    "fcntl": lambda: _one_of(1, _FCNTL_COMMANDS),
    "ioctl": lambda: _one_of(1, _IOCTL_COMMANDS),
    "prlimit64": lambda: _null(2),  # reading a limit, not setting one
}


def assemble(machine: str) -> bytes:
    """Return the filter's program for ``x86_64`` or ``aarch64``; ``KeyError`` for others."""
    program = [
        _step(_LOAD, _ARCH_AT),
        _step(_JUMP_EQUAL, syscalls.AUDIT_ARCH[machine], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [_step(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1), _step(_RETURN, _KILL_PROCESS)]
    for number in sorted(syscalls.allowed(machine).values()):
        program += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    for name, condition in _CONDITIONS.items():
        checks = condition()
        program += [_step(_JUMP_EQUAL, syscalls.number(name, machine), 0, len(checks)), *checks]
    program.append(_step(_RETURN, _REFUSE))
    return b"".join(program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def load() -> None:
    """Filter this process, all of its threads included, from here on; raises ``OSError``.

    Needs ``no_new_privileges``.
    """
    if libc.MACHINE not in syscalls.AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no filter is known for {libc.MACHINE}")
    steps = assemble(libc.MACHINE)
    program = _Program(len(steps) // 8, steps)
    libc.syscall(
        syscalls.number("seccomp", libc.MACHINE),
        _SET_MODE_FILTER,
        _FLAG_TSYNC,
        ctypes.cast(ctypes.pointer(program), ctypes.c_void_p),
    )
