"""What a benchmark found, on which machine, as a table or as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

Cell: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Report:
    """``results`` are rows for people; ``figures`` the few numbers that are held to a target."""

    results: Sequence[Mapping[str, Cell]]
    figures: Mapping[str, float]
    notes: Sequence[str] = field(default=())


def machine() -> dict[str, Cell]:
    """What the figures depend on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_at_start": load,
    }


def as_json(name: str, where: Mapping[str, Cell], report: Report) -> str:
    """One line: ``name``, ``machine``, ``results`` and ``figures``."""
    document = {
        "name": name,
        "machine": dict(where),
        "results": [dict(row) for row in report.results],
        "figures": dict(report.figures),
    }
    return json.dumps(document, allow_nan=False)


def show(console: Console, name: str, where: Mapping[str, Cell], report: Report) -> None:
    """Print rows, figures and the machine."""
    columns = list(dict.fromkeys(column for row in report.results for column in row))
    table = Table(title=name, title_justify="left")
    for column in columns:
        numeric = any(isinstance(row.get(column), int | float) for row in report.results)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left")
    for row in report.results:
        table.add_row(*(_text(row.get(column)) for column in columns))
    console.print(table)
    for figure, value in report.figures.items():
        console.print(f"{figure} = {_text(value)}", highlight=False)
    for note in report.notes:
        console.print(note, style="dim")
    facts = ", ".join(f"{key.replace('_', ' ')} {_text(value)}" for key, value in where.items())
    console.print(facts, style="dim", highlight=False)


def _text(value: Cell) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
