"""Whether this hospital's patients are like those of the federation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.quality.finding import Check, Finding, Level
from wardround.clinical.quality.material import Histogram, Material
from wardround.clinical.quality.outcome import classes
from wardround.clinical.quality.thresholds import Thresholds

_BINS = 10
"""The number of bins for which the usual limits of the index, .1 and .25, were set."""

_Z99 = 2.3263478740408408
"""The normal quantile of one-sided 99 %."""

_PSEUDO = 0.5
"""Added to each bin's count, so that an empty bin has a finite logarithm."""


def drift(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """Population stability index of each feature against the federation's histogram.

    The sum over bins of (p - q) ln(p / q), p and q the shares here and there. For two samples of
    the same population it is about (1/n + 1/m) times a chi-squared with bins - 1 degrees
    (Yurdakul 2018), which in a small hospital alone exceeds the limits: so a finding also needs
    the index to lie above that distribution's 99 % point. Where the federation's counts carry
    noise, each is first moved towards this hospital's share, as far as noise goes in 99 of 100
    cases: what noise can explain is no drift.
    """
    federation = material.federation
    for name in material.features if federation is not None else ():
        histogram = federation.histograms.get(name) if federation is not None else None
        values = material.concepts[name].usable
        if histogram is None or not values.size or not histogram.counts.sum() > 0:
            continue
        here, there = shares_in_bins(values, histogram)
        there = _within_noise(here, there, histogram)
        index = stability_index(here, there)
        chance = _chance(here, there)
        alarm = index > thresholds.psi_alarm
        if index <= max(thresholds.psi_watch, chance):
            continue
        yield Finding(
            Check.DRIFT,
            Level.BLOCK if alarm else Level.WARN,
            name,
            "Its values are spread otherwise than in the federation: stability index {psi}, where "
            f"{thresholds.psi_watch:g} is worth a look and {thresholds.psi_alarm:g} an alarm.",
            "Check unit and mapping first; then whether the hospital's patients do differ. If "
            "they do, that is no fault, and the steward decides.",
            {"psi": index, "chance_psi": chance, "patients": int(values.size)},
        )


def prevalence(material: Material, thresholds: Thresholds) -> Iterator[Finding]:
    """An outcome far more or less common than in the federation, beyond what chance does."""
    expected = None if material.federation is None else material.federation.prevalence
    outcomes = material.outcomes()
    if expected is None or not outcomes.size:
        return
    share = float(outcomes.mean())
    error = math.sqrt(max(expected * (1 - expected), 1e-9) / outcomes.size)
    if abs(share - expected) > max(thresholds.prevalence_warn, 2.576 * error):
        yield Finding(
            Check.PREVALENCE,
            Level.WARN,
            material.outcome,
            "{cases} of {patients} patients ({share}) have the outcome, in the federation "
            "{federation_share}.",
            "Check the outcome's value map (yes and no exchanged look like this) and the selection "
            "of patients.",
            {
                "cases": int(outcomes.sum()),
                "patients": int(outcomes.size),
                "share": share,
                "federation_share": expected,
            },
        )


def compared(material: Material) -> str | None:
    """Why drift can't be checked, if it can't."""
    if material.federation is None or not material.federation.histograms:
        return "the federation's histograms are not opened yet"
    return None


def known_prevalence(material: Material) -> str | None:
    """Why the outcome's share can't be compared, if it can't."""
    if material.federation is None or material.federation.prevalence is None:
        return "the federation's share of the outcome is not opened yet"
    return classes(material)


def shares_in_bins(
    values: NDArray[np.float64], histogram: Histogram
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts here and there, each shape ``(bins,)``, in at most ten bins of about equal counts.

    Fine bins are joined by the federation's counts, so the choice doesn't depend on ``values``.
    """
    inner = histogram.edges[1:-1]
    here = np.bincount(np.searchsorted(inner, values, side="right"), minlength=inner.size + 1)
    below = np.cumsum(histogram.counts) / histogram.counts.sum()
    # The bin of ten in which the middle of each fine bin's mass lies.
    middle = below - histogram.counts / histogram.counts.sum() / 2
    joined = np.minimum((middle * _BINS).astype(np.int64), _BINS - 1)
    _, joined = np.unique(joined, return_inverse=True)
    starts = np.flatnonzero(np.diff(joined, prepend=-1))  # joined bins lie side by side
    counts = here.astype(np.float64)
    return np.add.reduceat(counts, starts), np.add.reduceat(histogram.counts, starts)


def _within_noise(
    here: NDArray[np.float64], there: NDArray[np.float64], histogram: Histogram
) -> NDArray[np.float64]:
    """The counts nearest to ``here``'s shares that noise could have turned into ``there``.

    A joined bin is taken to have the noise of all fine bins together: too much for most, so that
    nobody is stopped for noise.
    """
    reach = _Z99 * histogram.noise * math.sqrt(histogram.counts.size)
    alike = here / here.sum() * there.sum()
    nearest: NDArray[np.float64] = np.clip(alike, np.maximum(there - reach, 0.0), there + reach)
    return nearest


def stability_index(here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """The population stability index of two rows of counts over the same bins."""
    p = (here + _PSEUDO) / (here + _PSEUDO).sum()
    q = (there + _PSEUDO) / (there + _PSEUDO).sum()
    return float(((p - q) * np.log(p / q)).sum())


def _chance(here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
    """What the index exceeds in one of a hundred samples of the same population."""
    degrees = here.size - 1
    if degrees < 1:
        return math.inf
    # Wilson and Hilferty 1931: the chi-squared quantile without SciPy, within 1 % at these sizes.
    spread = 2.0 / (9.0 * degrees)
    quantile = degrees * (1.0 - spread + _Z99 * math.sqrt(spread)) ** 3
    return float((1.0 / here.sum() + 1.0 / there.sum()) * quantile)
