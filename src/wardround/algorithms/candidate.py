"""What a run ends with: a model that nobody has validated yet, and all that is known about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.statistics import Statistics
from wardround.clinical.graph import ConceptGraph
from wardround.learning.fit import Choice, Fit, Rule
from wardround.learning.glm import LinearModel
from wardround.learning.metrics import Classification, Regression
from wardround.study import Study
from wardround.trust.canonical import JSON

PENALTY = (
    "ridge / 2 times the sum of squared coefficients of standardised features; "
    "the intercept is not penalised"
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A fitted model and its papers.

    ``model`` holds float64 arrays: ``coefficients`` (features + 1, the intercept first, for
    standardised features), ``centre`` and ``scale`` (features,). `LinearModel.from_arrays` makes
    a predictor of them. The papers are plain JSON values.
    """

    model: dict[str, NDArray[np.float64]]
    description: dict[str, JSON]
    evaluation: dict[str, JSON]
    statistics: dict[str, JSON]


def describe_fit(
    study: Study, model: LinearModel, fit: Fit, rule: Rule, choice: Choice | None
) -> dict[str, JSON]:
    """Names, units, coefficients on both scales, standard errors, and how the fit stopped.

    ``choice`` is how cross-validation came to ``rule``, where it did.
    """
    papers: dict[str, JSON] = {
        "kind": model.family.value,
        "algorithm": study.model.algorithm.value,
        "outcome": study.data.outcome,
        "features": describe_features(model),
        "standardisation": "federated mean and standard deviation (divisor n) of training records",
        "intercept": float(model.coefficients[0]),
        "intercept_standard_error": float(fit.standard_errors[0]),
        "intercept_per_unit": float(model.per_unit()[0]),
        "coefficients": describe_coefficients(model, fit.standard_errors),
        "standard_errors": "inverse of the penalised information at the solution; with a ridge "
        "they leave out its bias towards 0",
        "ridge": rule.ridge,
        "penalty": PENALTY,
        "stopping": _how_it_stopped(study, rule, fit),
        "steps": fit.steps,
        "halvings": fit.halvings,
        "remaining_newton_step": fit.remaining,
        "log_likelihood": fit.log_likelihood,
        "training_records": fit.records,
    }
    if choice is not None:
        papers["cross_validation"] = _describe_choice(choice)
    return papers


def describe_features(model: LinearModel) -> list[JSON]:
    """The names and units of the features, and how they were standardised."""
    graph, made = ConceptGraph.load(), model.standardisation
    return [
        {**_named(graph, name), "centre": float(centre), "scale": float(scale)}
        for name, centre, scale in zip(model.features, made.centre, made.scale, strict=True)
    ]


def describe_coefficients(
    model: LinearModel, errors: NDArray[np.float64] | None = None
) -> list[JSON]:
    """Each feature's coefficient on both scales, with its standard error where there is one.

    ``errors`` has shape (features + 1,), the intercept's first.
    """
    graph, per_unit, found = ConceptGraph.load(), model.per_unit(), list[JSON]()
    for i, name in enumerate(model.features, start=1):
        error = {} if errors is None else {"standard_error": float(errors[i])}
        value = {"value": float(model.coefficients[i]), **error}
        found.append({**_named(graph, name), **value, "value_per_unit": float(per_unit[i])})
    return found


def _named(graph: ConceptGraph, name: str) -> dict[str, JSON]:
    concept = graph.concept(name)
    return {"name": concept.id, "label": concept.name, "unit": concept.unit or ""}


def _describe_choice(choice: Choice) -> dict[str, JSON]:
    curve: list[JSON] = [
        {"ridge": rule.ridge, "loss": loss}
        for rule, loss in zip(choice.grid.rules, choice.losses, strict=True)
    ]
    return {
        "folds": choice.grid.folds,
        "loss": "minus the log-likelihood per record outside the fit: the log loss of a logistic "
        "model, half the squared error of a linear one",
        "curve": curve,
    }


def _how_it_stopped(study: Study, rule: Rule, fit: Fit) -> str:
    """Which of the agreed conditions ended the fit."""
    within = f"{rule.tolerance:g} of max(1, its size)"
    if study.model.algorithm == "newton":  # anything but settling ends the run without a model
        return (
            f"after {fit.steps} sums of at most {rule.maximum_steps}, when no standardised "
            f"coefficient moved by more than {within}"
        )
    if fit.settled:
        return f"after {fit.steps} rounds, when no coefficient moved by more than {within}"
    return f"after the {fit.steps} rounds that were agreed, before the updates fell below {within}"


def describe_evaluation(
    held_out: Classification | Regression, training: Classification | Regression
) -> dict[str, JSON]:
    """The figures in the shape that reports read."""
    papers: dict[str, JSON] = {"held_out": held_out.to_json(), "training": training.to_json()}
    if isinstance(held_out, Classification):
        papers["calibration"] = [
            {"predicted": g.predicted, "observed": g.observed, "records": g.records}
            for g in held_out.calibration
        ]
        papers["calibration_slope"] = held_out.calibration_slope
        papers["calibration_intercept"] = held_out.calibration_intercept
        papers["brier"] = held_out.brier
    return papers


def describe_statistics(
    statistics: Statistics,
    held_out: Classification | Regression,
    suppressed: int,
) -> dict[str, JSON]:
    """The statistics, with what later steps held back and how exact the evaluation's AUROC is."""
    papers = statistics.to_json()
    held_back = {**statistics.suppressed, "evaluation": suppressed}
    papers["suppressed"] = {**held_back}
    papers["suppressed_total"] = sum(held_back.values())
    if isinstance(held_out, Classification):
        papers["auroc_uncertainty_from_bins"] = held_out.auroc_uncertainty
    return papers
