"""The task `outcome_counts`: how many records there are, by split and, if yes/no, by outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Answer, Limits
from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Family, Records, Split, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True)
class Counts:
    """Records by split; ``cases`` are those with the outcome (None for a measured outcome)."""

    train: int
    test: int
    train_cases: int | None
    test_cases: int | None


@dataclass(frozen=True)
class OutcomeCounts:
    """Lanes: for train, then test: records without and with the outcome (or just records)."""

    kind: ClassVar[str] = "outcome_counts"

    variables: Variables

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """There is nothing to choose."""
        no_model(model)
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        reader.done()
        return cls(variables)

    @property
    def units(self) -> NDArray[np.float64]:
        """One record each."""
        return np.ones(4 if self.variables.family is Family.LOGISTIC else 2)

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Count. No cell is small: with one, the site would not be asked (`Limits.check`)."""
        counts: list[int] = []
        for split in (Split.TRAIN, Split.TEST):
            _, y = records.of(split)
            if self.variables.family is Family.LOGISTIC:
                counts += [int((y == 0).sum()), int((y == 1).sum())]
            else:
                counts += [len(y)]
        return Answer(np.array(counts, dtype=np.float64))

    def read(self, lanes: NDArray[np.float64]) -> Counts:
        """Name the cells."""
        cells = [round(lane) for lane in lanes]
        if self.variables.family is Family.LINEAR:
            return Counts(cells[0], cells[1], None, None)
        return Counts(cells[0] + cells[1], cells[2] + cells[3], cells[1], cells[3])
