"""A whole study, first question to last: what there is, the fit, how well it does."""

from __future__ import annotations

from wardround.algorithms import fedavg, glm
from wardround.algorithms.candidate import (
    Candidate,
    describe_evaluation,
    describe_fit,
    describe_statistics,
)
from wardround.algorithms.cross_validation import choose_ridge
from wardround.algorithms.evaluation import evaluate
from wardround.algorithms.private_plan import run_private_study
from wardround.algorithms.statistics import describe
from wardround.federation.federation import Federation
from wardround.learning.agreed import is_private, rule_of, variables_of
from wardround.learning.fit import Grid
from wardround.learning.glm import LinearModel
from wardround.learning.records import Split


async def run_study(federation: Federation) -> Candidate:
    """Run the signed study's plan; raises the first error of any of its steps."""
    study = federation.study
    if is_private(study):
        return await run_private_study(federation)
    statistics = await describe(federation)
    standardisation = statistics.standardisation
    rule, choice = rule_of(study), None
    if isinstance(rule, Grid):
        choice = await choose_ridge(federation, standardisation, rule)
        rule = choice.rule
    if study.model.algorithm == "fedavg":
        fit = await fedavg.fit(federation, standardisation, rule, statistics.moments.records)
    else:
        fit = await glm.fit(federation, standardisation, rule)
    variables = variables_of(study)
    model = LinearModel(variables.family, variables.features, standardisation, fit.coefficients)
    held_out, few_held_out = await evaluate(federation, model, Split.TEST)
    training, few_training = await evaluate(federation, model, Split.TRAIN)
    return Candidate(
        model=model.arrays(),
        description=describe_fit(study, model, fit, rule, choice),
        evaluation=describe_evaluation(held_out, training),
        statistics=describe_statistics(statistics, held_out, few_held_out + few_training),
    )
