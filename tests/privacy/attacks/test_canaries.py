"""One run, many canaries: the bound holds, is known from the paper, and finds what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.attacks import CanaryPlan, audit_in_one_run, lower_bound, p_value


def coins(seed):
    return lambda count: np.random.default_rng(seed).random(count) < 0.5


def randomised_response(epsilon: float, delta: float, seed: int):
    """Answers truly with e^epsilon / (1 + e^epsilon); with delta it gives itself away."""
    generator = np.random.default_rng(seed)

    def score(included: NDArray[np.bool_]) -> NDArray[np.float64]:
        truth = np.where(included, 1.0, -1.0)
        right = generator.random(len(truth)) < 1 / (1 + math.exp(-epsilon))
        sure = generator.random(len(truth)) < delta
        return np.where(sure, 3.0 * truth, np.where(right, truth, -truth))

    return score


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "published"),
    [
        # Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846): appendix D, and section 7.
        (100, 100, 75, 1e-4, 0.699),
        (1000, 100, 75, 1e-4, 0.673),
        (100_000, 1510, 1439, 1e-5, 2.675),
    ],
)
def test_the_bound_is_the_published_one(
    canaries: int, guesses: int, correct: int, delta: float, published: float
) -> None:
    plan = CanaryPlan(canaries, guesses, delta)
    assert lower_bound(plan, correct) == pytest.approx(published, abs=1e-3)


def test_without_delta_the_p_value_is_the_binomial_tail() -> None:
    plan = CanaryPlan(40, 20, 0.0)
    right = 1 / (1 + math.exp(-0.7))
    tail = sum(math.comb(20, k) * right**k * (1 - right) ** (20 - k) for k in range(15, 21))
    assert p_value(plan, 15, 0.7) == pytest.approx(tail, rel=1e-12)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 0.0), (1.0, 0.01), (2.0, 0.03)])
def test_no_mechanism_is_right_more_often_than_its_p_value_says(
    epsilon: float, delta: float
) -> None:
    """Brute force: the distribution of right guesses over 4000 runs of the extreme mechanism."""
    runs, canaries, guesses = 4000, 200, 60
    plan = CanaryPlan(canaries, guesses, delta)
    found = np.array(
        [
            audit_in_one_run(
                plan, randomised_response(epsilon, delta, seed), coins(-seed % 99991)
            ).correct
            for seed in range(runs)
        ]
    )
    # The p-value is decreasing in how many were right: compare the whole distributions.
    for correct in range(30, guesses + 1):
        share = float((found >= correct).mean())
        allowed = p_value(plan, correct, epsilon)
        assert share <= allowed + 4 * math.sqrt(allowed * (1 - allowed) / runs) + 1 / runs
    if delta == 0:  # and there it is exact: the test would notice a p-value that is too large
        middle = int(np.median(found))
        assert float((found >= middle).mean()) == pytest.approx(
            p_value(plan, middle, epsilon), abs=0.04
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_bound_is_where_the_p_value_crosses(data: st.DataObject) -> None:
    canaries = data.draw(st.integers(1, 400))
    guesses = data.draw(st.integers(1, canaries))
    correct = data.draw(st.integers(0, guesses))
    delta = data.draw(st.sampled_from([0.0, 1e-6, 1e-3]))
    plan = CanaryPlan(canaries, guesses, delta)
    bound = lower_bound(plan, correct)
    assert p_value(plan, correct, bound + 1e-6) >= 0.05
    if bound > 0:
        assert p_value(plan, correct, bound) < 0.05
    if correct < guesses:
        assert lower_bound(plan, correct + 1) >= bound


def test_guesses_are_the_extremes_half_in_and_half_out() -> None:
    included = np.array([True, False, True, False, True])

    def score(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.array([5.0, 4.0, 3.0, 2.0, 1.0])

    result = audit_in_one_run(CanaryPlan(5, 3, 0.0), score, lambda count: included)
    # In: the first two (one right); out: the last (wrong).
    assert result.correct == 1


def test_a_score_can_not_change_the_coins() -> None:
    def score(marked: NDArray[np.bool_]) -> NDArray[np.float64]:
        marked[:] = True
        return np.zeros(len(marked))

    result = audit_in_one_run(CanaryPlan(1000, 1000, 0.0), score, coins(3))
    assert 0.4 < result.included.mean() < 0.6
    assert result.epsilon == 0.0


@pytest.mark.parametrize(
    ("canaries", "guesses", "delta", "confidence"),
    [(0, 1, 0, 0.9), (10, 0, 0, 0.9), (10, 11, 0, 0.9), (10, 5, 1.0, 0.9), (10, 5, 0.1, 1.0)],
)
def test_an_impossible_plan_is_refused(
    canaries: int, guesses: int, delta: float, confidence: float
) -> None:
    with pytest.raises(WardroundError) as caught:
        CanaryPlan(canaries, guesses, delta, confidence)
    assert caught.value.code == "WR-PRIVACY-030"


def test_a_mechanism_that_tells_everything_is_bounded_far_up() -> None:
    result = audit_in_one_run(
        CanaryPlan(1000, 500, 1e-5), lambda marked: marked.astype(float), coins(1)
    )
    assert result.correct == 500
    assert result.epsilon > 5
    assert result.exceeds(5.0) and not result.exceeds(result.epsilon)
