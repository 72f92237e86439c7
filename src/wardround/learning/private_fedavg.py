"""The task `private_fedavg`: local DP-SGD at each site, and the mean of the sites' updates.

Each site starts at the federation's coefficients and takes noisy steps on its own patients, every
one of them private by itself with the site's own, whole noise; what it then sends, masked, is
post-processing of them. So the guarantee is for a patient at a hospital, not for the hospital, and
nobody's noise depends on another's. (McMahan et al. 2018 clip the update of a whole user; here the
user is a patient, and the steps inside are those of Abadi et al. 2016.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.glm import check_coefficients, largest_coefficient
from wardround.learning.local_sgd import clip
from wardround.learning.parameters import Reader
from wardround.learning.records import Records, Variables
from wardround.learning.scaling import Scaling, training_gradients

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

MAXIMUM_LOCAL_STEPS = 100_000


@dataclass(frozen=True, eq=False)
class MeanUpdate:
    """The mean (m,) of the sites' updates if all of them answered.

    Sites weigh the same: how many patients each has is nobody's business.
    """

    update: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PrivateFedAvg:
    """Lanes: the update, intercept first, in units of its largest length.

    All of ``training`` is the study's: ``patients`` a site is expected to have in a step,
    ``decay`` the ridge per patient, ``update_norm`` the longest update, ``sites`` their number.
    """

    kind: ClassVar[str] = "private_fedavg"

    variables: Variables
    scaling: Scaling
    coefficients: NDArray[np.float64]
    local_steps: int
    learning_rate: float
    clipping_norm: float
    update_norm: float
    decay: float
    patients: float
    sites: int
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the scaling and what the study fixes (``training``)."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        training = reader.table("training")
        task = cls(
            variables=variables,
            scaling=Scaling.parse(reader, variables),
            coefficients=check_coefficients(variables, model),
            local_steps=training.whole("local_steps", 1, MAXIMUM_LOCAL_STEPS),
            learning_rate=training.number("learning_rate", 1e-9, 1e3),
            clipping_norm=training.number("clipping_norm", 1e-9, 1e6),
            update_norm=training.number("update_norm", 1e-9, 1e6),
            decay=training.number("decay", 0.0, 1e9),
            patients=training.number("patients", 1e-9, 1e9),
            sites=training.whole("sites", 1, 1 << 20),
        )
        training.done()
        reader.done()
        return task

    @property
    def lanes(self) -> int:
        """One per coefficient."""
        return len(self.variables.features) + 1

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's gradient at the model, in units of the clipping norm."""
        family = self.variables.family
        return (
            training_gradients(family, self.scaling, records, self.coefficients)
            / self.clipping_norm
        )

    def step(self, weights: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
        """One local step along the noisy sum ``total`` of the clipped rows, both (lanes,).

        The result is held to `update_norm` around the start, and to where a next step can begin:
        one that were refused would tell where noisy steps led, before anything is charged for them.
        """
        direction = total * (self.clipping_norm / self.patients)
        direction[1:] -= self.decay * weights[1:]
        moved = weights + self.learning_rate * direction - self.coefficients
        limit = largest_coefficient(self.variables.family)
        held = np.clip(self.coefficients + clip(moved, self.update_norm), -limit, limit)
        return np.asarray(held, dtype=np.float64)

    def update(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the site answers, at most 1 long, shape (lanes,)."""
        return clip((weights - self.coefficients) / self.update_norm, 1.0)

    def read(self, total: NDArray[np.float64], noise: float) -> MeanUpdate:
        """Divide by the number of sites. There is no noise beside that of the sites' steps."""
        return MeanUpdate(total * (self.update_norm / self.sites))
