"""`python -m benchmarks [NAME] [--json]`, and `--list` for scripts."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

import benchmarks
from benchmarks.report import Report, as_json, machine, show

_NOT_BENCHMARKS = frozenset({"report"})


def names() -> list[str]:
    """Every benchmark of this package."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if name[0] != "_" and name not in _NOT_BENCHMARKS)


def find(name: str) -> Callable[[], Report]:
    """A benchmark's function."""
    run: Callable[[], Report] = importlib.import_module(f"benchmarks.{name}").run
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark; 0 when it ran, 2 when there is none of that name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("name", nargs="?", help="which benchmark; without one, they are listed")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--list", action="store_true", help="the names, one a line")
    chosen = parser.parse_args(arguments)
    known = names()
    if chosen.list or chosen.name is None:
        print("\n".join(known))
        return 0
    if chosen.name not in known:
        print(f"There is no benchmark {chosen.name!r}; there are {known}.", file=sys.stderr)
        return 2
    where = machine()
    report = find(chosen.name)()
    if chosen.json:
        print(as_json(chosen.name, where, report))
    else:
        show(Console(), chosen.name, where, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
