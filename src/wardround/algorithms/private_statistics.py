"""What there is, under noise: how many patients, and how each feature is distributed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wardround.algorithms.private_ask import ask
from wardround.algorithms.statistics import QUANTILES
from wardround.federation.federation import Federation
from wardround.learning.agreed import variables_of
from wardround.learning.glm import Standardisation
from wardround.learning.histogram import MAXIMUM_BINS
from wardround.learning.private_histogram import NoisyDistributions, PrivateHistogram
from wardround.learning.private_moments import NoisyMoments, PrivateMoments
from wardround.learning.scaling import Scaling
from wardround.trust.canonical import JSON

_LEAST_BINS = 4


@dataclass(frozen=True, eq=False)
class PrivateStatistics:
    """Noisy moments and histograms of the training patients."""

    features: tuple[str, ...]
    moments: NoisyMoments
    histograms: NoisyDistributions

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
            distribution = self.histograms.distributions[i]
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
    """Moments, then histograms of equally wide bins.

    There are as many bins as leave about three deviations of the noise for each, going by the
    noisy number of patients.
    """
    agreed = variables_of(federation.study)
    moments, total = await ask(federation, PrivateMoments, {})
    federation.say("statistics", records=moments.records, noise=moments.records_noise)
    # A histogram's noise: that of the same line, times sqrt(features).
    noise = total.noise * math.sqrt(len(agreed.features))
    wanted = moments.records / (3.0 * noise) if noise > 0 else float(MAXIMUM_BINS)
    bins = max(_LEAST_BINS, min(MAXIMUM_BINS, int(min(wanted, float(MAXIMUM_BINS)))))
    histograms, _ = await ask(federation, PrivateHistogram, {"bins": bins})
    federation.say("quantiles", bins=bins, noise=histograms.noise)
    return PrivateStatistics(agreed.features, moments, histograms)
