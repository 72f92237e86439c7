"""Which files the worker may open: the interpreter and its libraries, to read (landlock(7)).

The attacker is code inside the worker that looks for keys or records, or leaves patient data in a
file for somebody else. Landlock (Linux 5.13) needs no privilege. It does not hide that a file
exists: names, sizes and times stay visible to ``stat`` where ordinary permissions allow.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from wardround.sandbox import libc

# The same numbers on every processor.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_QUERY = 1
_RULE_PATH_BENEATH = 1

_READ_FILE = 1 << 2
_READ_DIRECTORY = 1 << 3

# How many rights on files each version of the interface knows; later ones know as many as 5.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_TCP_BIND_AND_CONNECT = 0b11  # since 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # since 6


def version() -> int:
    """The kernel's Landlock version; raises ``OSError`` where there is none."""
    return libc.syscall(_CREATE_RULESET, 0, 0, _VERSION_QUERY)


def restrict(readable: Iterable[str]) -> None:
    """Deny this process every use of files, except reading at or beneath ``readable``.

    Paths that don't exist are passed over. From version 4 TCP is denied as well, from 6 signals to
    and abstract sockets of processes outside. Needs ``no_new_privileges``. Raises ``OSError``.
    """
    known = version()
    rights = (1 << _FILE_RIGHTS.get(known, _FILE_RIGHTS[5])) - 1
    attributes = struct.pack("=Q", rights)
    if known >= 4:
        attributes += struct.pack("=Q", _TCP_BIND_AND_CONNECT)
    if known >= 6:
        attributes += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = libc.syscall(_CREATE_RULESET, _pointer(attributes), len(attributes), 0)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        directory = stat.S_ISDIR(os.fstat(place).st_mode)
        rights = _READ_FILE | (_READ_DIRECTORY if directory else 0)
        rule = struct.pack("=Qi", rights, place)
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _pointer(rule), 0)
    finally:
        os.close(place)


def _pointer(data: bytes) -> ctypes.c_void_p:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
