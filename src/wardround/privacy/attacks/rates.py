"""How well scores tell two groups apart, and what differential privacy allows at most.

Under (epsilon, delta) every test of *was this patient in it* with the false-positive rate a has a
true-positive rate of at most e^epsilon a + delta, and of at most 1 - e^-epsilon (1 - delta - a)
(Kairouz, Oh and Viswanath, The composition theorem for differential privacy, 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Curve:
    """A receiver operating characteristic: rates at every threshold, from (0, 0) to (1, 1)."""

    false_positives: NDArray[np.float64] = field(repr=False)
    true_positives: NDArray[np.float64] = field(repr=False)

    @property
    def area(self) -> float:
        """The probability that a member scores higher than a non-member, ties counted half."""
        return float(np.trapezoid(self.true_positives, self.false_positives))

    def at(self, rate: float) -> float:
        """The true-positive rate at no more than this false-positive rate."""
        return float(self.true_positives[self.false_positives <= rate].max())


def curve_of(scores: NDArray[np.float64], member: NDArray[np.bool_]) -> Curve:
    """The curve of scores, where larger says *member*; both groups must have somebody in them."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], member[order]
    last = np.append(np.diff(ordered) != 0, True)  # equal scores are one threshold
    true = np.cumsum(hits)[last] / max(int(hits.sum()), 1)
    false = np.cumsum(~hits)[last] / max(int((~hits).sum()), 1)
    return Curve(np.append(0.0, false), np.append(0.0, true))


def most_true_positives(rate: float, epsilon: float, delta: float) -> float:
    """The largest true-positive rate that (epsilon, delta) allows at a false-positive rate."""
    grown = math.exp(min(epsilon, 700.0))
    return max(0.0, min(1.0, grown * rate + delta, 1.0 - (1.0 - delta - rate) / grown))


def most_advantage(epsilon: float, delta: float) -> float:
    """The largest difference of both rates that (epsilon, delta) allows (Kairouz et al. 2015)."""
    return math.tanh(epsilon / 2.0) + 2.0 * delta / (1.0 + math.exp(min(epsilon, 700.0)))
