"""Attribute inference: a yes/no feature of a patient, from the model and all else about them.

Yeom, Giacomelli, Fredrikson and Jha, Privacy risk in machine learning: analyzing the connection to
overfitting, CSF 2018, section 4: try both values, weigh how well the model then fits the
patient's outcome by how common each value is, and say the likelier one. Their advantage is how much
more often that is right for patients who were in the training than for others like them. What it
gets right for both alike is what the model knows about disease, not about a patient: no privacy
definition for patients hides that, and none should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Likelihood: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""The log-likelihood that the model gives to each patient's outcome, shape (patients,), if their
features were these, shape (patients, features)."""


@dataclass(frozen=True)
class AttributeResult:
    """Shares of right answers: about members, about others, and by always saying the commoner one.

    ``advantage`` is members less others (Yeom et al.), what the training gave away;
    ``over_base_rate`` is members less the base rate, most of which is what anybody may learn.
    """

    members: float
    others: float
    base_rate: float
    patients: int

    @property
    def advantage(self) -> float:
        """How much better the attack is on those whose records were used."""
        return self.members - self.others

    @property
    def over_base_rate(self) -> float:
        """How much better it is, on members, than always saying the commoner value."""
        return self.members - self.base_rate


def infer_attribute(
    likelihood: Likelihood,
    x: NDArray[np.float64],
    column: int,
    values: tuple[float, float],
    member: NDArray[np.bool_],
) -> AttributeResult:
    """Infer ``column`` of ``x``, shape (patients, features), whose two ``values`` are (no, yes).

    The attacker knows how common a yes is (here: among the others), but no patient's value.
    """
    truth = x[:, column] == values[1]
    common = float(np.clip(truth[~member].mean(), 1e-6, 1.0 - 1e-6))
    fits = []
    for value, prior in ((values[0], 1.0 - common), (values[1], common)):
        tried = x.copy()
        tried[:, column] = value
        fits.append(likelihood(tried) + np.log(prior))
    right = (fits[1] > fits[0]) == truth
    base = float((truth[member] == (common > 0.5)).mean())
    return AttributeResult(
        float(right[member].mean()), float(right[~member].mean()), base, int(member.sum())
    )
