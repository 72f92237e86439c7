"""What there is: how many records, and how each feature is distributed over all hospitals."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.algorithms.ask import ask
from wardround.federation.federation import Federation
from wardround.learning.agreed import variables_of
from wardround.learning.counts import Counts, OutcomeCounts
from wardround.learning.glm import Standardisation
from wardround.learning.histogram import MAXIMUM_BINS, Distribution, Histogram, even_edges
from wardround.learning.moments import Moments, MomentsTotals
from wardround.trust.canonical import JSON

QUANTILES = (0.25, 0.5, 0.75)
_COARSE_BINS = 32


@dataclass(frozen=True, eq=False)
class Statistics:
    """Federated counts, moments and quantiles, and how many figures sites held back in each."""

    features: tuple[str, ...]
    counts: Counts
    moments: MomentsTotals
    distributions: tuple[Distribution, ...]
    suppressed: dict[str, int]

    @property
    def standardisation(self) -> Standardisation:
        """The means and deviations of the training records, for every site to apply."""
        return Standardisation(self.moments.mean, self.moments.deviation)

    def to_json(self) -> dict[str, JSON]:
        """For the candidate's papers; a quantile stands beside the width of its bin.

        The histograms are what hospitals compare their own records with (drift).
        """
        table: list[JSON] = []
        for i, name in enumerate(self.features):
            quantiles: dict[str, JSON] = {}
            for share in QUANTILES:
                found = self.distributions[i].quantile(share)
                if found is not None:
                    quantiles[f"p{share * 100:.0f}"] = {"value": found[0], "bin_width": found[1]}
            table.append(
                {
                    "name": name,
                    "mean": float(self.moments.mean[i]),
                    "standard_deviation": float(self.moments.deviation[i]),
                    "quantiles": quantiles,
                    "histogram": {
                        "edges": self.distributions[i].edges.tolist(),
                        "counts": self.distributions[i].counts.tolist(),
                    },
                }
            )
        counts = self.counts
        return {
            "records": {
                "train": counts.train,
                "test": counts.test,
                "train_cases": counts.train_cases,
                "test_cases": counts.test_cases,
            },
            "training_records_in_moments": self.moments.records,
            "features": table,
            "suppressed": {**self.suppressed},
        }


async def describe(federation: Federation) -> Statistics:
    """Counts, then moments, then two histograms: one of equal bins, one refined by it.

    The refined bins are made wide enough that a site of average size should have about twice the
    smallest cell in each; what a smaller site holds back is counted.
    """
    study = federation.study
    counts, few_counts = await ask(federation, OutcomeCounts, {})
    moments, few_moments = await ask(federation, Moments, {})
    federation.say("statistics", records=moments.records, suppressed=few_counts + few_moments)

    agreed = variables_of(study)
    ranges = zip(agreed.low.tolist(), agreed.high.tolist(), strict=True)
    coarse = [even_edges(low, high, _COARSE_BINS) for low, high in ranges]
    first, few_coarse = await ask(federation, Histogram, {"edges": [[*row] for row in coarse]})
    per_cell = 2 * max(study.disclosure.minimum_cell, 3) * len(study.sites)
    bins = max(4, min(MAXIMUM_BINS, moments.records // per_cell))
    fine = [distribution.refined(bins) for distribution in first]
    distributions, few_fine = await ask(federation, Histogram, {"edges": [[*row] for row in fine]})
    federation.say("quantiles", bins=bins, suppressed=few_coarse + few_fine)
    return Statistics(
        features=agreed.features,
        counts=counts,
        moments=moments,
        distributions=distributions,
        suppressed={
            "outcome_counts": few_counts,
            "moments": few_moments,
            "histograms": few_coarse + few_fine,
        },
    )
