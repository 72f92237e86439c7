"""Whole private studies over sites in one process, against fits without noise and central ones."""

import itertools
import json

import numpy as np
import pytest

import requires
from plain_federation import FEATURES, code_of, pooled, spread
from plain_federation import study as open_study
from private_federation import PlainPrivateFederation, private_study
from wardround.algorithms import run_study
from wardround.algorithms.private_evaluation import score_edges
from wardround.algorithms.private_fit import solve_noisy
from wardround.governance.report.data import Coefficient, Evaluation
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.glm import LinearModel, Standardisation
from wardround.learning.local import assess, fit_alone
from wardround.learning.private_products import NoisyProducts
from wardround.learning.records import Family
from wardround.study import Study
from wardround.study.plan import lines

SIZES = (231, 162, 108, 68)
FEW = ("radius_mean", "texture_mean", "smoothness_mean")
LINEAR = ("texture_mean", "smoothness_mean", "concavity_mean")


@pytest.fixture(scope="module")
def sites():
    biopsies = requires.package("sklearn.datasets").load_breast_cancer()
    rng = np.random.default_rng(2026)
    columns = dict(zip(FEATURES, biopsies.data[:, :10].T, strict=True))
    columns["malignant"] = 1.0 - biopsies.target
    columns["_test"] = (rng.random(569) < 0.3).astype(float)
    return spread(columns, SIZES)


def plans(**training):
    """A private study for each algorithm and family."""
    rounds = {"algorithm": "fedavg", "fedavg": {"rounds": 4, "clipping_norm": 5.0}}
    measured = {"features": LINEAR, "outcome": "radius_mean"}
    sgd = {"training": {"steps": 8, **training}}
    return {
        "dp-sgd": private_study(FEW, **sgd),
        "adaptive": private_study(FEW, training={"steps": 8, "adaptive_clipping": True}),
        "fedavg": private_study(FEW, model=rounds, **sgd),
        "sampled": private_study(FEW, training={"steps": 8, "sampling_rate": 0.3}),
        "noisy-statistics": private_study(
            **measured, model={"kind": "linear", "algorithm": "noisy-statistics"}
        ),
        "linear dp-sgd": private_study(
            **measured, model={"kind": "linear", "algorithm": "dp-sgd"}, **sgd
        ),
        "linear fedavg": private_study(**measured, model={"kind": "linear", **rounds}, **sgd),
    }


PLANS = plans()


@pytest.mark.parametrize("name", PLANS)
async def test_a_run_asks_what_the_plan_has_noise_for_and_nothing_else(sites, name):
    federation = PlainPrivateFederation(PLANS[name], sites)
    await run_study(federation)
    asked = [task.kind for task in federation.tasks]
    for line in lines(PLANS[name]):
        assert sum(kind in line.kinds for kind in asked) == line.releases
    assert len(asked) == sum(line.releases for line in lines(PLANS[name]))


@pytest.mark.parametrize("name", ["dp-sgd", "fedavg", "noisy-statistics", "linear dp-sgd"])
async def test_a_study_that_may_open_less_than_its_plan_is_refused_beforehand(sites, name):
    federation = PlainPrivateFederation(PLANS[name], sites)
    await run_study(federation)
    needed = sum(task.length for task in federation.tasks)

    def allowed(numbers):
        agreed = PLANS[name].model_dump(mode="json", by_alias=True, exclude_none=True)
        agreed["disclosure"]["opened_numbers"] = numbers
        return code_of(Study.parse, agreed)

    assert allowed(needed) is None
    assert allowed(needed - 60) == "WR-STUDY-132"


@pytest.mark.parametrize("name", PLANS)
async def test_papers_are_plain_json_in_the_shape_that_reports_read(sites, name):
    candidate = await run_study(PlainPrivateFederation(PLANS[name], sites))
    for papers in (candidate.description, candidate.evaluation, candidate.statistics):
        json.dumps(papers, allow_nan=False)
    Evaluation.model_validate(candidate.evaluation)
    for row in candidate.description["coefficients"]:
        assert Coefficient.model_validate(row).standard_error is None
    assert "none are given" in candidate.description["standard_errors"]
    assert candidate.description["fit"]["noise_multiplier"] == 0.1
    assert candidate.statistics["records"]["train"] == pytest.approx(411, abs=15)


@pytest.mark.parametrize("name", PLANS)
async def test_the_same_totals_lead_to_the_same_bits(sites, name):
    first = await run_study(PlainPrivateFederation(PLANS[name], sites, seed=3))
    again = await run_study(PlainPrivateFederation(PLANS[name], sites, seed=3))
    other = await run_study(PlainPrivateFederation(PLANS[name], sites, seed=4))
    for key, array in first.model.items():
        assert array.tobytes() == again.model[key].tobytes()
    assert first.evaluation == again.evaluation
    assert first.model["coefficients"].tobytes() != other.model["coefficients"].tobytes()


async def test_noisy_steps_without_noise_come_to_the_ridge_fit(sites):
    agreed = private_study(
        FEW, training={"steps": 300, "learning_rate": 2.0, "clipping_norm": 50.0}
    )
    candidate = await run_study(PlainPrivateFederation(agreed, sites, noise=False))
    model, _ = fit_alone(pooled(sites), variables_of(open_study(FEW)), rule_of(open_study(FEW)))
    # The study expects 398 training patients and there are 411: a little more of the ridge.
    np.testing.assert_allclose(candidate.model["coefficients"], model.coefficients, rtol=0.02)
    exact = assess(pooled(sites), variables_of(open_study(FEW)), model)
    held_out = candidate.evaluation["held_out"]
    assert held_out["records"] == exact.records
    assert held_out["accuracy"] == pytest.approx(exact.accuracy, abs=0.01)
    assert held_out["auroc"] == pytest.approx(exact.auroc, abs=0.01)
    assert held_out["auroc_low"] <= exact.auroc <= held_out["auroc_high"]


async def test_adaptive_clipping_finds_the_median_of_the_gradients(sites):
    """A norm that is far too small catches up; the fit gets further than with the small one."""
    small = {"steps": 60, "clipping_norm": 0.02}
    stuck = await run_study(
        PlainPrivateFederation(private_study(FEW, training=small), sites, noise=False)
    )
    moved = await run_study(
        PlainPrivateFederation(
            private_study(FEW, training={**small, "adaptive_clipping": True}), sites, noise=False
        )
    )
    assert moved.description["fit"]["clipping_norm"] > 0.1
    sizes = [float(np.abs(one.model["coefficients"]).max()) for one in (stuck, moved)]
    assert sizes[1] > 2 * sizes[0]


async def test_noisy_statistics_without_noise_are_ridge_regression(sites):
    agreed = private_study(
        LINEAR,
        "radius_mean",
        model={"kind": "linear", "algorithm": "noisy-statistics"},
        training={"clipping_norm": 6.0},
    )
    candidate = await run_study(PlainPrivateFederation(agreed, sites, noise=False))
    exact_study = open_study(LINEAR, "radius_mean", kind="linear")
    model, _ = fit_alone(pooled(sites), variables_of(exact_study), rule_of(exact_study))
    np.testing.assert_allclose(candidate.model["coefficients"], model.coefficients, rtol=1e-3)
    exact = assess(pooled(sites), variables_of(exact_study), model)
    assert candidate.evaluation["held_out"]["r_squared"] == pytest.approx(exact.r_squared, abs=0.03)


@pytest.mark.parametrize("family", ["logistic", "linear"])
async def test_local_steps_without_noise_come_near_the_pooled_fit(sites, family):
    rounds = {"algorithm": "fedavg", "fedavg": {"rounds": 30, "clipping_norm": 5.0}}
    features = FEW if family == "logistic" else LINEAR
    outcome = "malignant" if family == "logistic" else "radius_mean"
    agreed = private_study(
        features,
        outcome,
        model={"kind": family, **rounds},
        training={"steps": 120, "learning_rate": 1.0 if family == "logistic" else 0.2},
    )
    candidate = await run_study(PlainPrivateFederation(agreed, sites, noise=False))
    exact_study = open_study(features, outcome, kind=family)
    model, _ = fit_alone(pooled(sites), variables_of(exact_study), rule_of(exact_study))
    found = LinearModel.from_arrays(Family(family), features, candidate.model)
    x = np.column_stack([pooled(sites)[name] for name in features])
    assert np.corrcoef(found.scores(x), model.scores(x))[0, 1] > 0.98


def test_a_ridge_follows_the_noise_and_only_as_far_as_needed():
    information = np.diag([400.0, 300.0, 2.0])
    products = np.array([0.0, 150.0, 1.0])
    clear, ridge = solve_noisy(NoisyProducts(information, products, 400.0, 1e-9), 1.0)
    assert ridge == 1.0
    np.testing.assert_allclose(clear, products / np.array([400.0, 301.0, 3.0]))
    noisy, ridge = solve_noisy(NoisyProducts(information, products, 400.0, 10.0), 1.0)
    # The weakest direction is lifted to the noise's largest eigenvalue, 10 sqrt(6).
    assert ridge == pytest.approx(10 * np.sqrt(6) - 2.0, rel=1e-3)
    assert noisy[2] == pytest.approx(1.0 / (10 * np.sqrt(6)), rel=1e-3)
    hopeless = NoisyProducts(information, products, 400.0, 1000.0)
    assert code_of(solve_noisy, hopeless, 1.0) == "WR-LEARN-031"


@pytest.mark.parametrize("bins", [8, 12, 16])
@pytest.mark.parametrize("intercept", [0.0, -2.5, 0.1, 300.0])
def test_scores_are_cut_into_about_equal_shares_and_at_zero(bins, intercept):
    nothing = Standardisation(np.zeros(3), np.ones(3))
    model = LinearModel(Family.LOGISTIC, FEW, nothing, np.array([intercept, 1.0, -0.5, 0.25]))
    edges = score_edges(model, bins)
    assert 0.0 in edges
    assert all(low < high for low, high in itertools.pairwise(edges))
    assert bins - 1 <= len(edges) <= bins
    rng = np.random.default_rng(5)
    scores = model.scores(rng.normal(size=(20_000, 3)))
    shares = np.histogram(scores, [-np.inf, *edges, np.inf])[0] / 20_000
    assert shares.max() < 2.5 / bins
    flat = LinearModel(Family.LOGISTIC, FEW, nothing, np.zeros(4))
    assert len(set(score_edges(flat, bins))) == bins - 1


async def test_told_intervals_hold_the_exact_figures(sites):
    """Over 25 runs: what is told under noise against all held-out patients' exact scores."""
    agreed = private_study(
        FEW, noise=8.0, training={"steps": 5}, evaluation={"noise_multiplier": 4.0}
    )
    everyone, variables = pooled(sites), variables_of(agreed)
    hits = {"auroc": 0, "accuracy": 0}
    for seed in range(25):
        candidate = await run_study(PlainPrivateFederation(agreed, sites, seed))
        model = LinearModel.from_arrays(variables.family, variables.features, candidate.model)
        exact, told = assess(everyone, variables, model), candidate.evaluation["held_out"]
        for name in hits:
            hits[name] += told[f"{name}_low"] <= getattr(exact, name) <= told[f"{name}_high"]
            assert told[f"{name}_high"] - told[f"{name}_low"] < 0.5
    assert min(hits.values()) >= 22


class FourfoldNoise(PlainPrivateFederation):
    """Every site adds the whole noise where shares were agreed."""

    def _share(self, event, among, length):
        return super()._share(event, 1, length)


async def outcomes(agreed, sites, kind, first, **how):
    """Of 50 runs: the accuracy on all held-out patients, and the coefficients, (50, 1 + m)."""
    everyone, variables = pooled(sites), variables_of(agreed)
    found = []
    for seed in range(first, first + 50):
        candidate = await run_study(kind(agreed, sites, seed, **how))
        model = LinearModel.from_arrays(variables.family, variables.features, candidate.model)
        figures = assess(everyone, variables, model)
        found.append([figures.accuracy, *candidate.model["coefficients"]])
    return np.array(found)


async def test_federated_runs_are_distributed_as_central_ones(sites):
    """Kolmogorov and Smirnov's two-sample test, with nobody dropped and f = 0.

    And it notices sites that add the whole noise each.
    """
    two_sample = requires.package("scipy.stats").ks_2samp
    agreed = private_study(
        FEW, noise=60.0, training={"steps": 5}, statistics={"noise_multiplier": 1.0}
    )
    federated = await outcomes(agreed, sites, PlainPrivateFederation, 0)
    central = await outcomes(agreed, sites, PlainPrivateFederation, 1000, central=True)
    louder = await outcomes(agreed, sites, FourfoldNoise, 2000)
    assert federated[:, 0].std() > 0.01  # noise that shows
    alike = [two_sample(a, b).pvalue for a, b in zip(federated.T, central.T, strict=True)]
    assert min(alike) > 0.01
    assert alike[0] > 0.05
    other = [two_sample(a, b).pvalue for a, b in zip(louder.T, central.T, strict=True)]
    assert min(other) < 0.001
