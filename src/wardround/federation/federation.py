"""The whole vocabulary of an algorithm: each site computes a vector, the sum comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    values: NDArray[np.float64]
    survivors: tuple[SiteName, ...]
    round: RoundId
    groups: tuple[Total, ...] = ()
    noise: float = 0.0

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

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on."""
        ...
