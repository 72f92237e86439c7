"""Computations that the workers of these tests run: honest ones, and ones that try to break out."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np

from wardround.errors import WardroundError, WardroundErrors

REFUSED, DONE = 1.0, 0.0


def add_up(columns, request, array):
    """Honest: sums of the columns in the order asked for, then the array."""
    sums = [columns[name].sum() for name in request["columns"]]
    return np.array([*sums, *([] if array is None else array)])


def double(columns, request, array):
    return array * 2


def attempt(columns, request, array):
    """Try one thing; tell whether it was refused."""
    try:
        ATTEMPTS[request["what"]](*request.get("with", ()))
    except (OSError, MemoryError, ValueError):
        return np.array([REFUSED])
    return np.array([DONE])


def _write(path: str) -> None:
    Path(path).write_text("x")


def _read(path: str) -> None:
    Path(path).read_bytes()


def _open_many() -> None:
    kept = [os.dup(0) for _ in range(1000)]
    for descriptor in kept:
        os.close(descriptor)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


ATTEMPTS = {
    "socket": lambda family: socket.socket(getattr(socket, family)),
    "pair": socket.socketpair,
    "read": _read,
    "write": _write,
    "list": os.listdir,
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda process: os.kill(process, signal.SIGKILL),
    "memory": lambda size: np.ones(size // 8),
    "files": _open_many,
    "memory file": lambda: os.memfd_create("x"),
    "unlimit": lambda: __import__("resource").setrlimit(7, (64, 64)),
    "be dumpable": lambda: _call("prctl", 4, 1, 0, 0, 0),
    "unlock": lambda: _call("munlockall"),
    "be less nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "be scheduled": lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
    "move": lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1)),
    "unshare": lambda: _call("unshare", 0x10000000),
}


def write_columns(columns, request, array):
    columns["a"][0] = 1.0
    return np.zeros(1)


def write_array(columns, request, array):
    array[0] = 1.0
    return np.zeros(1)


def late_import(columns, request, array):
    import fractions  # not imported by anything before

    return np.array([float(fractions.Fraction(1, 2))])


def fail(columns, request, array):
    raise ValueError(f"the patient's value is {columns['a'][0]}")


def fail_with_code(columns, request, array):
    raise WardroundError("WR-LEARN-001", "A problem.", "A remedy.", path="here")


def fail_with_codes(columns, request, array):
    one, two = (WardroundError(f"WR-LEARN-00{n}", "A problem.", "A remedy.") for n in (1, 2))
    raise WardroundErrors((one, two))


def wrong_shape(columns, request, array):
    return np.zeros((2, 2))


def sleep(columns, request, array):
    time.sleep(request["s"])
    return np.zeros(1)


def spin(columns, request, array):
    while True:
        pass


def work(columns, request, array):
    """Spend so many seconds of processor time."""
    begun = time.process_time()
    while (spent := time.process_time() - begun) < request["s"]:
        pass
    return np.array([spent])


def die(columns, request, array):
    os._exit(3)


def crash(columns, request, array):
    ctypes.string_at(0)


def foreign_mode(columns, request, array):
    """A system call through the numbers of x32."""
    ctypes.CDLL(None).syscall(0x40000000 | 39)


def babble(columns, request, array):
    """Speak to the agent past the protocol: whatever bytes the test asks for."""
    for descriptor in range(3, 4096):
        try:
            os.write(descriptor, request["bytes"].encode())
        except OSError:
            continue
        else:
            time.sleep(60)


def grow_result(columns, request, array):
    return np.zeros(request["length"], request["dtype"])
