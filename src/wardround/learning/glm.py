"""Generalised linear models: predictions, the log-likelihood and its derivatives, at one site.

The linear predictor is eta = b0 + sum_j b_j z_j with z = (x - centre) / scale. With the mean mu
(logistic: 1 / (1 + exp(-eta)); linear: eta) and the weight w = d mu / d eta, the log-likelihood
has gradient Z'(y - mu) and observed information Z' diag(w) Z, both sums over records (McCullagh
and Nelder, Generalized Linear Models, 2nd ed., section 2.5). For the linear model the
log-likelihood is -1/2 of the residual sum of squares: the variance is estimated at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.parameters import Reader
from wardround.learning.records import Family, Variables

MAXIMUM_COEFFICIENT = 1e3
"""Per standard deviation, for a yes/no outcome: beyond it a fit is running away."""

_FINEST_SCALE = 2.0**-20
"""A feature's standard deviation must be at least this share of its plausible range."""


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Federated means and standard deviations, shape (features,), that all sites apply."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def parse(cls, reader: Reader, variables: Variables) -> Standardisation:
        """Read ``centre`` and ``scale`` and hold them to the variables' ranges."""
        count = len(variables.features)
        centre, scale = reader.numbers("centre", count), reader.numbers("scale", count)
        width = variables.high - variables.low
        if not bool(((centre >= variables.low) & (centre <= variables.high)).all()):
            raise reader.malformed("centre", "must lie within the features' ranges")
        if not bool(((scale >= width * _FINEST_SCALE) & (scale <= width)).all()):
            raise reader.malformed("scale", "must be sensible for the features' ranges")
        return cls(centre, scale)

    def design(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised features behind a column of ones, shape (records, features + 1)."""
        z = np.empty((len(x), len(self.centre) + 1))
        z[:, 0] = 1.0
        np.divide(x - self.centre, self.scale, out=z[:, 1:])
        return z

    def largest(self, variables: Variables) -> NDArray[np.float64]:
        """The largest absolute value in each column of any design, shape (features + 1,)."""
        reach = np.maximum(variables.high - self.centre, self.centre - variables.low)
        return np.append(1.0, reach / self.scale)


@dataclass(frozen=True, eq=False)
class Sums:
    """Log-likelihood, gradient (m,), information (m, m) and record count at some coefficients."""

    log_likelihood: float
    gradient: NDArray[np.float64]
    information: NDArray[np.float64]
    records: int


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A fitted model: intercept first, then one coefficient per standardised feature."""

    family: Family
    features: tuple[str, ...]
    standardisation: Standardisation
    coefficients: NDArray[np.float64]

    def scores(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The linear predictor of each record, shape (records,); ``x`` in the concepts' units."""
        predictor: NDArray[np.float64] = self.standardisation.design(x) @ self.coefficients
        return predictor

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability (logistic) or the expected outcome (linear), shape (records,)."""
        return mean(self.family, self.scores(x))

    def per_unit(self) -> NDArray[np.float64]:
        """Intercept and coefficients for features in their own units, shape (features + 1,)."""
        slopes = self.coefficients[1:] / self.standardisation.scale
        intercept = self.coefficients[0] - float(
            np.cumsum(slopes * self.standardisation.centre)[-1]
        )
        return np.append(intercept, slopes)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The numbers to keep: ``coefficients``, ``centre``, ``scale``."""
        return {
            "coefficients": self.coefficients,
            "centre": self.standardisation.centre,
            "scale": self.standardisation.scale,
        }

    @classmethod
    def from_arrays(
        cls,
        family: Family,
        features: tuple[str, ...],
        arrays: Mapping[str, NDArray[np.float64]],
    ) -> LinearModel:
        """The reverse of `arrays`; names, shapes and dtypes are checked by whoever loaded them."""
        standardisation = Standardisation(arrays["centre"], arrays["scale"])
        return cls(family, features, standardisation, arrays["coefficients"])


def mean(family: Family, eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """The expected outcome for a linear predictor."""
    if family is Family.LINEAR:
        return eta
    small = np.exp(-np.abs(eta))  # never overflows
    probability: NDArray[np.float64] = np.where(eta >= 0, 1.0, small) / (1.0 + small)
    return probability


def log_likelihood(
    family: Family, y: NDArray[np.float64], eta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each record, shape (records,); for the linear model -1/2 of its squared residual."""
    if family is Family.LINEAR:
        return -0.5 * (y - eta) ** 2
    likelihood: NDArray[np.float64] = (
        y * eta - np.maximum(eta, 0.0) - np.log1p(np.exp(-np.abs(eta)))
    )
    return likelihood


def evaluate(
    family: Family,
    design: NDArray[np.float64],
    y: NDArray[np.float64],
    coefficients: NDArray[np.float64],
) -> Sums:
    """The sums over records that one Newton step needs."""
    eta = design @ coefficients
    mu = mean(family, eta)
    weight = np.ones(len(y)) if family is Family.LINEAR else mu * (1.0 - mu)
    return Sums(
        log_likelihood=float(log_likelihood(family, y, eta).sum()),
        gradient=design.T @ (y - mu),
        information=design.T @ (design * weight[:, None]),
        records=len(y),
    )


def likelihood_bound(
    variables: Variables, largest: NDArray[np.float64], coefficients: NDArray[np.float64]
) -> tuple[float, float]:
    """Provable bounds for any one record: of |y - mu|, and of its log-likelihood's magnitude.

    ``largest`` bounds the design's columns, so |eta| <= sum_j largest_j |b_j|.
    """
    # A running sum, not a pairwise one: the order, and so the last bit, is the same everywhere.
    predictor = float(np.cumsum(largest * np.abs(coefficients))[-1])
    if variables.family is Family.LOGISTIC:
        return 1.0, predictor + 1.0  # log(1 + e^|eta|) <= |eta| + log 2
    residual = max(abs(variables.outcome_low), abs(variables.outcome_high)) + predictor
    return residual, 0.5 * residual * residual


def largest_coefficient(family: Family) -> float:
    """Beyond which in magnitude no coefficient of a task's model may lie."""
    return MAXIMUM_COEFFICIENT if family is Family.LOGISTIC else 1e15


def check_coefficients(
    variables: Variables, model: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The task's model as coefficients; raise WR-LEARN-004 where it can't be one."""
    limit = largest_coefficient(variables.family)
    if (
        model is None
        or model.shape != (len(variables.features) + 1,)
        or model.dtype != np.float64
        or not bool((np.abs(model) <= limit).all())
    ):
        raise WardroundError(
            "WR-LEARN-004",
            "A task's model is not one finite coefficient per feature and an intercept.",
            "If a fit runs away, set a larger ridge (model.ridge); otherwise run the same "
            "Wardround version everywhere.",
            path="task.model",
        )
    return model
