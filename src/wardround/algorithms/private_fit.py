"""Private fits of a generalised linear model, each named for what it is.

`noisy_steps` (``dp-sgd``): one secure sum of clipped per-patient gradients for each step; with all
sites there and nobody corrupt the very mechanism that one holder of all records would run (Abadi et
al. 2016). `noisy_statistics`: one noisy sum of products, then linear algebra (AdaSSP, Wang 2018).
`local_steps` (``fedavg``): each site takes noisy steps of its own and the mean of the updates is
applied, which needs each site's whole noise and settles beside the pooled optimum.

Coefficients here are those of the scaled outcome. Between totals there is only elementary
arithmetic, in a fixed order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.private_ask import ask
from wardround.errors import WardroundError
from wardround.federation.federation import Federation
from wardround.learning.agreed import expected_training
from wardround.learning.glm import MAXIMUM_COEFFICIENT
from wardround.learning.linalg import cholesky, solve
from wardround.learning.private_fedavg import PrivateFedAvg
from wardround.learning.private_gradient import PrivateGradient
from wardround.learning.private_products import NoisyProducts, PrivateProducts
from wardround.learning.records import Family
from wardround.learning.scaling import Scaling
from wardround.privacy.adaptive import next_clipping_norm
from wardround.study.plan import require_privacy
from wardround.study.task import Algorithm
from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class PrivateFit:
    """Coefficients (m,) of the scaled outcome, and how they were reached."""

    coefficients: NDArray[np.float64]
    steps: int
    stopping: str
    facts: dict[str, JSON]


async def fit(federation: Federation, scaling: Scaling) -> PrivateFit:
    """Fit by the study's algorithm, with all the releases that its plan has for training."""
    match federation.study.model.algorithm:
        case Algorithm.NOISY_STATISTICS:
            return await noisy_statistics(federation, scaling)
        case Algorithm.FEDAVG:
            return await local_steps(federation, scaling)
        case _:
            return await noisy_steps(federation, scaling)


async def noisy_steps(federation: Federation, scaling: Scaling) -> PrivateFit:
    """Federated DP-SGD from zero; the last step's coefficients.

    A step moves by the learning rate times the noisy sum of clipped gradients, divided by the
    public number of patients that a step expects, less the ridge per patient. With adaptive
    clipping the norm follows the median of the gradients' lengths (Andrew et al. 2021).
    """
    study = federation.study
    plan = require_privacy(study).training
    told = scaling.to_parameters(Family(study.model.kind))
    patients = expected_training(study)
    expected, decay = patients * plan.sampling_rate, study.model.ridges[0] / patients
    weights = np.zeros(len(study.data.features) + 1)
    norm, noise = plan.clipping_norm, 0.0
    for step in range(1, plan.steps + 1):
        choice: dict[str, JSON] = {**told, "clipping_norm": norm}
        found, _ = await ask(federation, PrivateGradient, choice, weights)
        direction = found.gradient / expected
        direction[1:] -= decay * weights[1:]
        weights = _held(weights + plan.learning_rate * direction)
        noise = found.noise / expected
        if found.quantile is not None:
            norm = next_clipping_norm(norm, found.quantile, expected)
        federation.say("noisy-step", step=step, steps=plan.steps, clipping_norm=norm)
    facts: dict[str, JSON] = {
        "noise_multiplier": plan.noise_multiplier,
        "sampling_rate": plan.sampling_rate,
        "learning_rate": plan.learning_rate,
        "clipping_norm": norm,
        "adaptive_clipping": plan.adaptive_clipping,
        "noise_per_step": plan.learning_rate * noise,
    }
    return PrivateFit(weights, plan.steps, f"after the {plan.steps} noisy steps agreed", facts)


async def noisy_statistics(federation: Federation, scaling: Scaling) -> PrivateFit:
    """Linear regression from one noisy sum of products, with a ridge that follows the noise.

    Raises WR-LEARN-031 where the noise drowns even the number of patients.
    """
    study = federation.study
    plan = require_privacy(study).training
    told = scaling.to_parameters(Family(study.model.kind))
    sums, _ = await ask(federation, PrivateProducts, told)
    weights, ridge = solve_noisy(sums, study.model.ridges[0])
    federation.say("noisy-statistics", ridge=ridge, noise=sums.noise)
    facts: dict[str, JSON] = {
        "noise_multiplier": plan.noise_multiplier,
        "clipping_norm": plan.clipping_norm,
        "ridge_in_force": ridge,
    }
    return PrivateFit(weights, 1, "after the one noisy sum agreed", facts)


def solve_noisy(sums: NoisyProducts, ridge: float) -> tuple[NDArray[np.float64], float]:
    """Coefficients (m,) of noisy normal equations, and the ridge that was put on them.

    It is the least one, not below ``ridge``, with which the penalised matrix exceeds what its noise
    is likely to amount to: sqrt(2 m) deviations, the expected largest eigenvalue of such noise
    (Wigner 1955). So the solution stays bounded by data, not by noise (as in AdaSSP, Wang 2018).
    The intercept is not penalised. Raises WR-LEARN-031 where no ridge is enough.
    """
    size = len(sums.products)
    noise = sums.noise * math.sqrt(2.0 * size)
    penalty = np.eye(size)
    penalty[0, 0] = 0.0

    def exceeds(weight: float) -> bool:
        try:
            cholesky(sums.information + weight * penalty - noise * np.eye(size))
        except WardroundError:
            return False
        return True

    low = high = ridge
    if not exceeds(ridge):
        high = max(ridge, noise, 1e-9)
        for _ in range(60):
            if exceeds(high):
                break
            low, high = high, 2.0 * high
        else:
            raise WardroundError(
                "WR-LEARN-031",
                "The noise drowns the sums from which the model would be fitted.",
                "More patients, a larger epsilon or fewer features are needed; what was spent "
                "stays spent.",
            )
        for _ in range(30):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if exceeds(middle) else (middle, high)
    return solve(cholesky(sums.information + high * penalty), sums.products), high


async def local_steps(federation: Federation, scaling: Scaling) -> PrivateFit:
    """FedAvg whose sites take noisy steps: local DP-SGD, then the mean of the updates.

    Sites weigh the same, as how many patients one has is not told; of those that answered.
    """
    study = federation.study
    plan, settings = require_privacy(study).training, study.model.fedavg
    told = scaling.to_parameters(Family(study.model.kind))
    weights = np.zeros(len(study.data.features) + 1)
    rounds = settings.rounds if settings else 1
    for done in range(1, rounds + 1):
        mean, total = await ask(federation, PrivateFedAvg, told, weights)
        weights = _held(weights + mean.update * (len(study.sites) / len(total.survivors)))
        federation.say("fedavg", round=done, rounds=rounds)
    facts: dict[str, JSON] = {
        "noise_multiplier": plan.noise_multiplier,
        "sampling_rate": plan.sampling_rate,
        "learning_rate": plan.learning_rate,
        "clipping_norm": plan.clipping_norm,
        "rounds": rounds,
        "noise_of": "each hospital's own steps, in full",
    }
    stopping = f"after the {rounds} rounds agreed, of {plan.steps // rounds} noisy steps each"
    return PrivateFit(weights, plan.steps, stopping, facts)


def _held(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise may push a fit anywhere; beyond these bounds no site would take another step."""
    return np.clip(weights, -MAXIMUM_COEFFICIENT, MAXIMUM_COEFFICIENT)
