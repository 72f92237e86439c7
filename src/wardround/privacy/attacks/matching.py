"""A record from its gradient by search: change a made-up record until its gradient fits.

Zhu, Liu and Han, Deep leakage from gradients, NeurIPS 2019: minimise the squared distance between
the gradient of a dummy record with a dummy label and the one that was seen, by L-BFGS (here BFGS:
the few unknowns of a record need no limited memory). It needs no bias and no layer of a known form,
only the model. Here for generalised linear models and for a network with one hidden layer, with the
derivatives of the gradient worked out by hand, so that neither PyTorch nor finite differences are
needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_FOUND = 1e-12
"""A fit so close, relative to the gradient's squared length, is the record: no start is better."""


class RecordGradient(Protocol):
    """A model whose gradient for one record is known, and how that changes with the record."""

    def gradient(self, x: NDArray[np.float64], y: float) -> NDArray[np.float64]:
        """The loss's gradient in all parameters, flat, for the record ``x``, shape (features,)."""
        ...

    def pull(
        self, x: NDArray[np.float64], y: float, along: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """The derivative of gradient(x, y) . along in ``x`` and in ``y``."""
        ...


@dataclass(frozen=True, eq=False)
class GeneralisedLinearGradient:
    """Logistic (or, with ``linear``, linear) regression: gradient (mu - y) (1, x).

    ``coefficients`` has shape (features + 1,), the intercept first.
    """

    coefficients: NDArray[np.float64]
    linear: bool = False

    def gradient(self, x: NDArray[np.float64], y: float) -> NDArray[np.float64]:
        """Shape (features + 1,)."""
        return (self._mean(x)[0] - y) * np.append(1.0, x)

    def pull(
        self, x: NDArray[np.float64], y: float, along: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """See `RecordGradient.pull`."""
        mean, slope = self._mean(x)
        onto = float(along[0] + along[1:] @ x)
        return (mean - y) * along[1:] + onto * slope * self.coefficients[1:], -onto

    def _mean(self, x: NDArray[np.float64]) -> tuple[float, float]:
        eta = float(self.coefficients[0] + self.coefficients[1:] @ x)
        if self.linear:
            return eta, 1.0
        mean = float(_logistic(np.array(eta)))
        return mean, mean * (1.0 - mean)


@dataclass(frozen=True, eq=False)
class NetworkGradient:
    """One hidden layer of logistic units without biases, one logistic output, cross-entropy.

    ``hidden`` has shape (units, features), ``output`` (units,). Without biases the closed form has
    nothing to divide by, so this is what a search is for. The gradient is flat: first the hidden
    weights, row by row, then the output's.
    """

    hidden: NDArray[np.float64]
    output: NDArray[np.float64]

    def gradient(self, x: NDArray[np.float64], y: float) -> NDArray[np.float64]:
        """Shape (units * features + units,)."""
        active = _logistic(self.hidden @ x)
        residual = float(_logistic(self.output @ active)) - y
        back = residual * self.output * active * (1.0 - active)
        return np.append(np.outer(back, x).ravel(), residual * active)

    def pull(
        self, x: NDArray[np.float64], y: float, along: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float]:
        """See `RecordGradient.pull`; reverse accumulation through `gradient`, line by line."""
        units = len(self.output)
        first, last = along[:-units].reshape(units, -1), along[-units:]
        active = _logistic(self.hidden @ x)
        slope = active * (1.0 - active)
        mean = float(_logistic(self.output @ active))
        residual = mean - y
        back = residual * self.output * slope
        to_back = first @ x
        to_residual = float(to_back @ (self.output * slope) + last @ active)
        to_active = (
            residual * last
            + to_back * residual * self.output * (1.0 - 2.0 * active)
            + to_residual * mean * (1.0 - mean) * self.output
        )
        to_x = first.T @ back + self.hidden.T @ (to_active * slope)
        return to_x, -to_residual


@dataclass(frozen=True, eq=False)
class Match:
    """The record and label whose gradient fits best, and the squared distance that is left."""

    x: NDArray[np.float64] = field(repr=False)
    y: float = field(repr=False)
    distance: float


def match_gradient(
    model: RecordGradient,
    seen: NDArray[np.float64],
    starts: NDArray[np.float64],
    *,
    outcomes: tuple[float, ...] | None = (0.0, 1.0),
    iterations: int = 200,
) -> Match:
    """Search from ``starts``, shape (starts, features), until one fits, and keep the best fit.

    ``outcomes`` are tried one by one (there are only two of a yes/no outcome); with None the
    label is searched for as well. Distances are relative to the seen gradient's squared length.
    """
    from scipy.optimize import minimize

    length = max(float(seen @ seen), np.finfo(np.float64).tiny)
    free = outcomes is None

    def distance(point: NDArray[np.float64], label: float) -> tuple[float, NDArray[np.float64]]:
        x, y = (point[:-1], float(point[-1])) if free else (point, label)
        gap = model.gradient(x, y) - seen
        to_x, to_y = model.pull(x, y, 2.0 * gap / length)
        slope = np.append(to_x, to_y) if free else to_x
        return float(gap @ gap) / length, slope

    best: Match | None = None
    for start in starts:
        for label in (0.0,) if outcomes is None else outcomes:
            point = np.append(start, label) if free else start
            options = {"maxiter": iterations, "gtol": 1e-12}
            if best is not None and best.distance < _FOUND:
                return best
            found = minimize(
                distance, point, args=(label,), jac=True, method="BFGS", options=options
            )
            if best is None or found.fun < best.distance:
                x, y = (found.x[:-1], float(found.x[-1])) if free else (found.x, label)
                best = Match(np.asarray(x, dtype=np.float64), y, float(found.fun))
    if best is None:
        raise ValueError("a search needs a place to start from")
    return best


def _logistic(eta: NDArray[np.float64]) -> NDArray[np.float64]:
    small = np.exp(-np.abs(eta))
    value: NDArray[np.float64] = np.where(eta >= 0, 1.0, small) / (1.0 + small)
    return value
