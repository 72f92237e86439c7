"""Running commands in tests: the types behind the fixture ``command`` of ``conftest.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Result:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs one command in this process: ``command("study", "check", path).code == 0``."""

    def __call__(self, *arguments: object) -> Result: ...
