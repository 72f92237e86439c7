"""A whole private study: noisy statistics, a private fit, a noisy evaluation; and its papers.

It asks exactly what the study's plan has noise for, once each, and nothing else.
"""

from __future__ import annotations

from wardround.algorithms.candidate import (
    PENALTY,
    Candidate,
    describe_coefficients,
    describe_evaluation,
    describe_features,
)
from wardround.algorithms.private_evaluation import PrivateEvaluation, evaluate
from wardround.algorithms.private_fit import PrivateFit, fit
from wardround.algorithms.private_statistics import PrivateStatistics, describe
from wardround.federation.federation import Federation
from wardround.learning.agreed import expected_training, variables_of
from wardround.learning.glm import LinearModel
from wardround.learning.metrics import Classification
from wardround.study import Study
from wardround.study.plan import require_privacy
from wardround.study.task import Algorithm
from wardround.trust.canonical import JSON

_METHODS = {
    Algorithm.DP_SGD: "federated DP-SGD: noisy sums of clipped per-patient gradients",
    Algorithm.NOISY_STATISTICS: "noisy sufficient statistics of linear regression, with a ridge "
    "that follows the noise (AdaSSP)",
    Algorithm.FEDAVG: "federated averaging of hospitals that train by DP-SGD on their own",
}


async def run_private_study(federation: Federation) -> Candidate:
    """Run the signed private study's plan; raises the first error of any of its steps."""
    study = federation.study
    statistics = await describe(federation)
    scaling = statistics.scaling
    found = await fit(federation, scaling)
    variables = variables_of(study)
    model = LinearModel(
        variables.family,
        variables.features,
        scaling.standardisation,
        scaling.in_units(found.coefficients),
    )
    evaluation = await evaluate(federation, model, scaling)
    return Candidate(
        model=model.arrays(),
        description=_describe_fit(study, model, found, evaluation),
        evaluation=describe_evaluation(evaluation.held_out, evaluation.training),
        statistics=_describe_statistics(statistics, evaluation),
    )


def _describe_fit(
    study: Study, model: LinearModel, found: PrivateFit, evaluation: PrivateEvaluation
) -> dict[str, JSON]:
    privacy = require_privacy(study)
    return {
        "kind": model.family.value,
        "algorithm": study.model.algorithm.value,
        "method": _METHODS[study.model.algorithm],
        "outcome": study.data.outcome,
        "features": describe_features(model),
        "standardisation": "noisy means and standard deviations of training patients",
        "intercept": float(model.coefficients[0]),
        "intercept_per_unit": float(model.per_unit()[0]),
        "coefficients": describe_coefficients(model),
        "standard_errors": "none are given: clipping biases a private fit and noise adds to its "
        "error, and an honest error would need noisy sums that the plan has no budget for",
        "ridge": study.model.ridges[0],
        "penalty": PENALTY,
        "stopping": found.stopping,
        "steps": found.steps,
        "expected_training_patients": expected_training(study),
        "fit": found.facts,
        "evaluation_noise": evaluation.facts,
        "noise": privacy.noise.value,
    }


def _describe_statistics(
    statistics: PrivateStatistics, evaluation: PrivateEvaluation
) -> dict[str, JSON]:
    papers: dict[str, JSON] = {
        "records": evaluation.counts,
        "training_records_in_moments": max(round(statistics.moments.records), 0),
        "training_records_noise": statistics.moments.records_noise,
        "features": statistics.to_json(),
        "histogram_noise": statistics.histogram_noise,
        "histograms": "the non-negative counts nearest to the noisy ones",
        "suppressed": {},
        "suppressed_total": 0,
    }
    if isinstance(evaluation.held_out, Classification):
        papers["auroc_uncertainty_from_bins"] = evaluation.held_out.auroc_uncertainty
    return papers
