"""What a host can hold a worker to, and how much a worker may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from wardround.errors import WardroundError


class Limit(StrEnum):
    """One thing that a host enforces on a worker, or can't. Values are the names in policies."""

    NETWORK = "network"
    FILESYSTEM = "filesystem"
    PROCESSES = "processes"
    MEMORY = "memory"
    CPU = "cpu"
    FILES = "files"
    SYSCALLS = "syscalls"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    CAPABILITIES = "capabilities"
    CORE_DUMPS = "core_dumps"
    MEMORY_LOCK = "memory_lock"
    USER_NAMESPACE = "namespaces.user"
    NETWORK_NAMESPACE = "namespaces.net"
    PID_NAMESPACE = "namespaces.pid"
    IPC_NAMESPACE = "namespaces.ipc"
    CGROUPS = "cgroups"
    BUBBLEWRAP = "bubblewrap"


MEANING: Mapping[Limit, str] = MappingProxyType(
    {
        Limit.NETWORK: "no socket of any family can be made",
        Limit.FILESYSTEM: "only the interpreter and its libraries can be read, nothing written",
        Limit.PROCESSES: "no process or thread can be started",
        Limit.MEMORY: "memory beyond the bound is refused",
        Limit.CPU: "processor time is bounded over the worker's life",
        Limit.FILES: "the number of open files is bounded",
        Limit.SYSCALLS: "system calls outside a short list are refused",
        Limit.NO_NEW_PRIVILEGES: "no program can give the worker more rights",
        Limit.CAPABILITIES: "the worker holds no administrator's rights",
        Limit.CORE_DUMPS: "a crash leaves no copy of the memory behind",
        Limit.MEMORY_LOCK: "patient data is never swapped to disk",
        Limit.USER_NAMESPACE: "users of its own",
        Limit.NETWORK_NAMESPACE: "a network of its own, without any link",
        Limit.PID_NAMESPACE: "no other process is visible",
        Limit.IPC_NAMESPACE: "no memory shared through the system",
        Limit.CGROUPS: "memory and processes are counted by the kernel as a group",
        Limit.BUBBLEWRAP: "a file tree of its own",
    }
)

BASE_LIMITS = frozenset(Limit) - {Limit.MEMORY_LOCK, Limit.CGROUPS, Limit.BUBBLEWRAP}
"""What an ordinary Linux host enforces for an ordinary user, without any package or set-up."""

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker may use. A limit that is reached ends the call or the worker.

    ``memory_bytes`` bounds the address space, interpreter and shared arrays included (numpy alone
    maps a few hundred MiB). ``cpu_s`` bounds processor time over the worker's whole life,
    ``wall_s`` the time of one call.
    """

    memory_bytes: int = 4096 * MEBIBYTE
    cpu_s: int = 3600
    open_files: int = 64
    wall_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse limits under which no worker could start."""
        floors = {"memory_bytes": 512 * MEBIBYTE, "cpu_s": 1, "open_files": 16, "wall_s": 0.01}
        for name, floor in floors.items():
            if not getattr(self, name) >= floor:
                raise WardroundError(
                    "WR-SANDBOX-010",
                    "A limit of the sandbox is too low for any worker.",
                    f"Set {name} to {floor} or more.",
                    path=name,
                )


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What was enforced on one worker, found by trying it, and why the rest was not.

    ``simulated`` marks a worker that was not confined at all, on purpose.
    """

    enforced: frozenset[Limit]
    missing: Mapping[Limit, str] = field(default_factory=dict)
    simulated: bool = False

    def adding(self, limit: Limit, reason: str | None) -> HostLimits:
        """Say of one more limit that it is enforced, or else for what reason it is not."""
        missing = dict(self.missing)
        missing.pop(limit, None)
        if reason is None:
            return HostLimits(self.enforced | {limit}, missing, self.simulated)
        return HostLimits(self.enforced - {limit}, {**missing, limit: reason}, self.simulated)

    def to_json(self) -> dict[str, object]:
        """Plain values for a report: limit names, and a reason for each missing one."""
        return {
            "enforced": sorted(limit.value for limit in self.enforced),
            "missing": {limit.value: why for limit, why in sorted(self.missing.items())},
            "simulated": self.simulated,
        }


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One line of the table that ``wardround site limits`` prints."""

    limit: Limit
    enforced: bool
    meaning: str
    reason: str
    """Why it is not enforced; empty when it is."""


def describe(host: HostLimits) -> list[LimitRow]:
    """Every limit in a fixed order, for people."""
    return [
        LimitRow(limit, limit in host.enforced, MEANING[limit], host.missing.get(limit, ""))
        for limit in Limit
    ]


def parse_limits(names: Iterable[str]) -> frozenset[Limit]:
    """Read limit names as a hospital's policy writes them; raise ``WR-SANDBOX-009`` on others."""
    known = {limit.value: limit for limit in Limit}
    wanted = tuple(names)
    unknown = sorted(name for name in wanted if name not in known)
    if unknown:
        raise WardroundError(
            "WR-SANDBOX-009",
            f"There is no limit named {', '.join(unknown)}.",
            f"Choose from: {', '.join(known)}.",
        )
    return frozenset(known[name] for name in wanted)


def require(host: HostLimits, required: frozenset[Limit]) -> None:
    """Raise ``WR-SANDBOX-001``, naming every required limit that this host did not enforce."""
    lacking = sorted(required - host.enforced)
    if lacking:
        reasons = "; ".join(
            f"{limit.value} ({host.missing.get(limit, 'not enforced')})" for limit in lacking
        )
        raise WardroundError(
            "WR-SANDBOX-001",
            f"This host does not enforce what the hospital requires: {reasons}.",
            "Mend the host as `wardround site limits` says, or have the steward change the policy.",
        )
