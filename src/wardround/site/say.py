"""What an agent tells the people at its hospital while it runs."""

from __future__ import annotations

from typing import Protocol

from wardround.errors import WardroundError


class Say(Protocol):
    """Told what the agent does: an event and plain facts, none about patients."""

    def __call__(self, event: str, /, **facts: str | float) -> None:
        """Take note."""
        ...


def told(error: WardroundError) -> dict[str, str]:
    """An error as facts of an event: what is wrong, how to mend it, and the code that explains."""
    return {"code": error.code, "problem": error.problem, "remedy": error.remedy}


def printable(text: str) -> str:
    """Somebody else's text, safe for a terminal: what could steer one becomes a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
