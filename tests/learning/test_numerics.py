"""Linear algebra, generalised linear models and the Newton fit, against independent ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plain_federation import code_of
from wardround.errors import WardroundError
from wardround.learning.contribution import unit
from wardround.learning.fit import Rule, advance, start
from wardround.learning.glm import evaluate, log_likelihood, mean
from wardround.learning.linalg import cholesky, inverse, solve
from wardround.learning.records import Family

sizes = st.integers(1, 8)


def spd(size, seed):
    a = np.random.default_rng(seed).normal(size=(size + 3, size))
    return a.T @ a + 0.1 * np.eye(size)


@given(sizes, st.integers(0, 1000))
def test_cholesky_solve_and_inverse_agree_with_lapack(size, seed):
    matrix = spd(size, seed)
    right = np.random.default_rng(seed + 1).normal(size=size)
    lower = cholesky(matrix)
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(solve(lower, right), np.linalg.solve(matrix, right), rtol=1e-7)
    np.testing.assert_allclose(inverse(lower) @ matrix, np.eye(size), atol=1e-8)


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((2, 2)), np.ones((2, 2)), np.diag([1.0, -1.0]), np.full((2, 2), np.nan)],
)
def test_a_matrix_without_information_is_refused(matrix):
    assert code_of(cholesky, matrix) == "WR-LEARN-011"


@given(st.floats(1e-300, 1e300))
def test_a_unit_is_the_least_power_of_two_above(bound):
    power = float(unit(bound))
    assert np.frexp(power)[0] == 0.5
    assert power / 2 < bound <= power


def test_the_unit_of_nothing_is_one():
    assert unit(np.array([0.0, 1.0, 1.5])).tolist() == [1.0, 1.0, 2.0]


def test_logistic_functions_survive_extreme_scores():
    eta = np.array([-1e4, -40.0, 0.0, 40.0, 1e4])
    np.testing.assert_allclose(mean(Family.LOGISTIC, eta)[[0, 2, 4]], [0.0, 0.5, 1.0])
    for y in (np.zeros(5), np.ones(5)):
        assert np.isfinite(log_likelihood(Family.LOGISTIC, y, eta)).all()
    assert log_likelihood(Family.LOGISTIC, np.zeros(1), np.array([1e4]))[0] == -1e4


@given(
    st.sampled_from(Family),
    hnp.arrays(np.float64, 3, elements=st.floats(-2, 2)),
    st.integers(0, 100),
)
def test_derivatives_agree_with_differences(family, beta, seed):
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    y = (rng.random(40) < 0.4).astype(float)

    def at(b):
        return evaluate(family, design, y, b)

    for j, h in enumerate(np.eye(3) * 1e-5):
        slope = (at(beta + h).log_likelihood - at(beta - h).log_likelihood) / 2e-5
        bend = (at(beta + h).gradient - at(beta - h).gradient) / 2e-5
        assert slope == pytest.approx(at(beta).gradient[j], abs=1e-5)
        np.testing.assert_allclose(-bend, at(beta).information[j], atol=1e-5)


def data(n=300, p=4, seed=5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    eta = x @ rng.normal(size=p) - 0.5
    return x, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float), eta + rng.normal(size=n)


def run(rule, x, y):
    design = np.column_stack([np.ones(len(x)), x])
    progress = start(rule, x.shape[1])
    while progress.fit is None:
        progress = advance(progress, evaluate(rule.family, design, y, progress.ask))
    return progress.fit


@pytest.mark.parametrize("ridge", [0.5, 10.0])
def test_logistic_fit_equals_scikit_learn(ridge):
    from sklearn.linear_model import LogisticRegression

    x, y, _ = data()
    fit = run(Rule(Family.LOGISTIC, ridge, 1e-10, 25), x, y)
    peer = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(fit.coefficients[0], peer.intercept_[0], rtol=1e-5)
    np.testing.assert_allclose(fit.coefficients[1:], peer.coef_[0], rtol=1e-5)


def test_linear_fit_equals_scikit_learn_and_needs_two_sums():
    from sklearn.linear_model import Ridge

    x, _, y = data()
    fit = run(Rule(Family.LINEAR, 3.0, 1e-8, 25), x, y)
    peer = Ridge(alpha=3.0).fit(x, y)
    np.testing.assert_allclose(fit.coefficients[1:], peer.coef_, rtol=1e-10)
    assert fit.coefficients[0] == pytest.approx(peer.intercept_, rel=1e-10)
    assert fit.steps == 2


def test_linear_standard_errors_are_the_textbook_ones():
    x, _, y = data()
    fit = run(Rule(Family.LINEAR, 0.0, 1e-8, 25), x, y)
    design = np.column_stack([np.ones(len(x)), x])
    solution, squares, *_ = np.linalg.lstsq(design, y, rcond=None)
    variance = squares[0] / (len(y) - design.shape[1])
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    np.testing.assert_allclose(fit.coefficients, solution, rtol=1e-10)
    np.testing.assert_allclose(fit.standard_errors, errors, rtol=1e-8)


def test_a_step_that_overshoots_is_halved():
    rng = np.random.default_rng(20)  # heavy tails, found by search: full steps alone go astray
    n, p = 30, rng.integers(1, 4)
    x = rng.standard_t(0.7, size=(n, p))
    y = (rng.random(n) < rng.choice([0.1, 0.3, 0.5])).astype(float)
    far = np.abs(x[:, 0]) > np.quantile(np.abs(x[:, 0]), 0.9)
    y = np.where(far, rng.random(n) < 0.5, y).astype(float)
    fit = run(Rule(Family.LOGISTIC, 1e-4, 1e-9, 60), x, y)
    assert fit.halvings > 0
    design = np.column_stack([np.ones(n), x])
    gradient = evaluate(Family.LOGISTIC, design, y, fit.coefficients).gradient
    np.testing.assert_allclose(gradient, np.append(0, 1e-4 * fit.coefficients[1:]), atol=1e-7)


def test_separated_outcomes_without_ridge_are_refused():
    x = np.linspace(-1, 1, 50)[:, None]
    y = (x[:, 0] > 0).astype(float)
    with pytest.raises(WardroundError) as caught:
        run(Rule(Family.LOGISTIC, 0.0, 1e-8, 100), x, y)
    assert caught.value.code in ("WR-LEARN-011", "WR-LEARN-012")


def test_repeated_features_without_ridge_are_refused():
    x, y, _ = data()
    rule = Rule(Family.LOGISTIC, 0.0, 1e-8, 25)
    assert code_of(run, rule, np.column_stack([x, x[:, 0]]), y) == "WR-LEARN-011"


def test_a_fit_that_may_not_take_its_steps_gives_up():
    x, y, _ = data()
    assert code_of(run, Rule(Family.LOGISTIC, 1.0, 1e-10, 2), x, y) == "WR-LEARN-012"


def test_more_than_one_coefficient_per_three_records_is_refused():
    x, y, _ = data(n=12, p=4)
    assert code_of(run, Rule(Family.LOGISTIC, 1.0, 1e-8, 25), x, y) == "WR-LEARN-013"
