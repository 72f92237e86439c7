"""The whole vocabulary of an algorithm: each site computes a vector, the sum comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.ids import RoundId, SiteName
from wardround.study import Study, Task


@dataclass(frozen=True)
class Total:
    """What a round opened: the sum over the survivors, and nothing about any one of them.

    ``values`` has shape ``(task.length,)``.
    """

    values: NDArray[np.float64]
    survivors: tuple[SiteName, ...]
    round: RoundId


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
        """Ask every site for its contribution to ``task``; return the total.

        Raises `WardroundError` (``WR-ROUND-…``) when no total can be opened under the study's
        rules.
        """
        ...

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on."""
        ...
