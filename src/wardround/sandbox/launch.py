"""Starting and ending the child process, at the agent."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import site
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import wardround
from wardround.sandbox import bubblewrap, cgroups

_TERMINATION_S = 1.0
_SYSTEM_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_LOADER_FILES = ("/etc/ld.so.cache", "/etc/ld.so.preload")


@dataclass(frozen=True)
class Child:
    """A started worker process and the agent's end of its socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    group: cgroups.Group | None

    def stop(self) -> None:
        """Let none of the child's processes run; it is a session, and so a group, of its own."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process.returncode is not None:
            return  # reaped: the number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> int:
        """End the process if it still runs; return its status: a signal's number is negative."""
        self.control.close()
        # The process that keeps watch takes the worker along; what does not go is made to.
        self.process.terminate()
        self.go_on()  # one that is stopped would not hear of it
        try:
            status = self.process.wait(_TERMINATION_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            status = self.process.wait()
        if self.group is not None:
            self.group.remove()
        return 128 - status if status > 128 else status


def packages(entry: str | None) -> tuple[str, ...]:
    """Where our own package lies, and the one that holds the computation."""
    paths = [str(Path(wardround.__file__).parent)]
    if entry is not None:
        spec = importlib.util.find_spec(entry.partition(":")[0].partition(".")[0])
        if spec is not None:
            paths += spec.submodule_search_locations or ([spec.origin] if spec.origin else [])
    return tuple(dict.fromkeys(paths))


def readable_paths(entry: str | None) -> tuple[str, ...]:
    """All a worker may read: the interpreter, installed libraries, our package, ``entry``'s.

    Not the whole of ``sys.path``: that may hold the folder that the agent was started in.
    """
    library = sysconfig.get_config_var("LIBDIR") or ""
    interpreter = Path(sys.executable)
    paths = [
        *_SYSTEM_LIBRARIES,
        *_LOADER_FILES,
        *filter(os.path.isabs, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)),
        str(interpreter),
        str(interpreter.resolve()),
        str(Path(sys.prefix, "pyvenv.cfg")),
        str(Path(library, sysconfig.get_config_var("INSTSONAME") or "")),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        *([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
        *packages(entry),
    ]
    return tuple(path for path in dict.fromkeys(paths) if os.access(path, os.R_OK))


def _environment(entry: str | None) -> dict[str, str]:
    """Nothing of the agent's own but where its libraries are; no library may start threads."""
    environment = {
        "PYTHONPATH": os.pathsep.join(
            dict.fromkeys(str(Path(path).parent) for path in packages(entry))
        ),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
    for library in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "VECLIB"):
        environment[f"{library}_NUM_THREADS"] = "1"
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return environment


# Waits to be put into its control group before it becomes anything that could fork.
_WAIT_THEN = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh")


def launch(
    entry: str | None,
    readable: Sequence[str],
    *,
    bubblewrap_path: str | None,
    group: cgroups.Group | None,
) -> Child:
    """Start a fresh interpreter that waits for its orders; raises ``OSError``.

    It inherits one socket and nothing else.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "wardround.sandbox.worker", str(theirs.fileno())]
    if bubblewrap_path is not None:
        command = bubblewrap.wrap(bubblewrap_path, readable, command)
    if group is not None:
        command = [*_WAIT_THEN, *command]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if group is None else subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=_environment(entry),
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        ours.close()
        if group is not None:
            group.remove()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    child = Child(process, ours, group)
    if group is not None and process.stdin is not None:
        try:
            group.add(process.pid)
            with process.stdin as go:
                go.write(b"\n")
        except OSError:
            child.end()
            raise
    return child
