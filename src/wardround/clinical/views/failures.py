"""Why a view can't be read, and why one resource can't be shown through it.

Neither ever shows a value: a problem names a place in the view, a function, a limit.
"""

from __future__ import annotations

from wardround.errors import WardroundError

INVALID_VIEW = "WR-DATA-030"
INVALID_PATH = "WR-DATA-031"
UNSUPPORTED = "WR-DATA-032"
UNKNOWN_CONSTANT = "WR-DATA-033"
NOT_BOOLEAN = "WR-DATA-034"
SEVERAL_VALUES = "WR-DATA-035"
WRONG_TYPE = "WR-DATA-036"
TOO_MUCH_WORK = "WR-DATA-037"
NOT_JSON = "WR-DATA-038"


class PathProblem(Exception):
    """A FHIRPath expression that can't be used, before it is known where in the view it stands."""

    def __init__(self, code: str, problem: str, remedy: str) -> None:
        super().__init__(code)
        self.code, self.problem, self.remedy = code, problem, remedy

    def at(self, place: str) -> WardroundError:
        """The same as an error for the person who wrote the view."""
        return WardroundError(self.code, self.problem, self.remedy, path=place)


class Failure(PathProblem):
    """One resource can't be evaluated; the next one may well be."""


def syntax(problem: str, position: int) -> PathProblem:
    """An expression that is no FHIRPath; ``position`` counts characters from 0."""
    return PathProblem(
        INVALID_PATH,
        f"The FHIRPath expression can't be read at character {position + 1}: {problem}.",
        "Mend the expression.",
    )


def unsupported(what: str) -> PathProblem:
    """An expression that may be FHIRPath, but not of the part that views can use here."""
    return PathProblem(
        UNSUPPORTED,
        f"{what} can't be used in a view here.",
        "Write the path without it; `wardround explain WR-DATA-032` lists what there is.",
    )


def several(what: str) -> Failure:
    """More values than one where one is wanted."""
    return Failure(
        SEVERAL_VALUES,
        f"{what} has several values where one is expected.",
        "Choose one, such as by first() or where(…), or set collection to true.",
    )


def mistyped(problem: str) -> Failure:
    """A value of another type than the view expects."""
    return Failure(WRONG_TYPE, problem, "Correct the path or the type in the view.")


def too_much(what: str) -> Failure:
    """A limit that keeps a view from running for ever."""
    return Failure(
        TOO_MUCH_WORK,
        f"The view needs more than {what} for one resource.",
        "Narrow its paths; a repeat must lead to an element's children.",
    )
