"""Checking an installation: each check is one question, its result says how to mend what is wrong.

A check that can't be made is *skipped*, and says why. One that guards security is never taken for
passed because it was skipped: then the installation as a whole is not well either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from wardround.errors import WardroundError, WardroundErrors


class State(StrEnum):
    """How a check came out."""

    WELL = "well"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Warned:
    """What a check returns for something that works, and should be looked at."""

    error: WardroundError


class SkippedError(Exception):
    """A check can't be made; the text says why, in a sentence without a full stop."""


@dataclass(frozen=True)
class Check:
    """One question. ``look`` returns what it found, or raises what is wrong."""

    area: str
    name: str
    look: Callable[[], str | Warned]
    security: bool = False


@dataclass(frozen=True)
class Result:
    """What came of one check."""

    area: str
    name: str
    state: State
    found: str
    security: bool = False
    code: str | None = None
    remedy: str | None = None
    path: str | None = None

    @property
    def passed(self) -> bool:
        """Whether this may stay as it is; a skipped check of security may not."""
        if self.state is State.SKIPPED:
            return not self.security
        return self.state is not State.WRONG


def examine(checks: Iterable[Check]) -> tuple[Result, ...]:
    """Make every check, whatever came of those before it."""
    return tuple(_examine(check) for check in checks)


def passed(results: Iterable[Result]) -> bool:
    """Whether the installation is well as far as could be seen, and all of its security was."""
    return all(result.passed for result in results)


def _examine(check: Check) -> Result:
    try:
        found = check.look()
    except SkippedError as reason:
        return Result(check.area, check.name, State.SKIPPED, str(reason), check.security)
    except WardroundErrors as several:
        first, *more = several.errors
        words = f"{first.problem} And {len(more)} more." if more else first.problem
        return _told(check, State.WRONG, first, words)
    except WardroundError as error:
        return _told(check, State.WRONG, error, error.problem)
    except Exception as error:  # noqa: BLE001 - its text might quote a patient's value
        return Result(
            check.area,
            check.name,
            State.WRONG,
            f"The check itself failed ({type(error).__name__}).",
            check.security,
            "WR-CLI-111",
            "Run it again as the user that the service runs as; if it stays so, report it.",
        )
    if isinstance(found, Warned):
        return _told(check, State.WARNING, found.error, found.error.problem)
    return Result(check.area, check.name, State.WELL, found, check.security)


def _told(check: Check, state: State, error: WardroundError, words: str) -> Result:
    return Result(
        check.area,
        check.name,
        state,
        words,
        check.security,
        error.code,
        error.remedy,
        error.path,
    )
