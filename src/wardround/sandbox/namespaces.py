"""Users, network, processes and shared memory of the worker's own (namespaces(7)).

The attacker is code inside the worker. A network namespace leaves it no link to send patient data
over even if the system-call filter had a hole; a process namespace hides every other process, so
that it can neither signal nor inspect the agent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wardround.sandbox import libc
from wardround.sandbox.limits import Limit

# The user namespace comes first: it gives an ordinary user the right to make the others.
_KINDS = (
    (Limit.USER_NAMESPACE, "user", libc.CLONE_NEWUSER),
    (Limit.NETWORK_NAMESPACE, "net", libc.CLONE_NEWNET),
    (Limit.IPC_NAMESPACE, "ipc", libc.CLONE_NEWIPC),
    (Limit.PID_NAMESPACE, "pid", libc.CLONE_NEWPID),
)


def identities() -> dict[str, int]:
    """The kernel's number of each namespace this process is in (zero where unknown)."""
    found = {}
    for _, name, _ in _KINDS:
        try:
            found[name] = Path("/proc/self/ns", name).stat().st_ino
        except OSError:
            found[name] = 0
    return found


@dataclass(frozen=True, slots=True)
class Departure:
    """Which namespaces could not be left, and why; whether the next child is in a new one."""

    failed: Mapping[Limit, str]
    needs_child: bool


def leave(outside: Mapping[str, int]) -> Departure:
    """Leave every namespace that is still the agent's.

    ``outside`` are the agent's :func:`identities`. What bubblewrap has already separated is left
    as it is. The process namespace takes hold of the next child, not of the caller.
    """
    failed: dict[Limit, str] = {}
    needs_child = False
    inside = identities()
    for limit, name, flag in _KINDS:
        if inside[name] != outside.get(name):
            continue
        user, group = os.geteuid(), os.getegid()
        try:
            libc.unshare(flag)
            if flag == libc.CLONE_NEWUSER:
                _map_only(user, group)
            needs_child |= flag == libc.CLONE_NEWPID
        except OSError as error:
            failed[limit] = f"the host refuses it: {error.strerror}"
    return Departure(failed, needs_child)


def separated(outside: Mapping[str, int]) -> frozenset[Limit]:
    """Find the namespaces in which this process differs from the agent, by their numbers."""
    inside = identities()
    return frozenset(
        limit for limit, name, _ in _KINDS if inside[name] not in (0, outside.get(name, 0))
    )


def _map_only(user: int, group: int) -> None:
    """Let the one user and group stand for themselves, so that files keep their owner."""
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
