"""What a service tells while it runs: words on stderr, or JSON lines on stdout for a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

import orjson

from wardround.cli.console import say


class Tell(Protocol):
    """Takes an event and plain facts."""

    def __call__(self, event: str, /, **facts: str | float) -> None:
        """Print it."""
        ...


def printer(json: bool) -> Tell:
    """The way events are told."""
    return _as_json if json else _Words()


def _as_json(event: str, /, **facts: str | float) -> None:
    sys.stdout.write(orjson.dumps({"event": event, **facts}).decode() + "\n")
    sys.stdout.flush()


class _Words:
    """A line for each event. An error is told with its sentences, and when it recurs with a count.

    What goes on for hours is told ever more rarely: at the 2nd, 4th, 8th time and so on.
    """

    def __init__(self) -> None:
        self._last: tuple[str, object] | None = None
        self._times = 0

    def __call__(self, event: str, /, **facts: str | float) -> None:
        """Print it."""
        sentences = [facts.pop(name) for name in ("problem", "remedy") if name in facts]
        if not sentences:
            self._last = None
            _line(event, facts)
            return
        this = (event, facts.get("code"))
        self._times = self._times + 1 if this == self._last else 1
        self._last = this
        if self._times == 1:
            _line(event, facts)
            for sentence in (*sentences, f"More: wardround explain {facts.get('code')}"):
                say(f"{'':10}{sentence}")
        elif self._times & (self._times - 1) == 0:  # a power of two
            _line(event, {**facts, "again": f"{self._times} times"})


def _line(event: str, facts: Mapping[str, str | float]) -> None:
    shown = "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    say(f"{datetime.now(UTC):%H:%M:%S}  {event.replace('-', ' '):<14} {shown}".rstrip())
