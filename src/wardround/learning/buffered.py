"""The task `buffered_fedavg`: as `fedavg`, for sites that train at their own pace.

A site trains from the newest version of the model that it was given and waits until enough others
are ready. By then the model may have moved on, so it scales what it trained by its staleness tau,
(1 + tau)^-1/2 (Nguyen et al. 2022, FedBuff, section 5), after clipping and before protection
(`scaled`). So the coordinator sees no update, scaled or not.

It does know how stale each contribution is: a ready statement names the version. So the vector has
one number of records and not a scaled one beside it: where one of a cohort is stale, the difference
of the two would be that hospital's own number of records, and sums with several scales could be
taken apart into whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wardround.ids import SiteName
from wardround.learning.contribution import Answer, Limits, unit
from wardround.learning.local_sgd import LocalTraining
from wardround.learning.moments import nothing_left
from wardround.learning.records import Records, Split

_NOT_SCALED = 2
"""The last elements of a contribution: its records, and how many figures were suppressed."""


@dataclass(frozen=True, eq=False)
class BufferedTotals:
    """``summed`` is the sum of n * s * update over the sites (m,), for a site of n records with a
    scale s; ``records`` the sum of n."""

    summed: NDArray[np.float64]
    records: int

    @property
    def damped(self) -> NDArray[np.float64]:
        """The mean over records: what is stale counts for less, and nothing else for more."""
        return self.summed / self.records

    def undamped(self, scale: float) -> NDArray[np.float64]:
        """What is stale counts for less beside what is fresh, and a cohort of stale sites in full.

        ``scale`` is the cohort's `mean_scale`, in which every site counts alike.
        """
        return self.damped / scale


@dataclass(frozen=True, eq=False)
class BufferedFedAvg(LocalTraining):
    """Lanes: n * update (m), and the records n, which `scaled` leaves as they are.

    ``round`` is the version of the model that the site starts from. No unit depends on it, so all
    contributions of a stream go into one sum.
    """

    kind: ClassVar[str] = "buffered_fedavg"

    @property
    def units(self) -> NDArray[np.float64]:
        """The clipped norm bounds every element of an update; scaling only shortens it."""
        m = len(self.coefficients)
        return unit(np.array([*[self.clipping_norm] * m, 1.0]))

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Train on the training records; what comes out is of staleness 0."""
        x, y = records.of(Split.TRAIN)
        update = self.update(self.standardisation.design(x), y)
        n = float(len(y))
        return Answer(np.concatenate([n * update, [n]]))

    def read(self, lanes: NDArray[np.float64]) -> BufferedTotals:
        """Give the summed lanes their names."""
        n = round(lanes[-1])
        if n == 0:
            raise nothing_left()
        return BufferedTotals(lanes[:-1], n)


def scale(staleness: int) -> float:
    """How much of a contribution counts that is so many versions behind: (1 + tau)^-1/2."""
    return float(1.0 / np.sqrt(1.0 + staleness))


def mean_scale(staleness: Mapping[SiteName, int]) -> float:
    """The mean of the scales of a cohort's sites, whose staleness is public."""
    return math.fsum(scale(tau) for tau in staleness.values()) / len(staleness)


def scaled(
    vector: NDArray[np.float32] | NDArray[np.float64], staleness: int
) -> NDArray[np.float64]:
    """One site's vector of `buffered_fedavg`, shape (m + 2,), scaled by its staleness."""
    result = vector.astype(np.float64)
    result[:-_NOT_SCALED] *= scale(staleness)
    return result
