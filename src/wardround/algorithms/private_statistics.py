"""What there is, under noise: how many patients, and how each feature is distributed.

A histogram is asked for first. It tells where each measured variable's values lie, so that moments
can be taken of the values there: noise on a mean is a share of the window's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.algorithms.private_ask import ask
from wardround.algorithms.private_windows import REACH, find_place, window
from wardround.algorithms.statistics import QUANTILES
from wardround.federation.federation import Federation
from wardround.learning.agreed import expected_training, measured_variables, variables_of
from wardround.learning.glm import Standardisation
from wardround.learning.histogram import Distribution
from wardround.learning.private_histogram import NoisyDistributions, PrivateHistogram
from wardround.learning.private_moments import NoisyMoments, PrivateMoments
from wardround.learning.scaling import Scaling
from wardround.study.checks import HISTOGRAM_BINS
from wardround.trust.canonical import JSON

_HARDLY = 0.1
"""Noise of so much of a variance hardly shows in a scale."""


@dataclass(frozen=True, eq=False)
class PrivateStatistics:
    """Noisy moments and histograms of the training patients."""

    features: tuple[str, ...]
    moments: NoisyMoments
    distributions: tuple[Distribution, ...]
    histogram_noise: float

    @property
    def scaling(self) -> Scaling:
        """Noisy means and deviations, for every site to apply."""
        moments = self.moments
        standardisation = Standardisation(moments.mean, moments.deviation)
        if moments.outcome_mean is None or moments.outcome_deviation is None:
            return Scaling(standardisation)
        return Scaling(standardisation, moments.outcome_mean, moments.outcome_deviation)

    def to_json(self) -> list[JSON]:
        """Feature by feature, as `Statistics.to_json` has it."""
        table: list[JSON] = []
        for i, name in enumerate(self.features):
            distribution = self.distributions[i]
            found = {share: distribution.quantile(share) for share in QUANTILES}
            quantiles: dict[str, JSON] = {
                f"p{share * 100:.0f}": {"value": one[0], "bin_width": one[1]}
                for share, one in found.items()
                if one is not None
            }
            table.append(
                {
                    "name": name,
                    "mean": float(self.moments.mean[i]),
                    "mean_noise": float(self.moments.mean_noise[i]),
                    "standard_deviation": float(self.moments.deviation[i]),
                    "quantiles": quantiles,
                    "histogram": {
                        "edges": distribution.edges.tolist(),
                        "counts": distribution.counts.tolist(),
                    },
                }
            )
        return table


async def describe(federation: Federation) -> PrivateStatistics:
    """Histograms of as many equally wide bins as there may be, then moments in windows.

    How noisy moments over whole ranges would be is known from the histogram's noise: where that
    hardly shows in the mean and deviation, they are taken, as those in a window leave out what lies
    beyond. So they are where no window can be found for the noise.
    """
    study = federation.study
    agreed = variables_of(study)
    found, _ = await ask(federation, PrivateHistogram, {"bins": HISTOGRAM_BINS})
    federation.say("quantiles", bins=HISTOGRAM_BINS, noise=found.noise)
    windows = choose_windows(
        found, agreed.bounds, measured_variables(study), expected_training(study)
    )
    narrow: list[JSON] = [[low, high] for low, high in windows]
    moments, _ = await ask(federation, PrivateMoments, {"windows": narrow})
    federation.say("statistics", records=moments.records, noise=moments.records_noise)
    distributions = found.distributions(moments.records)[: len(agreed.features)]
    return PrivateStatistics(agreed.features, moments, distributions, found.noise)


def choose_windows(
    found: NoisyDistributions,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]],
    measured: Sequence[bool],
    patients: float,
) -> list[tuple[float, float]]:
    """From where to where the moments of each variable are taken; the whole range of yes/no ones.

    ``found`` are the variables' noisy histograms, ``patients`` about how many there are.
    """
    chosen = []
    bins = found.counts.shape[1]
    for counts, low, high, is_measured in zip(
        found.counts, bounds[0].tolist(), bounds[1].tolist(), measured, strict=True
    ):
        place = find_place(counts, found.noise, patients) if is_measured else None
        start, end = (0.0, float(bins)) if place is None else window(place, bins)
        if _known_anyway(start, end, found.noise / patients, bins):
            start, end = 0.0, float(bins)
        width = (high - low) / bins
        chosen.append(
            (
                low if start <= 0 else max(low, low + width * start),
                high if end >= bins else min(high, low + width * end),
            )
        )
    return chosen


def _known_anyway(start: float, end: float, noise: float, bins: int) -> bool:
    """Whether moments over the whole range have hardly any noise, `_HARDLY` of the variance.

    ``start`` to ``end`` is a window, in bins, and ``noise`` that of a histogram's count as a share
    of the patients. As the weights of `learning.private_moments` are, the mean of u over the range
    has about 1.25 times as much, that of its square not quite as much as a count; the mean's is
    doubled by squaring it.
    """
    half = 0.5 * bins
    deviation, mean = (end - start) / (2.0 * REACH * half), abs(0.5 * (start + end) / half - 1.0)
    return (1.0 + 2.5 * mean) * noise <= _HARDLY * deviation * deviation
