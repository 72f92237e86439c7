"""Newton's method for a penalised GLM, as a state and a function that advances it.

The same two functions fit a model over a federation, where the sums come from a round, and over
one hospital's own records. Maximised is l(b) - ridge/2 * sum_{j>=1} b_j^2 on standardised
features: the intercept is not penalised, and for the linear model l is -1/2 of the residual sum
of squares. So ridge is 1/C of scikit-learn's LogisticRegression and alpha of its Ridge, on
features brought to mean 0 and standard deviation 1 (divisor n) by pooled constants.
(Hastie, Tibshirani and Friedman, Elements of Statistical Learning, 2nd ed., section 4.4.1.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.glm import MAXIMUM_COEFFICIENT, Sums
from wardround.learning.linalg import cholesky, inverse, solve
from wardround.learning.moments import nothing_left
from wardround.learning.records import Family

_SLACK = 1e-9
"""A fall of the objective by less than this share of it is rounding, not overshooting."""


@dataclass(frozen=True)
class Rule:
    """How a fit is penalised and when it stops; all of it is in the signed study."""

    family: Family
    ridge: float
    tolerance: float
    maximum_steps: int

    def penalty(self, coefficients: int) -> NDArray[np.float64]:
        """The ridge on each coefficient, shape (coefficients,): none on the intercept."""
        weights = np.full(coefficients, self.ridge)
        weights[0] = 0.0
        return weights


@dataclass(frozen=True)
class Grid:
    """Rules that differ in their ridge, the weakest first, and the folds to choose among them."""

    rules: tuple[Rule, ...]
    folds: int


@dataclass(frozen=True)
class Choice:
    """The rule that cross-validation chose, and what it chose by.

    ``losses`` holds each rule's mean loss per held-out record, in the grid's order: minus the
    log-likelihood, so the log loss of a logistic model and half the squared error of a linear one.
    """

    rule: Rule
    grid: Grid
    losses: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Fit:
    """A settled fit: coefficients (m,), their covariance (m, m), and how it was reached.

    The covariance is the inverse of the penalised information (for the linear model times the
    residual variance, with records - m degrees of freedom): with ridge 0 the usual one; with a
    ridge it describes the penalised estimate and leaves out its bias towards 0. ``remaining`` is
    the size of the last Newton step, relative to the coefficients: how far the optimum can be.
    ``settled`` is False where the agreed number of rounds ended the fit before its tolerance did.
    """

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    log_likelihood: float
    records: int
    steps: int
    halvings: int
    remaining: float
    settled: bool = True

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """Square roots of the covariance's diagonal, shape (m,)."""
        errors: NDArray[np.float64] = np.sqrt(np.diagonal(self.covariance))
        return errors


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a fit stands: ``ask`` is where the next sums are wanted; ``fit`` is set at the end."""

    rule: Rule
    ask: NDArray[np.float64]
    fit: Fit | None = None
    steps: int = 0
    halvings: int = 0
    base: NDArray[np.float64] | None = None
    objective: float = -math.inf
    records: int = 0


def start(rule: Rule, features: int) -> Progress:
    """Begin at zero."""
    return Progress(rule, np.zeros(features + 1))


def advance(progress: Progress, sums: Sums) -> Progress:
    """Take the sums at ``progress.ask`` and say where to go next, or finish.

    If the objective fell, the step overshot and is halved. It is compared only over the same
    number of records: when a site has dropped out or come back, the fit goes on from where it
    stands, towards the optimum of the records that now take part.

    Raises WR-LEARN-011 when the data don't determine the coefficients, -012 when the fit doesn't
    settle, -013 when there are too few records.
    """
    rule, at = progress.rule, progress.ask
    check_size(sums.records, len(at))
    steps = progress.steps + 1
    # A running sum: its order, and so its last bit, is the same everywhere.
    objective = sums.log_likelihood - 0.5 * float(np.cumsum(rule.penalty(len(at)) * at * at)[-1])
    overshot = objective < progress.objective - _SLACK * (1.0 + abs(progress.objective))
    if overshot and progress.base is not None and progress.records == sums.records:
        _check_steps(steps, rule)
        middle = 0.5 * (progress.base + at)
        return replace(progress, ask=middle, steps=steps, halvings=progress.halvings + 1)

    factor, step = newton_step(rule, at, sums)
    coefficients = at + step
    remaining = relative_change(step, coefficients)
    if remaining <= rule.tolerance:
        fit = Fit(
            coefficients=coefficients,
            covariance=covariance(rule, factor, sums),
            log_likelihood=sums.log_likelihood,
            records=sums.records,
            steps=steps,
            halvings=progress.halvings,
            remaining=remaining,
        )
        return replace(progress, ask=coefficients, fit=fit, steps=steps)
    _check_steps(steps, rule)
    if rule.family is Family.LOGISTIC and float(np.abs(coefficients).max()) > MAXIMUM_COEFFICIENT:
        raise _unsettled("runs away: the features separate the outcome, or nearly")
    return replace(
        progress,
        ask=coefficients,
        steps=steps,
        base=at,
        objective=objective,
        records=sums.records,
    )


def choose(grid: Grid, log_likelihoods: Sequence[float], records: Sequence[int]) -> Choice:
    """The rule of the least loss, of equals the one with the largest ridge.

    Both sequences are of all fits, fold by fold in the grid's order. Raises WR-LEARN-014 when no
    record was held out.
    """
    count = len(grid.rules)
    losses: list[float] = []
    for i in range(count):
        tried = sum(records[i::count])
        if tried == 0:
            raise nothing_left()
        # Correctly rounded, so the last bit is the same everywhere; `sum` differs between Pythons.
        losses.append(-math.fsum(log_likelihoods[i::count]) / tried)
    best = min(range(count), key=lambda i: (losses[i], -grid.rules[i].ridge))
    return Choice(grid.rules[best], grid, tuple(losses))


def newton_step(
    rule: Rule, at: NDArray[np.float64], sums: Sums
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Cholesky factor (m, m) of the penalised information at ``at``, and the step (m,)."""
    penalty = rule.penalty(len(at))
    factor = cholesky(sums.information + np.diag(penalty))
    return factor, solve(factor, sums.gradient - penalty * at)


def covariance(rule: Rule, factor: NDArray[np.float64], sums: Sums) -> NDArray[np.float64]:
    """The coefficients' covariance (m, m), as `Fit` explains it."""
    inverted = inverse(factor)
    if rule.family is Family.LOGISTIC:
        return inverted
    residual_variance = -2.0 * sums.log_likelihood / (sums.records - len(factor))
    return inverted * residual_variance


def relative_change(step: NDArray[np.float64], coefficients: NDArray[np.float64]) -> float:
    """The largest move of a coefficient, relative to its size where that is above 1."""
    return float(np.max(np.abs(step) / np.maximum(1.0, np.abs(coefficients))))


def check_size(records: int, coefficients: int) -> None:
    """Refuse a model with more than one coefficient per three records (WR-LEARN-013).

    DataSHIELD's default, parameters over records at most 0.33: beyond it a model can spell out
    the records it was fitted to.
    """
    if coefficients > 0.33 * records:
        raise WardroundError(
            "WR-LEARN-013",
            f"There are too few training records for {coefficients} coefficients.",
            "Leave features out of the study, or find more records; three records per "
            "coefficient are the least.",
        )


def _check_steps(steps: int, rule: Rule) -> None:
    if steps >= rule.maximum_steps:
        raise _unsettled(f"did not settle within {rule.maximum_steps} steps")


def _unsettled(how: str) -> WardroundError:
    return WardroundError(
        "WR-LEARN-012",
        f"The fit {how}.",
        "Set a larger ridge (model.ridge), or allow more steps (model.maximum_steps).",
    )
