"""The worker's command line inside bubblewrap, where that is installed.

It adds what this package can't do by itself: a file tree that holds nothing but the interpreter and
its libraries, so that a file outside can't even be named, and, where it is installed set-user-id,
namespaces on hosts that refuse them to ordinary users. Everything else is applied inside it as
well.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable


def available() -> str | None:
    """The program's path, if there is one."""
    return shutil.which("bwrap")


def wrap(program: str, readable: Iterable[str], command: list[str]) -> list[str]:
    """Return ``command`` to be run in a tree of ``readable`` only, without any right or network."""
    binds = [part for path in readable for part in ("--ro-bind-try", path, path)]
    return [
        program,
        "--unshare-all",
        "--die-with-parent",
        *("--cap-drop", "ALL"),
        *binds,
        *("--proc", "/proc"),
        *("--remount-ro", "/"),
        *("--chdir", "/"),
        "--",
        *command,
    ]
