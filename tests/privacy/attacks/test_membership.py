"""Shadow models tell members from others where a model remembers them, and not by accident."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.privacy.attacks import (
    curve_of,
    infer_attribute,
    infer_membership,
    most_advantage,
    most_true_positives,
)
from wardround.privacy.attacks.membership import LOW


def remembering(strength: float, seed: int, noise: float = 1.0):
    """Models that meet each member ``strength`` more kindly, with normal noise around it."""
    generator = np.random.default_rng(seed)

    def train(member: NDArray[np.bool_]) -> NDArray[np.float64]:
        own = np.linspace(-3, 3, member.shape[1])  # patients differ: a threshold alone sees little
        return own + strength * member + noise * generator.normal(size=member.shape)

    return train


def test_a_model_that_remembers_gives_its_members_away() -> None:
    result = infer_membership(remembering(3.0, 1), 300, np.random.default_rng(1))
    # The best test between N(0, 1) and N(3, 1): the area is Phi(3 / sqrt 2) = 0.983.
    assert result.area == pytest.approx(0.983, abs=0.01)
    # And at 1 % its power is Phi(3 - 2.326) = 0.75, a little less as the shadows are estimates.
    assert result.true_positives == pytest.approx(0.75, abs=0.08)
    assert result.advantage == pytest.approx(2 * 0.9332 - 1, abs=0.03)


def test_a_model_that_forgets_gives_nobody_away() -> None:
    result = infer_membership(remembering(0.0, 2), 300, np.random.default_rng(2))
    assert abs(result.area - 0.5) < 0.04  # 4800 scores: 5 standard errors
    assert result.true_positives < 0.03
    assert abs(result.advantage) < 0.06


def test_few_shadows_share_one_variance_and_a_model_without_noise_is_no_error() -> None:
    exact = infer_membership(
        remembering(1.0, 3, noise=0.0), 50, np.random.default_rng(3), shadows=8
    )
    assert (exact.area, exact.true_positives, exact.advantage) == (1.0, 1.0, 1.0)


def test_every_patient_is_in_half_of_the_models() -> None:
    seen = []

    def train(member: NDArray[np.bool_]) -> NDArray[np.float64]:
        seen.append(member)
        return np.zeros(member.shape)

    infer_membership(train, 30, np.random.default_rng(5), shadows=10, targets=4)
    assert (seen[0][:10].sum(axis=0) == 5).all() and (seen[0][10:].sum(axis=0) == 2).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows) -> None:
    scores = np.array([score for score, _ in rows], dtype=float)
    member = np.array([which for _, which in rows])
    if member.all() or not member.any():
        return
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[member] for b in scores[~member]
    ]
    curve = curve_of(scores, member)
    assert curve.area == pytest.approx(float(np.mean(pairs)))
    assert curve.at(LOW) == max(
        [0.0]
        + [
            float((scores[member] >= at).mean())
            for at in scores
            if (scores[~member] >= at).mean() <= LOW
        ]
    )


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 0.0), (1.0, 0.02), (3.0, 1e-3)])
def test_what_privacy_allows_is_reached_by_the_extreme_mechanism(
    epsilon: float, delta: float
) -> None:
    """Randomised response that gives itself away with probability delta meets both bounds."""
    right = 1 / (1 + math.exp(-epsilon))
    true, false = delta + (1 - delta) * right, (1 - delta) * (1 - right)
    assert true - false == pytest.approx(most_advantage(epsilon, delta))
    assert most_true_positives(false, epsilon, delta) == pytest.approx(true)
    assert most_true_positives(0.0, epsilon, delta) == pytest.approx(delta)
    assert most_true_positives(1.0, epsilon, delta) == 1.0


def test_an_attribute_is_inferred_from_a_model_that_depends_on_it() -> None:
    generator = np.random.default_rng(6)
    x = np.column_stack([generator.random(2000) < 0.3, generator.normal(size=2000)]).astype(float)
    y = 2.0 * x[:, 0] + x[:, 1] + 0.3 * generator.normal(size=2000)
    member = generator.random(2000) < 0.5

    def likelihood(tried: NDArray[np.float64]) -> NDArray[np.float64]:
        return -0.5 * ((y - 2.0 * tried[:, 0] - tried[:, 1]) / 0.3) ** 2

    result = infer_attribute(likelihood, x, 0, (0.0, 1.0), member)
    assert result.members > 0.99 and result.base_rate == pytest.approx(0.7, abs=0.05)
    assert result.over_base_rate > 0.2
    # It is as right about people whom it never saw: that is knowledge, and no leak.
    assert abs(result.advantage) < 0.01

    def blind(tried: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros(len(tried))

    nothing = infer_attribute(blind, x, 0, (0.0, 1.0), member)
    assert nothing.members == nothing.base_rate
    memory = x[:, 0].copy()

    def remembers(tried: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(member & (tried[:, 0] == memory), 5.0, 0.0)

    assert infer_attribute(remembers, x, 0, (0.0, 1.0), member).advantage > 0.2
