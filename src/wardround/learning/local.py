"""One hospital's own fit and figures, for its local report; nothing here passes the door.

The fit is the federated one with a single site, through the same functions; the figures come from
exact scores instead of a histogram. A simulation uses it for the pooled reference as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wardround.learning.contribution import Limits
from wardround.learning.fit import Fit, Grid, Rule, advance, choose, start
from wardround.learning.glm import LinearModel, Standardisation, evaluate, log_likelihood
from wardround.learning.metrics import Classification, Regression, ScoreTable, classification
from wardround.learning.moments import Moments
from wardround.learning.records import Family, Records, Split, Variables

_OWN_EYES = Limits(minimum_cell=1, minimum_cohort=1)
"""A hospital may look at its own records."""


def fit_alone(
    columns: Mapping[str, NDArray[np.float64]], variables: Variables, rule: Rule | Grid
) -> tuple[LinearModel, Fit]:
    """Fit the study's model to one table's training records, standardised by their own moments.

    ``columns`` as for `registry.compute`. Of a grid the ridge is chosen by cross-validation on
    these records alone. Raises WR-LEARN-005 to -007 for unusable columns, and WR-LEARN-010 to
    -014 where the records don't carry a fit.
    """
    records = Records.take(columns, variables)
    moments = Moments(variables)
    own = moments.read(moments.contribute(records, _OWN_EYES).lanes)
    standardisation = Standardisation(own.mean, own.deviation)
    if isinstance(rule, Grid):
        rule = _choose(records, standardisation, rule)
    fit = _fit(records, standardisation, rule)
    model = LinearModel(rule.family, variables.features, standardisation, fit.coefficients)
    return model, fit


def _fit(records: Records, standardisation: Standardisation, rule: Rule) -> Fit:
    x, y = records.of(Split.TRAIN)
    design = standardisation.design(x)
    progress = start(rule, len(standardisation.centre))
    while progress.fit is None:
        progress = advance(progress, evaluate(rule.family, design, y, progress.ask))
    return progress.fit


def _choose(records: Records, standardisation: Standardisation, grid: Grid) -> Rule:
    likelihoods: list[float] = []
    sizes: list[int] = []
    for fold in range(grid.folds):
        x, y = records.of_fold(fold).of(Split.TRAIN)
        design = standardisation.design(x)
        for rule in grid.rules:
            fit = _fit(records.without_fold(fold), standardisation, rule)
            eta = design @ fit.coefficients
            likelihoods.append(float(log_likelihood(rule.family, y, eta).sum()))
            sizes.append(len(y))
    return choose(grid, likelihoods, sizes).rule


def assess(
    columns: Mapping[str, NDArray[np.float64]],
    variables: Variables,
    model: LinearModel,
    rows: Split = Split.TEST,
) -> Classification | Regression:
    """A model's exact figures on one table's held-out (or training) records."""
    x, y = Records.take(columns, variables).of(rows)
    if model.family is Family.LOGISTIC:
        return classification(ScoreTable.exact(y, model.scores(x)))
    if len(y) == 0:
        return Regression(0, None, None)
    squares = float(((y - model.predict(x)) ** 2).sum())
    around_mean = float(((y - y.mean()) ** 2).sum())
    return Regression(
        records=len(y),
        r_squared=1.0 - squares / around_mean if around_mean > 0 else None,
        rmse=float(np.sqrt(squares / len(y))),
    )
