"""How well the fitted model does on all hospitals' records together, from secure histograms."""

from __future__ import annotations

from wardround.algorithms.ask import ask
from wardround.algorithms.glm import constants
from wardround.federation.federation import Federation
from wardround.learning.glm import LinearModel
from wardround.learning.metrics import Classification, Regression, classification
from wardround.learning.records import Family, Split
from wardround.learning.scores import PredictionMoments, ScoreHistogram
from wardround.trust.canonical import JSON


async def evaluate(
    federation: Federation, model: LinearModel, rows: Split
) -> tuple[Classification | Regression, int]:
    """Figures on the held-out or the training records, and how many numbers sites held back.

    A yes/no outcome is judged by AUROC (Newcombe's interval), accuracy (Wilson's), Brier score
    and calibration from a histogram of scores; a measured one by R squared and RMSE.
    """
    choice: dict[str, JSON] = {**constants(model.standardisation), "rows": rows.value}
    figures: Classification | Regression
    if model.family is Family.LOGISTIC:
        table, suppressed = await ask(federation, ScoreHistogram, choice, model.coefficients)
        figures = classification(table)
    else:
        figures, suppressed = await ask(federation, PredictionMoments, choice, model.coefficients)
    federation.say("evaluation", rows=rows.value, records=figures.records, suppressed=suppressed)
    return figures, suppressed
