"""What a host can hold a worker to, and how much a worker may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

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
    CPU_SHARE = "cpu_share"
    PRIORITY = "priority"
    IO_PRIORITY = "io_priority"
    PROCESSORS = "processors"


class Priority(StrEnum):
    """How far a worker stands back behind the host's other programs."""

    LOW = "low"
    LOWEST = "lowest"
    IDLE = "idle"


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
        Limit.CPU_SHARE: "it can be held to a share of one processor",
        Limit.PRIORITY: "other programs get the processor first",
        Limit.IO_PRIORITY: "other programs get the disk first",
        Limit.PROCESSORS: "it runs on the processors that are named, if any are",
    }
)

CAPS = frozenset({Limit.CPU_SHARE, Limit.PRIORITY, Limit.IO_PRIORITY, Limit.PROCESSORS})
"""What keeps a computation out of the way of the host's other work. A cap that a hospital sets is
required by that (``study.hospital``); the defaults are tried and reported."""

BASE_LIMITS = frozenset(Limit) - CAPS - {Limit.MEMORY_LOCK, Limit.CGROUPS, Limit.BUBBLEWRAP}
"""What an ordinary Linux host enforces for an ordinary user, without any package or set-up, and
without which patient data would be less safe."""

MEBIBYTE = 1 << 20
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker may use. A limit that is reached ends the call or the worker.

    ``memory_bytes`` bounds the address space, interpreter and shared arrays included (numpy alone
    maps a few hundred MiB). ``cpu_s`` bounds processor time over the worker's whole life,
    ``wall_s`` the time of one call. ``cpu_share`` is a share of one processor: a worker can't
    start threads. ``processors`` are the numbers of those it may run on; empty for any.
    """

    memory_bytes: int = 4096 * MEBIBYTE
    cpu_s: int = 3600
    open_files: int = 64
    wall_s: float = 600.0
    cpu_share: float = 1.0
    priority: Priority = Priority.LOW
    processors: tuple[int, ...] = ()

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Limits:
        """Read what ``dataclasses.asdict`` made, after a way over JSON."""
        priority, processors = Priority(wire["priority"]), tuple(wire["processors"])
        return cls(**{**wire, "priority": priority, "processors": processors})

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
        if not LEAST_SHARE <= self.cpu_share <= 1:
            raise WardroundError(
                "WR-SANDBOX-020",
                "The share of a processor that a worker may use is out of bounds.",
                f"Set cpu_share to a number from {LEAST_SHARE} to 1.",
                path="cpu_share",
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
