"""What a site carries from one round of training to the next, where each sends only a part.

It is about records and unprotected, so it is held in this process alone: for one run, and for the
patients who consent now. An agent that restarts has lost it, and a withdrawal empties it, since
what a patient had a part in is not to be used any more; either way the next round starts from an
empty memory, and what had not been sent is never sent. Whether an answer came into a total it
learns from the next task. A coordinator that lied about that would spoil its own model, and be
found out by whoever replays the run. Each sum is still over everybody, but those of two runs that
were told different things subtract to one hospital's part, as those of two runs do of which one
left it out: without noise that is so, and the study's limit on opened numbers is over all runs.
"""

from __future__ import annotations

from wardround.ids import RunId, SiteName
from wardround.learning.error_feedback import ErrorFeedback, Turn, counted
from wardround.sandbox.interface import Vector
from wardround.study import Study, Task


class Carried:
    """One site's error feedback, as the door asks for it."""

    def __init__(self, study: Study, me: SiteName) -> None:
        self._study = study
        self._me = me
        self._memory = ErrorFeedback()

    def forget(self) -> None:
        """Empty the memory: the run is over."""
        self._memory.forget()

    def left(self, run: RunId, task: Task, patients: frozenset[bytes]) -> Vector | None:
        """What was computed before and not sent, beside which this task is to be computed."""
        return None if task.turns is None else self._memory.left(self._turn(run, task, patients))

    def answer(self, run: RunId, task: Task, patients: frozenset[bytes], values: Vector) -> Vector:
        """What of the computed ``values``, and of what was left before, has its turn."""
        return self._memory.answer(self._turn(run, task, patients), values)

    def _turn(self, run: RunId, task: Task, patients: frozenset[bytes]) -> Turn:
        turns = task.turns
        assert turns is not None
        told = str(task.parameters.get("included", ""))
        return Turn(
            scope=(run, patients),
            number=turns.number,
            chosen=turns.coordinates,
            first=turns.first,
            counted=counted(told, self._study.site_names, self._me),
            bound=task.bound,
        )
