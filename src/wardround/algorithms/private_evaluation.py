"""How well a privately fitted model does on training and held-out patients, in one noisy sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wardround.algorithms.private_ask import ask
from wardround.federation.federation import Federation
from wardround.learning.agreed import expected_test
from wardround.learning.glm import LinearModel
from wardround.learning.metrics import Classification, Regression
from wardround.learning.private_metrics import noisy_classification, noisy_regression
from wardround.learning.private_scores import NoisyScores, PrivateResiduals, PrivateScores
from wardround.learning.records import Family
from wardround.learning.scaling import Scaling
from wardround.privacy.events import deviation
from wardround.study import Study
from wardround.study.plan import require_privacy
from wardround.trust.canonical import JSON

_NORMAL: dict[int, tuple[float, ...]] = {
    8: (0.3186393640, 0.6744897502, 1.1503493804),
    12: (0.2104283942, 0.4307272993, 0.6744897502, 0.9674215661, 1.3829941271),
    16: (
        0.1573106846,
        0.3186393640,
        0.4887764111,
        0.6744897502,
        0.8871465590,
        1.1503493804,
        1.5341205444,
    ),
}
"""Positive quantiles of the standard normal distribution that part it, with 0 and the negative
ones, into so many equal shares."""

_SHARE_OF_NOISE = 0.1
"""Bins are so few that the noise on all of them together is this share of the held-out patients, or
less, but never fewer than eight: fewer blurred the AUROC more than they calmed it."""

_SPREAD = 0.7
"""Noise makes features' deviations rather too wide, and so scores less spread than they would be
for independent features; chosen by the AUROC's error on 569 biopsies (0.7, 1 and 1.25 tried)."""

_LEAST_SPREAD = 0.05


@dataclass(frozen=True, eq=False)
class PrivateEvaluation:
    """Figures of both parts, and what only a noisy evaluation has: more intervals, and its noise.

    ``counts`` are the noisy numbers of patients: train, test, and of those with the outcome.
    """

    held_out: Classification | Regression
    training: Classification | Regression
    counts: dict[str, JSON]
    facts: dict[str, JSON]


async def evaluate(
    federation: Federation, model: LinearModel, scaling: Scaling
) -> PrivateEvaluation:
    """AUROC, accuracy, Brier score and calibration of a yes/no outcome, or R squared and RMSE.

    All of it is from one sum over everybody, in which each patient is in one part only.
    """
    if model.family is Family.LOGISTIC:
        return await _scores(federation, model, scaling)
    return await _residuals(federation, model, scaling)


async def _scores(
    federation: Federation, model: LinearModel, scaling: Scaling
) -> PrivateEvaluation:
    choice: dict[str, JSON] = {
        **scaling.to_parameters(model.family),
        "edges": [[*score_edges(model, bins_for(federation.study))]],
    }
    tables, _ = await ask(federation, PrivateScores, choice, model.coefficients)
    held_out = noisy_classification(tables.test, tables.noise)
    training = noisy_classification(tables.train, tables.noise)
    federation.say("evaluation", records=held_out.figures.records, noise=tables.noise)
    return PrivateEvaluation(
        held_out.figures,
        training.figures,
        _counts(tables),
        {
            "noise_on_each_count": tables.noise,
            "bins": len(tables.test.cases),
            "brier_interval": _pair(held_out.brier_interval),
            "calibration_slope_interval": _pair(held_out.slope_interval),
            "calibration_intercept_interval": _pair(held_out.intercept_interval),
            "intervals": "95 %, for sampling and noise together",
        },
    )


async def _residuals(
    federation: Federation, model: LinearModel, scaling: Scaling
) -> PrivateEvaluation:
    (train, test), _ = await ask(
        federation, PrivateResiduals, scaling.to_parameters(model.family), model.coefficients
    )
    held_out = noisy_regression(test, scaling.outcome_scale)
    training = noisy_regression(train, scaling.outcome_scale)
    federation.say("evaluation", records=held_out.figures.records, noise=test.noise)
    counts: dict[str, JSON] = {
        "train": max(round(train.patients), 0),
        "test": max(round(test.patients), 0),
        "train_cases": None,
        "test_cases": None,
    }
    facts: dict[str, JSON] = {
        "noise_on_each_count": test.noise,
        "reach": test.reach,
        "r_squared_interval": _pair(held_out.r_squared_interval),
        "intervals": "95 %, for sampling and noise together",
    }
    return PrivateEvaluation(held_out.figures, training.figures, counts, facts)


def bins_for(study: Study) -> int:
    """How many bins of scores the noise that was agreed can bear: many blur less, and shake more.

    The noise on a sum over two groups of so many bins is sqrt(2 bins) times that on each.
    """
    noise = deviation(require_privacy(study).evaluation.noise_multiplier)
    room = _SHARE_OF_NOISE * expected_test(study) / noise
    return max(bins for bins in _NORMAL if bins == min(_NORMAL) or 2 * bins <= room * room)


def score_edges(model: LinearModel, bins: int) -> list[float]:
    """Cuts of the linear predictor with about as many patients between any two, and 0.

    As if standardised features were independent and normal. That is public (it follows from the
    model), and only decides how fine the figures are, not whether they are right. The cut nearest
    to 0 is moved there if that is less than half a bin or so.
    """
    slopes = model.coefficients[1:]
    spread = _SPREAD * float(np.sqrt(np.cumsum(slopes * slopes)[-1]))
    spread, middle = max(spread, _LEAST_SPREAD), float(model.coefficients[0])
    quantiles = _NORMAL[bins]
    cuts = {middle}
    for quantile in quantiles:
        cuts |= {middle - spread * quantile, middle + spread * quantile}
    nearest = min(cuts, key=lambda cut: (abs(cut), cut))
    if abs(nearest) <= 0.5 * spread * quantiles[0]:
        cuts.discard(nearest)
    return sorted(cuts | {0.0})


def _counts(tables: NoisyScores) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for name, table in (("train", tables.train), ("test", tables.test)):
        cases = float(np.cumsum(table.cases)[-1])
        everybody = cases + float(np.cumsum(table.without)[-1])
        found[name] = max(round(everybody), 0)
        found[f"{name}_cases"] = max(round(cases), 0)
    return found


def _pair(interval: tuple[float, float] | None) -> JSON:
    return None if interval is None else [*interval]
