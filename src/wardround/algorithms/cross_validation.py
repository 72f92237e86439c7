"""Choosing the ridge: k-fold cross-validation whose every figure is a sum over hospitals.

Each patient has a fold by a hash of their identifier, so all hospitals agree on the folds without
a word. For each ridge of the study's grid and each fold the model is fitted by Newton steps to the
training records outside the fold, and tried on those inside it; the score is the log-likelihood,
which is a sum as well. What is chosen is what the same procedure chooses with all records in one
place.

All fits take their steps together, one secure sum a step, so that a grid of five in five folds
costs about as many rounds as one fit. Features are standardised by all training records, those of
the left-out fold included, as for the final fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.ask import ask
from wardround.algorithms.glm import constants
from wardround.federation.federation import Federation
from wardround.learning.fit import Choice, Grid, advance, choose, start
from wardround.learning.folds import FoldNewton, FoldScores
from wardround.learning.glm import Standardisation
from wardround.trust.canonical import JSON


async def choose_ridge(
    federation: Federation, standardisation: Standardisation, grid: Grid
) -> Choice:
    """The rule of the grid with the least loss.

    Raises WR-LEARN-011 to -013 as `glm.fit` does.
    """
    told = constants(standardisation)
    folds = [fold for fold in range(grid.folds) for _ in grid.rules]
    fits = [
        start(rule, len(standardisation.centre)) for _ in range(grid.folds) for rule in grid.rules
    ]
    while running := [i for i, progress in enumerate(fits) if progress.fit is None]:
        asked = _paths(told, [folds[i] for i in running])
        totals, _ = await ask(
            federation, FoldNewton, asked, _in_a_row([fits[i].ask for i in running])
        )
        for i, sums in zip(running, totals, strict=True):
            fits[i] = advance(fits[i], sums)
        federation.say("cross-validation", running=len(running), fits=len(fits))
    scores, _ = await ask(
        federation, FoldScores, _paths(told, folds), _in_a_row([one.ask for one in fits])
    )
    choice = choose(
        grid, [score.log_likelihood for score in scores], [score.records for score in scores]
    )
    federation.say("ridge", ridge=choice.rule.ridge, loss=min(choice.losses))
    return choice


def _paths(told: dict[str, JSON], folds: list[int]) -> dict[str, JSON]:
    return {**told, "left_out": [*folds]}


def _in_a_row(coefficients: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(coefficients)
