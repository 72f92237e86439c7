"""Auditing in one run: many made-up patients, each put in or left out by a fair coin, then guessed.

Steinke, Nasr and Jagielski, Privacy auditing with one (1) training run, NeurIPS 2023: if the
mechanism is (epsilon, delta)-private under adding or removing one patient, then of ``guesses``
guesses about independent fair coins no auditor gets ``correct`` or more right with a probability
above `p_value`. Where that is small, the mechanism isn't (epsilon, delta)-private.

The theorem counts guesses that were fixed beforehand: who looks at the scores first and then
chooses how many to guess finds a bound that doesn't hold. So the number stands in `CanaryPlan`,
the coins are thrown inside `audit_in_one_run`, and no function takes scores and a number of
guesses. Running again until the bound pleases is the same mistake, which no interface prevents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError

Coins: TypeAlias = Callable[[int], NDArray[np.bool_]]
"""Throws so many fair, independent coins."""

ScoreCanaries: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Runs the mechanism once, with those canaries in it that are marked, and scores each canary: the
larger, the likelier it was in. It may look at everything that the mechanism releases, and at the
mechanism's whole code, but at the marks only in order to put the canaries in."""

MAXIMUM_CANARIES = 1 << 20


@dataclass(frozen=True)
class CanaryPlan:
    """What is fixed before the first coin is thrown; raises WR-PRIVACY-030 where it can't be.

    Half of the ``guesses`` (the larger half) say *in*, of the canaries with the largest scores, the
    others *out*, of those with the smallest; about all others the auditor abstains. ``delta`` is
    that of the claim, ``confidence`` the probability with which the bound holds.
    """

    canaries: int
    guesses: int
    delta: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 1 <= self.canaries <= MAXIMUM_CANARIES:
            raise _impossible(f"There can be 1 to {MAXIMUM_CANARIES:,} canaries.")
        if not 1 <= self.guesses <= self.canaries:
            raise _impossible("There can be 1 guess to as many as there are canaries.")
        if not (0 <= self.delta < 1 and 0 < self.confidence < 1):
            raise _impossible("Delta is at least 0 and below 1, the confidence lies between both.")


@dataclass(frozen=True, eq=False)
class CanaryResult:
    """How many guesses were right, and what that says: epsilon is at least ``epsilon``.

    ``scores`` and ``included`` have shape (canaries,), for pictures; they come after the bound.
    """

    plan: CanaryPlan
    correct: int
    epsilon: float
    scores: NDArray[np.float64] = field(repr=False)
    included: NDArray[np.bool_] = field(repr=False)

    def exceeds(self, epsilon: float) -> bool:
        """Whether a mechanism that claims ``epsilon`` is caught."""
        return self.epsilon > epsilon


def audit_in_one_run(plan: CanaryPlan, score: ScoreCanaries, coins: Coins) -> CanaryResult:
    """Throw the coins, run the mechanism once, guess as planned, and bound epsilon from below."""
    included = coins(plan.canaries)
    scores = np.asarray(score(included.copy()), dtype=np.float64)
    if included.shape != (plan.canaries,) or scores.shape != included.shape:
        raise ValueError("one coin and one score for each canary")
    if not bool(np.isfinite(scores).all()):
        raise ValueError("a score is no number")
    order = np.argsort(scores, kind="stable")
    out = plan.guesses // 2
    guessed_out = order[:out]
    guessed_in = order[plan.canaries - (plan.guesses - out) :]
    correct = int(included[guessed_in].sum()) + int((~included[guessed_out]).sum())
    return CanaryResult(plan, correct, lower_bound(plan, correct), scores, included)


def p_value(plan: CanaryPlan, correct: int, epsilon: float) -> float:
    """At most this likely are ``correct`` or more right guesses if (epsilon, delta) holds.

    With W binomial over the guesses, each right with probability e^epsilon / (1 + e^epsilon):
    P[W >= correct] + 2 m delta max_i P[correct > W >= correct - i] / i, m the canaries
    (Steinke, Nasr and Jagielski 2023, the theorem for approximate privacy).
    """
    from scipy.stats import binom

    if not 0 <= correct <= plan.guesses:
        raise ValueError("at most all guesses are right")
    right = 1.0 / (1.0 + math.exp(-epsilon))
    pure = float(binom.sf(correct - 1, plan.guesses, right))
    if plan.delta == 0 or correct == 0:
        return min(pure, 1.0)
    below = np.arange(correct - 1, -1, -1)
    nearly = np.cumsum(binom.pmf(below, plan.guesses, right)) / np.arange(1, correct + 1)
    return min(pure + 2.0 * plan.canaries * plan.delta * float(nearly.max()), 1.0)


def lower_bound(plan: CanaryPlan, correct: int) -> float:
    """The largest epsilon that so many right guesses refute, 0 if they refute none.

    Bisection to 1e-9, ending at the smaller side. The p-value grows with epsilon where it matters;
    the first crossing from 0 upwards is taken, so no larger bound is ever reported.
    """
    level = 1.0 - plan.confidence
    if p_value(plan, correct, 0.0) >= level:
        return 0.0
    low, step = 0.0, 0.125
    while p_value(plan, correct, low + step) < level:
        low += step
        if low > 700:  # e^low is at the end of what a double holds
            return low
    high = low + step
    while high - low > 1e-9:
        middle = (low + high) / 2
        if p_value(plan, correct, middle) < level:
            low = middle
        else:
            high = middle
    return low


def _impossible(problem: str) -> WardroundError:
    return WardroundError(
        "WR-PRIVACY-030",
        f"The audit can't be planned like this. {problem}",
        "Choose canaries, guesses and confidence before the run; the defaults are a fair start.",
    )
