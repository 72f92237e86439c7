"""The task `moments`: means and standard deviations over the training records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.contribution import Answer, Limits
from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Family, Records, Split, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class MomentsTotals:
    """Mean and standard deviation (divisor n) of each feature, and of a measured outcome."""

    records: int
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    outcome_mean: float | None
    outcome_deviation: float | None


@dataclass(frozen=True)
class Moments:
    """Lanes: records; then per variable the sum and the sum of squares of u.

    u = (x - middle) / half-width of the plausible range lies in [-1, 1]. A yes/no outcome is
    counted by `outcome_counts` and left out here.
    """

    kind: ClassVar[str] = "moments"

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
        """One record each: u and its square are at most 1."""
        return np.ones(1 + 2 * len(self._middle))

    @property
    def _low(self) -> NDArray[np.float64]:
        v = self.variables
        return np.append(v.low, v.outcome_low) if v.family is Family.LINEAR else v.low

    @property
    def _high(self) -> NDArray[np.float64]:
        v = self.variables
        return np.append(v.high, v.outcome_high) if v.family is Family.LINEAR else v.high

    @property
    def _middle(self) -> NDArray[np.float64]:
        return self._low + 0.5 * (self._high - self._low)

    @property
    def _half(self) -> NDArray[np.float64]:
        return 0.5 * (self._high - self._low)

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Sums over the training records."""
        x, y = records.of(Split.TRAIN)
        values = np.column_stack([x, y]) if self.variables.family is Family.LINEAR else x
        u = (values - self._middle) / self._half
        return Answer(np.concatenate([[float(len(u))], u.sum(axis=0), (u * u).sum(axis=0)]))

    def read(self, lanes: NDArray[np.float64]) -> MomentsTotals:
        """Turn sums into means and deviations.

        Raises WR-LEARN-014 when no site could contribute, WR-LEARN-010 when a feature is
        constant.
        """
        n = round(lanes[0])
        if n < 2:
            raise nothing_left()
        count = len(self._middle)
        first, second = lanes[1 : 1 + count] / n, lanes[1 + count :] / n
        variance = np.maximum(second - first * first, 0.0)
        mean = np.clip(self._middle + self._half * first, self._low, self._high)
        deviation = self._half * np.sqrt(variance)
        features = len(self.variables.features)
        for name, spread in zip(self.variables.features, variance, strict=False):
            if spread < 1e-10:
                raise WardroundError(
                    "WR-LEARN-010",
                    f"The feature {name} hardly varies within the range its concept allows.",
                    "Leave it out of the study, or narrow the concept's plausible range.",
                )
        linear = self.variables.family is Family.LINEAR
        return MomentsTotals(
            records=n,
            mean=mean[:features],
            deviation=deviation[:features],
            outcome_mean=float(mean[-1]) if linear else None,
            outcome_deviation=float(deviation[-1]) if linear else None,
        )


def nothing_left() -> WardroundError:
    """The error of a total to which no site could contribute."""
    return WardroundError(
        "WR-LEARN-014",
        "No training records are left to compute from.",
        "Widen the selection at the sites, or choose another train/test split.",
    )
