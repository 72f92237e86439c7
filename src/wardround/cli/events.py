"""What a service tells while it runs: words on stderr, or JSON lines on stdout for a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

import orjson

from wardround.cli.console import say

_OF_A_STEP = frozenset({"round", "round-failed", "added-again", "answered", "refused"})
"""Their ``step`` is a step of the run, which programs count from 0 and people from 1."""

_OF_AN_ALGORITHM = {"fedavg": "round", "newton": "step", "noisy-step": "step"}
"""What counts an algorithm's own turns, from 1: statistics went before, as steps of the run."""


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

    What goes on for hours is told ever more rarely: at the 2nd, 4th, 8th time and so on. Steps are
    those that ``run show``, ``site status`` and the report speak of.
    """

    def __init__(self) -> None:
        self._last: tuple[str, object] | None = None
        self._times = 0
        self._step: int | None = None

    def __call__(self, event: str, /, **facts: str | float) -> None:
        """Print it."""
        facts = self._counted(event, facts)
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

    def _counted(self, event: str, facts: Mapping[str, str | float]) -> dict[str, str | float]:
        """The facts, with steps of the run that start at 1."""
        step = facts.get("step")
        if event in _OF_A_STEP and isinstance(step, int | float):
            number = int(step) + 1
            if event == "round":
                self._step = number
            return {**facts, "step": number}
        own = _OF_AN_ALGORITHM.get(event)
        if own is None:
            return dict(facts)
        names = {own: "iteration", f"{own}s": "of"}
        at: dict[str, str | float] = {} if self._step is None else {"step": self._step}
        return at | {names.get(name, name): value for name, value in facts.items()}


def _line(event: str, facts: Mapping[str, str | float]) -> None:
    shown = "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    )
    say(f"{datetime.now(UTC):%H:%M:%S}  {event.replace('-', ' '):<14} {shown}".rstrip())
