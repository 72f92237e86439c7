"""The task `private_histogram`: noisy counts of each variable's training values, bin by bin.

Variables are the features and a measured outcome. A patient is in one bin of each, so a row of ones
and zeros divided by sqrt(variables) is exactly 1 long. Bins are equally wide over the plausible
range: their edges tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.histogram import MAXIMUM_BINS, Distribution, even_edges
from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Records, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class NoisyDistributions:
    """``counts`` (variables, bins) as they came, each with noise of the deviation ``noise``."""

    edges: tuple[NDArray[np.float64], ...]
    counts: NDArray[np.float64]
    noise: float

    def distributions(self, patients: float) -> tuple[Distribution, ...]:
        """Of all non-negative counts of so many patients those nearest to the noisy ones."""
        return tuple(
            Distribution(edges, nearest_counts(row, patients))
            for edges, row in zip(self.edges, self.counts, strict=True)
        )


@dataclass(frozen=True, eq=False)
class PrivateHistogram:
    """Lanes: variable by variable, one per bin."""

    kind: ClassVar[str] = "private_histogram"

    variables: Variables
    bins: int
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``bins``, the number for each variable."""
        no_model(model)
        reader = Reader(parameters)
        task = cls(Variables.parse(reader), reader.whole("bins", 1, MAXIMUM_BINS))
        reader.done()
        return task

    @property
    def lanes(self) -> int:
        """All bins of all variables."""
        return len(self._edges) * self.bins

    @property
    def _edges(self) -> tuple[NDArray[np.float64], ...]:
        low, high = self.variables.bounds
        ranges = zip(low.tolist(), high.tolist(), strict=True)
        return tuple(np.array(even_edges(*ends, self.bins)) for ends in ranges)

    @property
    def _weight(self) -> float:
        return 1.0 / float(np.sqrt(float(len(self.variables.bounds[0]))))

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's bins."""
        rows = np.zeros((len(records.y), self.lanes))
        everyone = np.arange(len(rows))
        values = records.values(self.variables)
        for i, (column, edges) in enumerate(zip(values.T, self._edges, strict=True)):
            place = np.searchsorted(edges[1:-1], column, side="right")
            rows[everyone, i * self.bins + place] = self._weight
        rows[records.test] = 0.0
        return rows

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyDistributions:
        """Counts of patients, as noisy as they are."""
        counts = total.reshape(len(self._edges), self.bins) / self._weight
        return NoisyDistributions(self._edges, counts, noise / self._weight)


def nearest_counts(noisy: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """The non-negative counts with the sum ``total`` that lie nearest to ``noisy``, (cells,).

    Euclidean projection onto a simplex (Duchi et al. 2008): one number is taken off all cells, and
    what would fall below 0 is 0. All 0 where the total isn't positive.
    """
    if not total > 0:
        return np.zeros_like(noisy)
    falling = np.sort(noisy)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1.0, len(noisy) + 1.0)
    # The largest cell is always used; a total far below its last bit hides that.
    used = max(int(np.count_nonzero(falling > excess)) - 1, 0)
    counts: NDArray[np.float64] = np.maximum(noisy - excess[used], 0.0)
    return counts
