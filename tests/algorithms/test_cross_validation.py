"""The ridge that hospitals choose together is the one chosen on pooled records."""

import numpy as np
import pytest

import requires
from plain_federation import FEATURES, PlainFederation, code_of, pooled, spread, study
from wardround.algorithms import run_study
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.fit import Grid, Rule, choose
from wardround.learning.local import fit_alone
from wardround.learning.records import Family

SIZES = (231, 162, 108, 68)
GRID = [0.01, 0.1, 1.0, 10.0, 100.0]
FOLDS = 4


@pytest.fixture(scope="module")
def sites():
    biopsies = requires.package("sklearn.datasets").load_breast_cancer()
    rng = np.random.default_rng(5)
    columns = dict(zip(FEATURES, biopsies.data[:, :10].T, strict=True))
    columns["malignant"] = 1.0 - biopsies.target
    columns["_test"] = (rng.random(569) < 0.3).astype(float)
    columns["_fold"] = rng.integers(0, FOLDS, 569).astype(float)
    return spread(columns, SIZES)


def scikit(columns, features, outcome, logistic):
    """Mean held-out loss of each ridge, by scikit-learn on all training records at once."""
    linear_model = requires.package("sklearn.linear_model")
    train = columns["_test"] == 0
    x = np.column_stack([columns[name] for name in features])[train]
    y, fold = columns[outcome][train], columns["_fold"][train]
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    losses = []
    for ridge in GRID:
        lost = 0.0
        for left_out in range(FOLDS):
            fitted, tried = fold != left_out, fold == left_out
            if logistic:
                model = linear_model.LogisticRegression(
                    C=1 / ridge, solver="newton-cholesky", tol=1e-12
                )
                p = model.fit(z[fitted], y[fitted]).predict_proba(z[tried])[:, 1]
                lost -= np.log(np.where(y[tried] == 1, p, 1 - p)).sum()
            else:
                model = linear_model.Ridge(alpha=ridge, solver="svd").fit(z[fitted], y[fitted])
                lost += 0.5 * ((y[tried] - model.predict(z[tried])) ** 2).sum()
        losses.append(lost / len(y))
    return losses


@pytest.mark.parametrize(("kind", "outcome"), [("logistic", "malignant"), ("linear", "area_mean")])
async def test_the_choice_and_its_curve_are_those_of_pooled_records(sites, kind, outcome):
    features = [name for name in FEATURES if name != outcome]
    few = {"minimum_cell": 0}  # the smallest site has few of a class in a fold
    agreed = study(features, outcome, few, kind=kind, ridge=GRID, folds=FOLDS)
    candidate = await run_study(PlainFederation(agreed, sites))
    expected = scikit(pooled(sites), features, outcome, kind == "logistic")
    told = candidate.description["cross_validation"]
    assert told["folds"] == FOLDS
    assert [point["ridge"] for point in told["curve"]] == GRID
    np.testing.assert_allclose([p["loss"] for p in told["curve"]], expected, rtol=1e-7)
    assert candidate.description["ridge"] == GRID[int(np.argmin(expected))]
    model, _ = fit_alone(pooled(sites), variables_of(agreed), rule_of(agreed))
    np.testing.assert_allclose(candidate.model["coefficients"], model.coefficients, rtol=1e-8)


async def test_all_fits_share_their_rounds(sites):
    agreed = study(ridge=GRID, folds=FOLDS)
    federation = PlainFederation(agreed, sites)
    await run_study(federation)
    kinds = [task.kind for task in federation.tasks]
    assert kinds.count("fold_newton") <= 15
    assert kinds.count("fold_scores") == 1
    running = [facts["running"] for event, facts in federation.said if event == "cross-validation"]
    assert running[0] == len(GRID) * FOLDS
    assert running == sorted(running, reverse=True)


def grid(*ridges):
    return Grid(tuple(Rule(Family.LOGISTIC, ridge, 1e-8, 25) for ridge in ridges), 2)


def test_of_equally_good_ridges_the_largest_is_taken():
    choice = choose(grid(0.1, 1.0, 10.0), [-3, -2, -2, -3, -2, -2], [4] * 6)
    assert choice.rule.ridge == 10.0
    assert choice.losses == (0.75, 0.5, 0.5)


def test_without_a_held_out_record_nothing_is_chosen():
    assert code_of(choose, grid(0.1, 1.0), [0.0] * 4, [0] * 4) == "WR-LEARN-014"
