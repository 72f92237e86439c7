"""Features and a measured outcome on a common scale, from noisy moments, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.learning.glm import Standardisation, mean
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Records, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class Scaling:
    """Centres and scales that every site applies.

    A gradient's length must not depend on the outcome's unit, so a measured outcome is scaled too:
    t = (y - outcome_centre) / outcome_scale. A yes/no outcome stays as it is (0 and 1).
    """

    standardisation: Standardisation
    outcome_centre: float = 0.0
    outcome_scale: float = 1.0

    @classmethod
    def parse(cls, reader: Reader, variables: Variables) -> Scaling:
        """Read ``centre``, ``scale`` and, for a measured outcome, the two of the outcome."""
        standardisation = Standardisation.parse(reader, variables)
        if variables.family is Family.LOGISTIC:
            return cls(standardisation)
        low, high = variables.outcome_low, variables.outcome_high
        centre = reader.number("outcome_centre", low, high)
        scale = reader.number("outcome_scale", (high - low) * 2.0**-20, high - low)
        return cls(standardisation, centre, scale)

    def to_parameters(self, family: Family) -> dict[str, JSON]:
        """The reverse of `parse`."""
        told: dict[str, JSON] = {
            "centre": self.standardisation.centre.tolist(),
            "scale": self.standardisation.scale.tolist(),
        }
        if family is Family.LINEAR:
            told["outcome_centre"], told["outcome_scale"] = self.outcome_centre, self.outcome_scale
        return told

    def outcome(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The outcome on its scale, shape (patients,)."""
        scaled: NDArray[np.float64] = (y - self.outcome_centre) / self.outcome_scale
        return scaled

    def in_units(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coefficients (m,) of the scaled outcome as coefficients of the outcome in its unit."""
        own = coefficients * self.outcome_scale
        own[0] += self.outcome_centre
        return own


def predictor(
    design: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``design`` times ``coefficients``, feature by feature, shape (patients,).

    A matrix product adds in an order that depends on how many rows there are, so that a patient's
    last bit would depend on the others in the batch.
    """
    eta = np.zeros(len(design))
    for column, coefficient in zip(design.T, coefficients.tolist(), strict=True):
        eta += column * coefficient
    return eta


def gradients(
    family: Family, design: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each patient's gradient of the log-likelihood at the coefficients ``at``, (patients, m)."""
    residual = y - mean(family, predictor(design, at))
    each: NDArray[np.float64] = design * residual[:, np.newaxis]
    return each


def training_gradients(
    family: Family, scaling: Scaling, records: Records, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same of records in their own units, and 0 for who is held out, (patients, m)."""
    design = scaling.standardisation.design(records.x)
    each = gradients(family, design, scaling.outcome(records.y), at)
    each[records.test] = 0.0
    return each
