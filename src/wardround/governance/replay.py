"""The study's algorithm, run again over recorded totals instead of hospitals.

An algorithm sees nothing but totals, and everything else about it follows from the signed study.
So whoever has the totals can compute the model anew, and a coordinator that signed another model
is found out.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.governance.artefact import encode_model
from wardround.governance.case import Case, OpenedRound, OpenedStream, require
from wardround.ids import RoundId, RunId, SiteName
from wardround.secagg import RingArray
from wardround.secagg.encoding import magnitude
from wardround.study import Study, Task
from wardround.study.plan import headroom, noise_deviation
from wardround.trust.canonical import digest

if TYPE_CHECKING:
    from wardround.algorithms.candidate import Candidate

T = TypeVar("T")


class ReplayFederation:
    """A `Federation` that answers each step with the total recorded for it, or with the sum of
    those of its groups.

    Raises WR-GOV-021 when the algorithm asks for another task than was recorded at that step, or
    for more steps than there are.
    """

    def __init__(
        self,
        study: Study,
        steps: Sequence[Sequence[OpenedRound]],
        cohorts: Mapping[RunId, tuple[SiteName, ...]],
        streams: Sequence[OpenedStream] = (),
    ) -> None:
        self._study = study
        self._cohorts = cohorts
        self._steps = steps
        self._step = 0
        self._streams = streams
        self._begun: list[ReplayStream] = []

    @property
    def study(self) -> Study:
        """The signed agreement."""
        return self._study

    @property
    def finished(self) -> bool:
        """Whether every recorded total was asked for."""
        streamed = len(self._begun) == len(self._streams)
        used = all(one.finished for one in self._begun)
        return self._step == len(self._steps) and streamed and used

    async def sum(self, task: Task) -> Total:
        """The recorded total of the next step."""
        step = self._step
        if step >= len(self._steps):
            raise _departed(step, "but the evidence holds no further total")
        self._step += 1
        totals = [self._opened(task, one, step) for one in self._steps[step]]
        return totals[0] if self._study.cohort.groups is None else Total.over(totals)

    def stream(self, task: Task) -> ReplayStream:
        """The recorded totals of the next stream, and a look at every model that is given out."""
        number = len(self._begun)
        if number >= len(self._streams):
            raise _departed(self._step, "which the evidence has no stream for")
        self._begun.append(ReplayStream(self, self._streams[number], task))
        return self._begun[-1]

    def _opened(self, task: Task, one: OpenedRound, step: int) -> Total:
        return self.total(task, one, step, len(self._cohorts[one.run]))

    def total(self, task: Task, one: OpenedRound, step: int, whole: int) -> Total:
        """What a recorded round opened for ``task``, of a run of so many sites."""
        if task.hash != one.manifest.task or one.record.total is None:
            raise _departed(step, "and that is not the task on record")
        roster = len(one.manifest.roster)
        room = headroom(self._study, task, roster, whole)
        if len(one.record.total) != task.elements * task.ring_bits // 8:
            raise _departed(step, "and its total is of another length")
        ring = _ring(one.record.total, task.ring_bits)
        if magnitude(ring) > room.largest_total(len(one.survivors)):
            raise _departed(step, "whose total is larger than the bound on contributions allows")
        noise = noise_deviation(self._study, task.kind, len(one.survivors), roster, whole)
        values = room.encoding.decode(ring)
        return Total(values, one.survivors, RoundId(one.manifest.round), noise=noise)

    def say(self, event: str, **facts: str | float) -> None:
        """Nobody listens to a replay."""


class ReplayStream:
    """A `Stream` of recorded totals. Raises WR-GOV-021 when the algorithm gives out other models
    than were recorded, or asks for more than there is."""

    def __init__(self, federation: ReplayFederation, stream: OpenedStream, task: Task) -> None:
        self._federation = federation
        self._stream = stream
        self._task = task
        self._given = 0
        self._published = 0

    @property
    def finished(self) -> bool:
        """Whether every recorded total was asked for, and every version given out."""
        versions = len(self._stream.versions)
        return (self._given, self._published + 1) == (len(self._stream.completed), versions)

    def __aiter__(self) -> ReplayStream:
        """Itself."""
        return self

    async def __anext__(self) -> Total:
        """The recorded total of the next cohort."""
        step, rounds = self._given, self._stream.completed
        if step >= len(rounds):
            raise _departed(step, "but the evidence holds no further cohort")
        self._given += 1
        federation = self._federation
        return federation.total(self._task, rounds[step], step, len(federation.study.sites))

    def publish(self, model: NDArray[np.float64]) -> None:
        """Compare a model with the version of its number."""
        self._published += 1
        versions = self._stream.versions
        name = digest(np.ascontiguousarray(model, dtype="<f8").data)
        if self._published >= len(versions) or versions[self._published].model != name:
            raise _departed(self._given, "after giving out another model than was recorded")

    async def aclose(self) -> None:
        """Nothing is under way in a replay."""


def check_replay(case: Case) -> str:
    """The algorithm, over the recorded totals, gives the signed model byte for byte."""
    candidate, finished = replay(case)
    require(finished, "The algorithm stops before the last recorded total.")
    model = encode_model(candidate, case.study, case.evidence.run)
    require(
        model.weights == case.evidence.model.weights,
        "The algorithm gives other weights than the ones that were signed.",
    )
    require(
        model.description == case.evidence.model.description,
        "The weights are the same, but their description is not the one that was signed.",
    )
    return (
        f"The algorithm, run again over the {len(case.all_completed)} recorded totals, gives the "
        "same model, byte for byte."
    )


def replay(case: Case) -> tuple[Candidate, bool]:
    """The candidate that the recorded totals lead to, and whether all of them were used."""
    from wardround.algorithms.plan import run_study

    order = {run: number for number, run in enumerate(case.cohorts)}
    rounds = sorted(case.completed, key=lambda one: (one.manifest.step, order[one.run]))
    steps = [list(step) for _, step in groupby(rounds, lambda one: one.manifest.step)]
    require(
        all(
            [one.run for one in step] == list(case.cohorts_at(step[0].manifest.step))
            for step in steps
        ),
        "There is not one total for each step, or for each group and step.",
    )
    federation = ReplayFederation(case.study, steps, case.cohorts, case.streams)
    return without_waiting(run_study(federation)), federation.finished


def _ring(data: bytes, ring_bits: int) -> RingArray:
    """Little-endian bytes as this machine's integers."""
    if ring_bits == 32:
        return np.frombuffer(data, "<u4").astype(np.uint32, copy=False)
    return np.frombuffer(data, "<u8").astype(np.uint64, copy=False)


def without_waiting(coroutine: Coroutine[None, None, T]) -> T:
    """Run a coroutine that never has to wait; works inside a running event loop as well."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise _departed(0, "but waits for something other than a total")


def _departed(step: int, how: str) -> WardroundError:
    return WardroundError(
        "WR-GOV-021",
        f"Run again, the algorithm asks for a task at step {step + 1}, {how}.",
        "Use the Wardround version that ran the study; if it departs there too, the record was "
        "altered or the run did not keep to the study.",
    )
