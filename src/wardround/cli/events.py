"""What a service tells while it runs: words on stderr, or JSON lines on stdout for a program."""

from __future__ import annotations

import sys
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
    return _as_json if json else _as_words


def _as_json(event: str, /, **facts: str | float) -> None:
    sys.stdout.write(orjson.dumps({"event": event, **facts}).decode() + "\n")
    sys.stdout.flush()


def _as_words(event: str, /, **facts: str | float) -> None:
    shown = "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    say(f"{datetime.now(UTC):%H:%M:%S}  {event.replace('-', ' '):<14} {shown}".rstrip())
