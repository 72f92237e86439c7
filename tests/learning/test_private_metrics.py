"""Figures from noisy tables: intervals that include the noise, and nothing told of noise alone."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from wardround.learning.metrics import ScoreTable, auroc_interval, classification, wilson
from wardround.learning.private_metrics import noisy_classification, noisy_regression
from wardround.learning.private_scores import NoisyResiduals

NORMAL = NormalDist()


class Population:
    """Scores N(gain, 1) with the outcome, N(0, 1) without, in bins that are as full as another."""

    def __init__(self, cases, without, gain, bins):
        self.cases, self.without, self.bins = cases, without, bins
        cuts = np.array([NORMAL.inv_cdf(k / bins) + gain / 2 for k in range(1, bins)])

        def shares(mean):
            below = [NORMAL.cdf(cut - mean) for cut in cuts]
            return np.diff([0.0, *below, 1.0])

        self.with_outcome, self.others = shares(gain), shares(0.0)
        middle = np.concatenate([[cuts[0] - 0.4], (cuts[1:] + cuts[:-1]) / 2, [cuts[-1] + 0.4]])
        eta = gain * (middle - gain / 2) + np.log(cases / without)
        self.predicted = 1 / (1 + np.exp(-eta))
        self.positive = eta >= 0
        self.auroc = NORMAL.cdf(gain / np.sqrt(2))  # of the scores themselves, not of bins
        n = cases + without
        right = cases * self.with_outcome[self.positive].sum()
        self.accuracy = (right + without * self.others[~self.positive].sum()) / n
        missed = self.with_outcome * (1 - self.predicted) ** 2
        self.brier = (cases * missed.sum() + without * (self.others * self.predicted**2).sum()) / n
        self.slope = self._slope(eta)

    def _slope(self, eta):
        cases, everybody = self.cases * self.with_outcome, self.without * self.others
        everybody = everybody + cases
        beta = np.array([0.0, 1.0])
        x = np.column_stack([np.ones_like(eta), eta])
        for _ in range(50):
            mu = 1 / (1 + np.exp(-x @ beta))
            information = x.T @ (x * (everybody * mu * (1 - mu))[:, np.newaxis])
            beta = beta + np.linalg.solve(information, x.T @ (cases - everybody * mu))
        return beta[1]

    def table(self, rng, noise):
        counts = [
            rng.multinomial(size, shares) + noise * rng.normal(size=self.bins)
            for size, shares in ((self.without, self.others), (self.cases, self.with_outcome))
        ]
        return ScoreTable(counts[0], counts[1], self.predicted, self.positive, 0.0)


@pytest.mark.parametrize(
    ("population", "noise"),
    [
        (Population(75, 180, 1.2, 12), 0.01),
        (Population(75, 180, 1.2, 12), 3.0),
        (Population(300, 3000, 0.5, 12), 10.0),
        (Population(75, 180, 1.2, 8), 6.0),
    ],
)
def test_intervals_cover_under_sampling_and_noise_together(population, noise):
    rng = np.random.default_rng(1)
    hits = {"auroc": 0, "accuracy": 0, "brier": 0, "slope": 0}
    runs, told = 400, 0
    for _ in range(runs):
        found = noisy_classification(population.table(rng, noise), noise)
        pairs = {
            "auroc": found.figures.auroc_interval,
            "accuracy": found.figures.accuracy_interval,
            "brier": found.brier_interval,
            "slope": found.slope_interval,
        }
        if any(pair is None for pair in pairs.values()):
            continue
        told += 1
        for name, (low, high) in pairs.items():
            hits[name] += low <= getattr(population, name) <= high
    assert told > 0.95 * runs
    for name, hit in hits.items():
        assert hit / told > 0.92, name


def test_the_interval_without_the_noise_would_be_too_short():
    """So the test above can fail."""
    population, rng = Population(75, 180, 1.2, 12), np.random.default_rng(1)
    areas = [
        noisy_classification(population.table(rng, 5.0), 5.0).figures.auroc for _ in range(400)
    ]
    told = [auroc_interval(area, 75, 180) for area in areas if area is not None]
    assert len(told) > 380
    assert sum(low <= population.auroc <= high for low, high in told) / len(told) < 0.85


def test_without_noise_the_figures_are_the_exact_ones():
    table = Population(75, 180, 1.2, 12).table(np.random.default_rng(2), 0.0)
    errors = table.cases * (1 - table.predicted) ** 2 + table.without * table.predicted**2
    exact = classification(replace(table, squared_error=float(errors.sum())))
    found = noisy_classification(table, 0.0).figures
    assert found.auroc == pytest.approx(exact.auroc)
    low, high = exact.auroc_interval
    assert found.auroc_uncertainty == pytest.approx(exact.auroc_uncertainty)
    assert found.auroc_interval == pytest.approx((low, high + exact.auroc_uncertainty))
    assert found.accuracy == pytest.approx(exact.accuracy)
    assert found.accuracy_interval == pytest.approx(exact.accuracy_interval)
    assert found.brier == pytest.approx(exact.brier)
    assert found.calibration_slope == pytest.approx(exact.calibration_slope, abs=1e-4)
    assert found.calibration_intercept == pytest.approx(exact.calibration_intercept, abs=1e-4)
    np.testing.assert_allclose(found.roc, exact.roc)
    assert sum(group.records for group in found.calibration) == 255


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_told_of_noise_alone(seed):
    noise = np.random.default_rng(seed).normal(size=(2, 12)) * 10
    predicted = np.linspace(0.04, 0.96, 12)
    table = ScoreTable(noise[0], noise[1], predicted, predicted > 0.5, 0.0)
    figures = noisy_classification(table, 10.0).figures
    assert figures.records >= 0
    assert figures.cases >= 0
    for value in (figures.auroc, figures.accuracy, figures.brier):
        assert value is None or 0 <= value <= 1
    for x, y in figures.roc:
        assert 0 <= x <= 1
        assert 0 <= y <= 1
    if figures.auroc is not None:  # the chance that it is told is small, and then it is wide
        low, high = figures.auroc_interval
        assert high - low > 0.5


def test_an_empty_table_tells_nothing():
    nothing = np.zeros(4)
    table = ScoreTable(nothing, nothing, np.array([0.1, 0.4, 0.6, 0.9]), nothing > 0, 0.0)
    assert noisy_classification(table, 0.0).figures.auroc is None


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_the_interval_of_r_squared_covers(noise):
    rng, runs, hits, n, true = np.random.default_rng(3), 400, 0, 600, 0.4
    for _ in range(runs):
        fitted = np.sqrt(true) * rng.normal(size=n)
        r = rng.normal(size=n) * np.sqrt(1 - true)
        u = fitted + r
        # As the lanes are: 1, 2 r^2 - 1, u and 2 u^2 - 1, in units of a reach that clips nobody.
        reach = 5.0
        lanes = np.array(
            [
                n,
                (2 * r * r / reach**2 - 1).sum(),
                u.sum() / reach,
                (2 * u * u / reach**2 - 1).sum(),
            ]
        )
        noisy, with_r, with_u, with_u2 = lanes + noise * rng.normal(size=4)
        half = reach * reach / 2
        sums = NoisyResiduals(
            noisy, half * (with_r + noisy), reach * with_u, half * (with_u2 + noisy), noise, reach
        )
        low, high = noisy_regression(sums, 2.0).r_squared_interval
        hits += low <= true <= high
    assert hits / runs > 0.92


def test_a_measured_outcome_of_noise_alone_tells_nothing():
    found = noisy_regression(NoisyResiduals(3.0, -5.0, 1.0, 2.0, 5.0), 1.0)
    assert found.figures.r_squared is None
    assert found.figures.rmse is None
    clear = noisy_regression(NoisyResiduals(400.0, -5.0, 1.0, 400.0, 5.0), 1.0)
    assert clear.figures.rmse is None  # the residuals' sum is below what noise alone makes


def test_wilson_with_noise_solves_its_own_equation():
    low, high = wilson(30.0, 40.0, 0.01)
    for end in (low, high):
        distance = abs(0.75 - end)
        assert distance == pytest.approx(1.959963984540054 * np.sqrt(end * (1 - end) / 40 + 0.01))
