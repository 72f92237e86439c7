"""Membership inference with shadow models: was this patient among those the model was fitted to?

Carlini, Chien, Nasr, Song, Terzis and Tramer, Membership inference attacks from first principles,
S&P 2022 (LiRA): train shadow models on random halves, so that every patient is in half of them;
describe how a model meets the patient by a normal distribution when they were in and another when
not; score a target model by the ratio of both likelihoods. Success is the true-positive rate at
a low false-positive rate, since an attack that is sure about few is worse than one that leans
slightly on everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.attacks.rates import Curve, curve_of

Train: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Fits one model for each row of members, shape (models, patients), all at once, and says how each
model meets each patient, shape (models, patients). For a yes/no outcome that is the logarithm of
the odds that the model gives to what is true (which is close to normal, as Carlini et al. found);
for a measured one, the residual."""

LOW = 0.01
"""The false-positive rate at which success is measured."""

_PER_PATIENT = 64
"""From so many shadow models on, each patient gets variances of their own (Carlini et al., VI)."""


@dataclass(frozen=True, eq=False)
class MembershipResult:
    """How well members were told from others, over all patients and target models.

    ``true_positives`` is the rate at a false-positive rate of at most `LOW`; ``area`` is that under
    the curve; ``advantage`` the difference of both rates where the ratio of likelihoods is 1.
    """

    shadows: int
    targets: int
    patients: int
    true_positives: float
    area: float
    advantage: float
    curve: Curve = field(repr=False)


def infer_membership(
    train: Train,
    patients: int,
    generator: np.random.Generator,
    *,
    shadows: int = 64,
    targets: int = 16,
) -> MembershipResult:
    """Attack ``targets`` models with the help of ``shadows`` others, over ``patients`` patients.

    ``generator`` draws who is in which model, which is the attacker's own game and hides nothing.
    Each patient is in exactly half of the shadow models and of the targets.
    """
    if shadows < 4 or targets < 2 or patients < 2:
        raise ValueError("at least 4 shadow models, 2 targets and 2 patients")
    member = np.concatenate(
        [_halves(shadows, patients, generator), _halves(targets, patients, generator)]
    )
    seen = train(member)
    if seen.shape != member.shape or not bool(np.isfinite(seen).all()):
        raise ValueError("one finite number for each model and patient")
    score = _log_ratio(seen[:shadows], member[:shadows], seen[shadows:])
    truth = member[shadows:]
    curve = curve_of(score.ravel(), truth.ravel())
    said = score > 0
    advantage = float(said[truth].mean() - said[~truth].mean())
    return MembershipResult(shadows, targets, patients, curve.at(LOW), curve.area, advantage, curve)


def _halves(models: int, patients: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Each patient in exactly half of the models (rounded down), shape (models, patients)."""
    ranks = generator.random((models, patients)).argsort(axis=0)
    chosen: NDArray[np.bool_] = ranks < models // 2
    return chosen


def _log_ratio(
    seen: NDArray[np.float64], member: NDArray[np.bool_], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The logarithm of both normal densities' ratio at what the targets show, (targets, patients).

    With few shadow models one variance is taken for all patients: one of its own would be noise.
    """
    densities = []
    for which in (member, ~member):
        count = which.sum(axis=0)
        centre = np.where(which, seen, 0.0).sum(axis=0) / count
        spread = np.where(which, (seen - centre) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1)
        if len(seen) < _PER_PATIENT:
            spread = np.full_like(spread, spread.mean())
        # Without noise a model may meet a patient in the same way every time.
        spread = np.maximum(spread, 1e-18 * (1.0 + centre**2))
        densities.append(-0.5 * (np.log(spread) + (target - centre) ** 2 / spread))
    ratio: NDArray[np.float64] = densities[0] - densities[1]
    return ratio
