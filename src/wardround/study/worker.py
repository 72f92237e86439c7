"""How much of the hospital's computer a study may use: the table ``[worker]`` of hospital.toml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wardround.sandbox.limits import LEAST_SHARE, MEBIBYTE, Limit, Limits, Priority
from wardround.study.rules import Closed, Rule


class Worker(Closed):
    """How much of the hospital's computer a study may use."""

    memory_mib: Annotated[
        int,
        Field(ge=512, le=1_048_576),
        Rule("WR-POLICY-045", "be a whole number from 512 to 1048576", "4096 is usual."),
    ] = 4096
    """Memory in MiB."""

    cpu_s: Annotated[
        int,
        Field(ge=1, le=31_536_000),
        Rule("WR-POLICY-046", "be a whole number of seconds, 1 or more", "3600 is usual."),
    ] = 3600
    """Processor time over a worker's whole life, in seconds. Between tasks, one that has lived for
    a quarter of it is replaced, so each task has three quarters at the least."""

    open_files: Annotated[
        int,
        Field(ge=16, le=65_536),
        Rule("WR-POLICY-047", "be a whole number from 16 to 65536", "64 is usual."),
    ] = 64
    """Files open at a time."""

    task_s: Annotated[
        float,
        Field(ge=0.1, le=604_800),
        Rule("WR-POLICY-048", "be a number of seconds from 0.1 to 604800", "600 is usual."),
    ] = 600.0
    """Seconds that one task may take, by the clock on the wall: with half the share of a processor
    it takes twice as long."""

    cpu_share: Annotated[
        float,
        Field(ge=LEAST_SHARE, le=1),
        Rule(
            "WR-POLICY-070",
            f"be a number from {LEAST_SHARE} to 1",
            "0.5 is half of one processor, and a computation never has more than one.",
        ),
    ] = 1.0
    """Share of one processor that a computation may use; it never has more than one. Below 1, it
    keeps to the upper half of the processors by number, unless `processors` names others, and the
    limit `cpu_share` is required."""

    priority: Annotated[
        Priority,
        Rule(
            "WR-POLICY-071",
            'be "low", "lowest" or "idle"',
            "With idle, a computation runs only while nothing else wants the processor.",
        ),
    ] = Priority.LOW
    """How far computations stand back behind the hospital's other programs. `lowest` and `idle`
    require the limit `priority`, `idle` requires `io_priority` too."""

    processors: Annotated[
        tuple[Annotated[int, Field(ge=0, le=8191)], ...],
        Rule(
            "WR-POLICY-072",
            "be a list of processors by their numbers, from 0",
            "Write, for example, processors = [2, 3], or leave it out; `nproc` says how many.",
        ),
    ] = ()
    """The only processors, by number, on which computations run; any, or with a `cpu_share` below 1
    the upper half, if left out. When named, the limit `processors` is required."""

    @property
    def limits(self) -> Limits:
        """The same, as the sandbox takes it."""
        return Limits(
            memory_bytes=self.memory_mib * MEBIBYTE,
            cpu_s=self.cpu_s,
            open_files=self.open_files,
            wall_s=self.task_s,
            cpu_share=self.cpu_share,
            priority=self.priority,
            processors=tuple(sorted(set(self.processors))),
        )

    @property
    def required(self) -> frozenset[Limit]:
        """What a host must enforce for these words to hold: a cap is never just tried."""
        found = set()
        if self.cpu_share < 1:
            found.add(Limit.CPU_SHARE)
        if self.priority is not Priority.LOW:
            found.add(Limit.PRIORITY)
        if self.priority is Priority.IDLE:
            found.add(Limit.IO_PRIORITY)
        if self.processors:
            found.add(Limit.PROCESSORS)
        return frozenset(found)
