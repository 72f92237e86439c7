"""What every private computation has in common: one vector for each patient, clipped elsewhere.

A confined worker computes `PrivateComputation.rows`: each patient's vector, in units of the bound
that one patient may reach. It never sums them. Trusted code in the agent's own process clips each
to Euclidean length 1, rounds, sums and adds noise (`privacy.clipping`), so that the sensitivity of
what leaves does not depend on what the worker does. Whoever isn't concerned (a held-out patient in
training, say) has a row of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.learning.records import Records, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

Totals = TypeVar("Totals", covariant=True)


class PrivateComputation(Protocol[Totals]):
    """A private task kind with its parameters read.

    ``with_quantile`` asks trusted code for one more lane behind the others: per patient
    +`clipping.QUANTILE_WEIGHT` if the row was at most 1 long before it was clipped, minus that if
    it was longer, and 0 for a row of zeros, which is nobody's (adaptive clipping, Andrew et al.
    2021).

    A row may depend on its own patient only. `mixing` tries that.
    """

    kind: ClassVar[str]

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read a task's parameters strictly; raise WR-LEARN-001, or -004 for the model."""
        ...

    @property
    def variables(self) -> Variables:
        """What the study says about the variables."""
        ...

    @property
    def lanes(self) -> int:
        """How many elements a patient's row has, the quantile's lane left out."""
        ...

    @property
    def with_quantile(self) -> bool:
        """Whether the total has one more lane, for the quantile of the rows' lengths."""
        ...

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each patient's vector, shape (patients, lanes); longer than 1 will be clipped."""
        ...

    def read(self, total: NDArray[np.float64], noise: float) -> Totals:
        """Give the noisy sum, shape (lanes [+ 1],), its names and units.

        ``noise`` is the standard deviation of the noise on each element, in the same units as
        ``total``: what a patient's clipped row is measured in.
        """
        ...


class LocalComputation(PrivateComputation[Totals], Protocol[Totals]):
    """A kind whose sites take noisy steps of their own before they answer (FedAvg).

    ``rows`` are those of one local step at the coefficients that came as the model; trusted code
    clips and sums them, adds the site's whole noise, and asks `step` where to go on; after
    `local_steps` it encodes `update`. All of that is post-processing of the noisy sums.
    """

    @property
    def local_steps(self) -> int:
        """How many noisy steps a site takes for one answer."""
        ...

    def step(self, weights: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
        """The coefficients after a step from ``weights`` along the noisy sum, both (lanes,)."""
        ...

    def update(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What a site answers that began at the model and came to ``weights``: length at most 1."""
        ...


def rows_of(private: PrivateComputation[object], records: Records) -> NDArray[np.float64]:
    """The rows as they go to trusted code, shape (patients, lanes): all finite.

    What isn't (a model that ran away) becomes a row of zeros, as an error would tell of a patient.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = private.rows(records)
    return np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)
