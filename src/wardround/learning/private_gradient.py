"""The task `private_gradient`: one step of federated DP-SGD (Abadi et al. 2016).

Each training patient's gradient of the log-likelihood, in units of the clipping norm. A yes/no
outcome gives z (y - mu), a measured one z (t - mu) with t the scaled outcome (`scaling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.glm import check_coefficients
from wardround.learning.parameters import Reader
from wardround.learning.records import Records, Variables
from wardround.learning.scaling import Scaling, training_gradients

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class NoisyGradient:
    """The sum (m,) of clipped gradients with noise of the standard deviation ``noise`` on each
    element; with adaptive clipping also the quantile's lane, in units of a clipped vector."""

    gradient: NDArray[np.float64]
    noise: float
    quantile: float | None


@dataclass(frozen=True, eq=False)
class PrivateGradient:
    """Lanes: the gradient, intercept first.

    ``patients`` is how many training patients a step is expected to have at all sites together, a
    public constant of the study.
    """

    kind: ClassVar[str] = "private_gradient"

    variables: Variables
    scaling: Scaling
    coefficients: NDArray[np.float64]
    clipping_norm: float
    patients: float
    with_quantile: bool

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the scaling, ``clipping_norm``, and what the study fixes (``training``)."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        training = reader.table("training")
        task = cls(
            variables=variables,
            scaling=Scaling.parse(reader, variables),
            coefficients=check_coefficients(variables, model),
            clipping_norm=reader.number("clipping_norm", 1e-9, 1e9),
            patients=training.number("patients", 1e-9, 1e9),
            with_quantile=training.truth("adaptive_clipping"),
        )
        training.done()
        reader.done()
        return task

    @property
    def lanes(self) -> int:
        """One per coefficient."""
        return len(self.variables.features) + 1

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's gradient, in units of the clipping norm."""
        family = self.variables.family
        return (
            training_gradients(family, self.scaling, records, self.coefficients)
            / self.clipping_norm
        )

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyGradient:
        """Back to the gradient's own units."""
        quantile = float(total[self.lanes]) if self.with_quantile else None
        gradient = total[: self.lanes] * self.clipping_norm
        return NoisyGradient(gradient, noise * self.clipping_norm, quantile)
