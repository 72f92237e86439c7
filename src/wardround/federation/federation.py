"""The whole vocabulary of an algorithm: each site computes a vector, the sum comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.ids import RoundId, SiteName
from wardround.study import Study, Task


@dataclass(frozen=True)
class Total:
    """What a round opened: the sum over the survivors, and nothing about any one of them.

    ``values`` has shape ``(task.length,)``. In a study with groups it is the sum of the groups'
    own totals, which are in ``groups`` in the partition's order; ``round`` is then the first's.
    ``noise`` is the standard deviation of the noise on each element, 0 where there is none.
    ``staleness``, in a stream, is by how many versions each survivor's contribution was behind.
    """

    values: NDArray[np.float64]
    survivors: tuple[SiteName, ...]
    round: RoundId
    groups: tuple[Total, ...] = ()
    noise: float = 0.0
    staleness: Mapping[SiteName, int] = field(default_factory=dict)

    @classmethod
    def over(cls, groups: Sequence[Total]) -> Total:
        """What all groups' totals come to, added up in their order."""
        return cls(
            # One after the other: whoever replays the run must round alike.
            reduce(np.add, [one.values for one in groups]),
            tuple(sorted(site for one in groups for site in one.survivors)),
            groups[0].round,
            tuple(groups),
            math.sqrt(math.fsum(one.noise * one.noise for one in groups)),
        )


class Stream(Protocol):
    """Totals of a task that sites answer at their own pace: an asynchronous iterator.

    Each total is over a cohort of sites that happened to be ready, each of which trained from the
    newest model that it had been given by then.
    """

    def __aiter__(self) -> Stream:
        """Itself."""
        ...

    async def __anext__(self) -> Total:
        """The next total, as soon as enough sites are ready; it never ends by itself.

        Raises `WardroundError` (``WR-ROUND-…``) when no cohort comes together.
        """
        ...

    def publish(self, model: NDArray[np.float64]) -> None:
        """Give out ``model``, shape (m,), to whoever trains next; once after each total."""
        ...

    async def aclose(self) -> None:
        """Ask for no more; contributions that are on their way are not opened."""
        ...


class Federation(Protocol):
    """What an algorithm may do to the hospitals of its study.

    Implementations: the coordinator's driver (over HTTPS or in process), and the replay of
    recorded totals with which an auditor recomputes a model.
    """

    @property
    def study(self) -> Study:
        """The signed agreement that this run keeps."""
        ...

    async def sum(self, task: Task) -> Total:
        """Ask every site for its contribution to ``task``; return the total (with groups: of all).

        Raises `WardroundError` (``WR-ROUND-…``) when no total can be opened under the study's
        rules.
        """
        ...

    def stream(self, task: Task) -> Stream:
        """Ask the sites to train at their own pace, from the task's model to begin with.

        Only in a study with ``[cohort.asynchronous]`` (else WR-STUDY-154) and for kinds that are
        made for it.
        """
        ...

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on."""
        ...
