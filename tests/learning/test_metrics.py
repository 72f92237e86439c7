"""Figures of merit against scikit-learn, published values and each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.learning.metrics import (
    ScoreTable,
    auroc,
    auroc_interval,
    calibration_groups,
    classification,
    recalibration,
    wilson,
)

scored = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-12, 12)), min_size=2, max_size=60
).filter(lambda rows: {y for y, _ in rows} == {0, 1})


def table_of(rows):
    y, scores = np.array(rows, dtype=float).T
    return y, scores, ScoreTable.exact(y, scores / 4)


@given(scored)
def test_auroc_accuracy_and_brier_equal_scikit_learn(rows):
    from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

    y, scores, table = table_of(rows)
    probability = 1 / (1 + np.exp(-scores / 4))
    figures = classification(table)
    assert figures.auroc == pytest.approx(roc_auc_score(y, scores))
    assert figures.accuracy == pytest.approx(accuracy_score(y, scores >= 0))
    assert figures.brier == pytest.approx(brier_score_loss(y, probability))
    assert (figures.records, figures.cases) == (len(y), y.sum())


@given(scored)
def test_intervals_hold_their_estimates_inside_0_and_1(rows):
    figures = classification(table_of(rows)[2])
    for value, (low, high) in (
        (figures.auroc, figures.auroc_interval),
        (figures.accuracy, figures.accuracy_interval),
    ):
        assert 0 <= low <= value <= high <= 1
        assert low < high


@given(scored, st.integers(2, 6))
def test_binning_moves_the_auroc_by_no_more_than_stated(rows, width):
    y, scores, table = table_of(rows)
    binned = ScoreTable.exact(y, np.floor(scores / width))
    area, uncertainty = auroc(binned)
    exact, _ = auroc(table)
    assert abs(area - exact) <= uncertainty + 1e-12


@given(scored)
def test_the_roc_curve_encloses_the_auroc(rows):
    figures = classification(table_of(rows)[2])
    x, y = np.array(figures.roc).T
    assert figures.roc[0] == (0, 0)
    assert figures.roc[-1] == (1, 1)
    assert float(np.trapezoid(y, x)) == pytest.approx(figures.auroc)


def test_wilson_interval_as_published():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    for (successes, n), expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


def test_auroc_interval_narrows_with_records_and_is_not_empty_at_one():
    assert auroc_interval(1.0, 30, 50)[0] < 0.97
    small, large = auroc_interval(0.8, 20, 30), auroc_interval(0.8, 200, 300)
    assert small[0] < large[0] < 0.8 < large[1] < small[1]
    # Cases and others change roles when the outcome is renamed.
    low, high = auroc_interval(0.8, 20, 30)
    assert auroc_interval(0.2, 30, 20) == pytest.approx((1 - high, 1 - low))


def test_auroc_interval_covers():
    rng = np.random.default_rng(3)
    truth, hits = 0.8555778168267576, 0  # Phi(1.5 / sqrt 2)
    for _ in range(300):
        scores = np.concatenate([rng.normal(1.5, 1, 25), rng.normal(0, 1, 35)])
        y = np.repeat([1.0, 0.0], [25, 35])
        low, high = auroc_interval(auroc(ScoreTable.exact(y, scores))[0], 25, 35)
        hits += low <= truth <= high
    assert 0.90 <= hits / 300 <= 0.99


def test_recalibration_finds_what_is_wrong_with_a_model():
    rng = np.random.default_rng(4)
    eta = rng.normal(0, 2, 40_000)
    y = (rng.random(40_000) < 1 / (1 + np.exp(-(0.5 * eta + 0.3)))).astype(float)
    intercept, slope = recalibration(ScoreTable.exact(y, eta))
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(0.3, abs=0.04)


def test_recalibration_of_separated_scores_has_no_solution():
    y = np.repeat([0.0, 1.0], 20)
    assert recalibration(ScoreTable.exact(y, np.arange(40) - 20.0)) == (None, None)


@given(scored)
def test_calibration_groups_lose_nobody(rows):
    y, _, table = table_of(rows)
    groups = calibration_groups(table)
    assert sum(group.records for group in groups) == len(y)
    assert all(group.records >= min(10, len(y)) for group in groups)
    assert sum(g.observed * g.records for g in groups) == pytest.approx(y.sum())


def test_one_outcome_only_leaves_the_auroc_open():
    figures = classification(ScoreTable.exact(np.ones(8), np.arange(8.0)))
    assert figures.auroc is None
    assert figures.accuracy == 1.0
    assert classification(ScoreTable.exact(np.zeros(0), np.zeros(0))).records == 0
