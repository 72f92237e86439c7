"""The tasks `newton_logistic` and `newton_linear`: one Newton step's sums in one vector.

The sums aren't suppressed: they are taken at coefficients that the coordinator chooses, and a
coordinator that chose them to single out a record would learn about it from sums alone. Only noise
prevents that; the bound on coefficients, the cohort and the count of opened numbers make it harder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Answer, Limits, unit
from wardround.learning.glm import (
    Standardisation,
    Sums,
    check_coefficients,
    evaluate,
    likelihood_bound,
)
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Records, Split, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

_COARSE = 2.0**20
"""The gradient travels as a multiple of 2^-20 units and a remainder in units 2^20 times finer.

The coefficients are exactly as good as the gradient they make zero. Twenty fractional bits fit
into the ring for any cohort up to 2^20 sites, so the multiples are summed without rounding, and
the remainders carry the rest to below a double's own precision, however wide the plausible ranges
are. The information needs no such care: it steers the steps and gives the standard errors.
"""


@dataclass(frozen=True, eq=False)
class Newton:
    """One Newton step's sums; `NEWTON` has the task kind for each family.

    Lanes: gradient coarse (m), gradient fine (m), information (m (m + 1) / 2: its upper
    triangle, row by row), log-likelihood, records; m = features + 1."""

    kind: ClassVar[str]
    family: ClassVar[Family]

    variables: Variables
    standardisation: Standardisation
    coefficients: NDArray[np.float64]

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``centre``, ``scale`` and the coefficients at which sums are wanted."""
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        if variables.family is not cls.family:
            raise reader.malformed("variables.family", f"must be {cls.family}")
        standardisation = Standardisation.parse(reader, variables)
        reader.done()
        return cls(variables, standardisation, check_coefficients(variables, model))

    @property
    def units(self) -> NDArray[np.float64]:
        """Bounds of each lane for a single record, as powers of two."""
        largest = self.standardisation.largest(self.variables)
        residual, likelihood = likelihood_bound(self.variables, largest, self.coefficients)
        weight = 0.25 if self.variables.family is Family.LOGISTIC else 1.0
        coarse = unit(largest * residual)
        pairs = np.triu_indices(len(largest))
        information = unit(weight * largest[pairs[0]] * largest[pairs[1]])
        return np.concatenate(
            [coarse, coarse / _COARSE, information, unit(likelihood)[None], [1.0]]
        )

    def contribute(self, records: Records, limits: Limits) -> Answer:
        """Sums over the training records."""
        x, y = records.of(Split.TRAIN)
        m = len(self.coefficients)
        sums = evaluate(self.variables.family, self.standardisation.design(x), y, self.coefficients)
        step = self.units[m : 2 * m]
        coarse = np.rint(sums.gradient / step) * step
        lanes = [coarse, sums.gradient - coarse, sums.information[np.triu_indices(m)]]
        return Answer(np.concatenate([*lanes, [sums.log_likelihood, float(sums.records)]]))

    def read(self, lanes: NDArray[np.float64]) -> Sums:
        """The federation's sums at these coefficients."""
        m = len(self.coefficients)
        information = np.zeros((m, m))
        pairs = np.triu_indices(m)
        information[pairs] = lanes[2 * m : -2]
        information.T[pairs] = lanes[2 * m : -2]
        return Sums(
            log_likelihood=float(lanes[-2]),
            gradient=lanes[:m] + lanes[m : 2 * m],
            information=information,
            records=round(lanes[-1]),
        )


class NewtonLogistic(Newton):
    """`newton_logistic`."""

    kind = "newton_logistic"
    family = Family.LOGISTIC


class NewtonLinear(Newton):
    """`newton_linear`."""

    kind = "newton_linear"
    family = Family.LINEAR


NEWTON: Mapping[Family, type[Newton]] = {
    Family.LOGISTIC: NewtonLogistic,
    Family.LINEAR: NewtonLinear,
}
"""The task kind for each family."""
