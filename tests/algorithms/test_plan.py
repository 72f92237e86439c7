"""Whole studies over sites in one process, against independent pooled fits."""

import json

import numpy as np
import pytest

import requires
from plain_federation import FEATURES, PlainFederation, pooled, spread, study
from wardround.algorithms import run_study
from wardround.errors import WardroundError
from wardround.governance.report.data import Coefficient, Evaluation
from wardround.learning.agreed import rule_of, variables_of
from wardround.learning.glm import LinearModel
from wardround.learning.local import assess, fit_alone
from wardround.learning.records import Family

SIZES = (231, 162, 108, 68)


@pytest.fixture(scope="module")
def sites():
    biopsies = requires.package("sklearn.datasets").load_breast_cancer()
    rng = np.random.default_rng(2026)
    columns = dict(zip(FEATURES, biopsies.data[:, :10].T, strict=True))
    columns["malignant"] = 1.0 - biopsies.target
    columns["_test"] = (rng.random(569) < 0.3).astype(float)
    return spread(columns, SIZES)


def newton(columns, features, outcome, logistic, ridge):
    """An independent pooled fit: textbook IRLS on all training records at once."""
    train = columns["_test"] == 0
    x = np.column_stack([columns[name] for name in features])[train]
    y = columns[outcome][train]
    z = np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / x.std(axis=0)])
    penalty = np.diag(np.append(0.0, np.full(len(features), ridge)))
    beta = np.zeros(z.shape[1])
    for _ in range(60):
        eta = z @ beta
        mu = 1 / (1 + np.exp(-eta)) if logistic else eta
        weight = mu * (1 - mu) if logistic else np.ones(len(y))
        hessian = z.T @ (z * weight[:, None]) + penalty
        beta = beta + np.linalg.solve(hessian, z.T @ (y - mu) - penalty @ beta)
    return beta, np.sqrt(np.diag(np.linalg.inv(hessian)))


def largest_difference(found, expected):
    return np.max(np.abs(found - expected) / np.abs(expected))


@pytest.mark.parametrize("ridge", [1.0, 0.0])
async def test_logistic_coefficients_equal_the_pooled_fit(sites, ridge):
    candidate = await run_study(PlainFederation(study(ridge=ridge), sites))
    beta, errors = newton(pooled(sites), FEATURES, "malignant", True, ridge)
    assert largest_difference(candidate.model["coefficients"], beta) < 1e-8
    told = [row["standard_error"] for row in candidate.description["coefficients"]]
    np.testing.assert_allclose(told, errors[1:], rtol=1e-6)


@pytest.mark.parametrize("ridge", [1.0, 0.0])
async def test_linear_coefficients_equal_the_pooled_fit(sites, ridge):
    features = [name for name in FEATURES if name != "perimeter_mean"]
    agreed = study(features, "perimeter_mean", kind="linear", ridge=ridge)
    federation = PlainFederation(agreed, sites)
    candidate = await run_study(federation)
    beta, _ = newton(pooled(sites), features, "perimeter_mean", False, ridge)
    assert largest_difference(candidate.model["coefficients"], beta) < 1e-8
    model, _ = fit_alone(pooled(sites), variables_of(agreed), rule_of(agreed))
    exact = assess(pooled(sites), variables_of(agreed), model)
    assert candidate.evaluation["held_out"]["r_squared"] == pytest.approx(exact.r_squared)
    assert candidate.evaluation["held_out"]["rmse"] == pytest.approx(exact.rmse)


async def test_figures_equal_those_of_all_records_in_one_place(sites):
    agreed = study()
    federation = PlainFederation(agreed, sites)
    candidate = await run_study(federation)
    everyone, variables = pooled(sites), variables_of(agreed)
    model, fit = fit_alone(everyone, variables, rule_of(agreed))
    assert largest_difference(candidate.model["coefficients"], fit.coefficients) < 1e-8
    exact, held_out = assess(everyone, variables, model), candidate.evaluation["held_out"]
    assert held_out["records"] == exact.records
    assert held_out["accuracy"] == exact.accuracy
    uncertainty = candidate.statistics["auroc_uncertainty_from_bins"]
    assert abs(held_out["auroc"] - exact.auroc) <= uncertainty < 0.005
    assert candidate.evaluation["brier"] == pytest.approx(exact.brier)
    assert candidate.evaluation["calibration_slope"] == pytest.approx(
        exact.calibration_slope, rel=0.05
    )
    assert sum(task.length for task in federation.tasks) < 2500  # opened numbers


async def test_statistics_describe_the_training_records(sites):
    candidate = await run_study(PlainFederation(study(), sites))
    everyone = pooled(sites)
    train = everyone["_test"] == 0
    for row in candidate.statistics["features"]:
        column = everyone[row["name"]][train]
        assert row["mean"] == pytest.approx(column.mean(), rel=1e-9)
        assert row["standard_deviation"] == pytest.approx(column.std(), rel=1e-9)
        for name, told in row["quantiles"].items():
            exact = np.percentile(column, float(name[1:]))
            # What small sites held back shifts a quantile by about a bin, and no further.
            assert abs(told["value"] - exact) <= 2 * told["bin_width"]
    records = candidate.statistics["records"]
    assert records["train"] + records["test"] == 569
    assert candidate.statistics["suppressed"]["histograms"] > 0


async def test_a_model_in_the_concepts_own_units_predicts_the_same(sites):
    candidate = await run_study(PlainFederation(study(), sites))
    model = LinearModel.from_arrays(Family.LOGISTIC, FEATURES, candidate.model)
    x = np.column_stack([sites["lakeside"][name] for name in FEATURES])
    slopes = [row["value_per_unit"] for row in candidate.description["coefficients"]]
    scores = candidate.description["intercept_per_unit"] + x @ np.array(slopes)
    np.testing.assert_allclose(model.scores(x), scores, atol=1e-9)
    assert ((model.predict(x) >= 0.5) == (scores >= 0)).all()


async def test_papers_are_plain_json(sites):
    candidate = await run_study(PlainFederation(study(), sites))
    for papers in (candidate.description, candidate.evaluation, candidate.statistics):
        assert json.loads(json.dumps(papers, allow_nan=False)) == papers
    Evaluation.model_validate(candidate.evaluation)
    for row in candidate.description["coefficients"]:
        Coefficient.model_validate(row)


async def test_asking_again_gives_the_same_tasks_and_the_same_model(sites):
    first, second = (PlainFederation(study(), sites) for _ in range(2))
    models = [(await run_study(federation)).model for federation in (first, second)]
    assert [task.hash for task in first.tasks] == [task.hash for task in second.tasks]
    assert all(models[0][name].tobytes() == models[1][name].tobytes() for name in models[0])


async def test_a_site_that_drops_out_leaves_the_fit_of_the_others(sites):
    """It is there for the statistics and leaves in mid-fit; the constants stay as they were."""
    federation = PlainFederation(study(), sites, lambda step: ("harbour",) if step > 6 else ())
    candidate = await run_study(federation)
    rest = {name: columns for name, columns in sites.items() if name != "harbour"}
    x = np.column_stack([pooled(rest)[name] for name in FEATURES])
    train = pooled(rest)["_test"] == 0
    model = LinearModel.from_arrays(Family.LOGISTIC, FEATURES, candidate.model)
    design = model.standardisation.design(x[train])
    residual = pooled(rest)["malignant"][train] - model.predict(x[train])
    gradient = design.T @ residual - np.append(0.0, model.coefficients[1:])
    assert np.abs(gradient).max() < 1e-8
    assert candidate.description["training_records"] == int(train.sum())


@pytest.mark.parametrize("harbour", ["few records", "few cases", "few cases in the test part"])
async def test_a_site_with_too_few_is_as_if_absent_in_every_step(sites, harbour):
    columns = sites["harbour"]
    cases = np.flatnonzero(columns["malignant"] == 1)
    if "test" in harbour:
        cases = cases[columns["_test"][cases] == 1]
    keep = np.ones(len(columns["malignant"]), bool)
    if harbour == "few records":
        keep[15:] = False
    else:
        keep[cases[4:]] = False
    small = sites | {"harbour": {name: column[keep] for name, column in columns.items()}}
    candidate = await run_study(PlainFederation(study(), small))
    rest = {name: columns for name, columns in sites.items() if name != "harbour"}
    beta, _ = newton(pooled(rest), FEATURES, "malignant", True, 1.0)
    assert largest_difference(candidate.model["coefficients"], beta) < 1e-8
    records = candidate.statistics["records"]
    assert records["train"] + records["test"] == len(pooled(rest)["_test"])
    assert records["train"] == candidate.statistics["training_records_in_moments"]
    assert candidate.evaluation["held_out"]["records"] == records["test"]


async def test_a_federation_of_small_cohorts_says_so(sites):
    tiny = {
        site: {name: column[:15] for name, column in columns.items()}
        for site, columns in sites.items()
    }
    with pytest.raises(WardroundError) as caught:
        await run_study(PlainFederation(study(), tiny))
    assert caught.value.code == "WR-LEARN-014"


async def test_a_constant_feature_is_named(sites):
    flat = {
        site: columns | {"texture_mean": np.full_like(columns["texture_mean"], 20.0)}
        for site, columns in sites.items()
    }
    with pytest.raises(WardroundError) as caught:
        await run_study(PlainFederation(study(), flat))
    assert caught.value.code == "WR-LEARN-010"
    assert "texture_mean" in caught.value.problem


async def test_fedavg_with_one_full_step_walks_to_the_pooled_optimum(sites):
    """One full-batch epoch is one step of pooled gradient descent, so it has the same limit."""
    fedavg = {"rounds": 80, "local_epochs": 1, "batch_size": 100_000, "learning_rate": 4}
    agreed = study(FEATURES[:2], algorithm="fedavg", ridge=5.0, fedavg=fedavg)
    candidate = await run_study(PlainFederation(agreed, sites))
    beta, errors = newton(pooled(sites), FEATURES[:2], "malignant", True, 5.0)
    found = candidate.model["coefficients"]
    assert largest_difference(found, beta) < 0.02
    assert candidate.description["remaining_newton_step"] < 0.02
    assert candidate.description["coefficients"][0]["standard_error"] == pytest.approx(
        errors[1], rel=0.05
    )


async def test_fedavg_predicts_about_as_well_as_newton(sites):
    fedavg = {"rounds": 20, "local_epochs": 2, "batch_size": 16}
    federation = PlainFederation(study(algorithm="fedavg", fedavg=fedavg), sites)
    averaged = await run_study(federation)
    exact = await run_study(PlainFederation(study(), sites))
    auroc = [papers.evaluation["held_out"]["auroc"] for papers in (averaged, exact)]
    assert auroc[0] == pytest.approx(auroc[1], abs=0.01)
    likelihoods = [f["log_likelihood"] for event, f in federation.said if event == "fedavg"]
    assert likelihoods[-1] > likelihoods[0]
    assert averaged.description["algorithm"] == "fedavg"
