"""The task `histogram`: counts of each feature's training values between agreed edges.

Quantiles come from it without sorting anybody's values: a coarse histogram first, then one whose
edges lie where the coarse one puts equal shares of the records. Small cells are held back by each
site, so with few records per site a quantile is as rough as its bin is wide; that width is
reported beside it.

The zeros protect against a reader of the totals, who also knows each feature's number of records
(`moments` opens it). They protect less against a coordinator that asks again with other edges:
counts between edges a and c, less those between a and b, are those between b and c. The study's
limit of opened numbers bounds how often it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Answer, Limits
from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Records, Split, Variables
from wardround.privacy import suppress_beside_total

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

MAXIMUM_BINS = 64
"""Per feature; finer questions are refused by every site."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """One feature's histogram: ``edges`` (bins + 1,), ``counts`` (bins,) of what was not held back.

    Bins are closed on the left; the last one on both sides.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]

    def quantile(self, share: float) -> tuple[float, float] | None:
        """The value below which ``share`` of the records lie, and the width of its bin.

        Interpolated linearly inside the bin; None if no record is left.
        """
        below = np.cumsum(self.counts)  # whole numbers: exact in any order
        if below[-1] == 0:
            return None
        target = share * below[-1]
        k = min(int(np.searchsorted(below, target)), len(self.counts) - 1)
        within = (target - (below[k] - self.counts[k])) / max(self.counts[k], 1.0)
        width = float(self.edges[k + 1] - self.edges[k])
        return float(self.edges[k]) + width * float(min(max(within, 0.0), 1.0)), width

    def refined(self, bins: int) -> list[float]:
        """Edges of at most ``bins`` bins over the same range, each with about as many records."""
        edges = [float(self.edges[0])]
        for k in range(1, bins):
            found = self.quantile(k / bins)
            if found is not None and edges[-1] < found[0] < self.edges[-1]:
                edges.append(found[0])
        return [*edges, float(self.edges[-1])]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Lanes: feature by feature, the count of training values in each bin."""

    kind: ClassVar[str] = "histogram"

    variables: Variables
    edges: tuple[NDArray[np.float64], ...]

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``edges``, one increasing list per feature from end to end of its range."""
        no_model(model)
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        edges = reader.rows_of_numbers("edges", len(variables.features))
        reader.done()
        for row, low, high in zip(edges, variables.low, variables.high, strict=True):
            if not 2 <= len(row) <= MAXIMUM_BINS + 1:
                raise reader.malformed("edges", f"must make 1 to {MAXIMUM_BINS} bins")
            if row[0] != low or row[-1] != high or not bool((np.diff(row) > 0).all()):
                raise reader.malformed("edges", "must increase from end to end of the range")
        return cls(variables, edges)

    @property
    def units(self) -> NDArray[np.float64]:
        """One record each."""
        return np.ones(sum(len(row) - 1 for row in self.edges))

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Count, and hold back small cells."""
        x, _ = records.of(Split.TRAIN)
        counts = [np.histogram(column, row)[0] for column, row in zip(x.T, self.edges, strict=True)]
        shown = [suppress_beside_total(one * 1.0, max(limits.minimum_cell, 1)) for one in counts]
        return Answer(np.concatenate([one for one, _ in shown]), sum(few for _, few in shown))

    def read(self, lanes: NDArray[np.float64]) -> tuple[Distribution, ...]:
        """One distribution per feature, in the study's order."""
        cuts = np.cumsum([len(row) - 1 for row in self.edges])[:-1]
        parts = np.split(lanes, cuts)
        return tuple(Distribution(row, part) for row, part in zip(self.edges, parts, strict=True))


def even_edges(low: float, high: float, bins: int) -> list[float]:
    """Edges of ``bins`` equally wide bins."""
    return [low + (high - low) * (k / bins) for k in range(bins)] + [high]
