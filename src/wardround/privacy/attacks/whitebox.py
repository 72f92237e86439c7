"""The hardest patients there can be: each alone in a lane, and longer than the clipping norm.

The auditor sees every release and knows every other patient, so a made-up patient whose clipped
vector fills one lane of its own leaves exactly one number to look at per release: noise, or noise
and the whole sensitivity (Dirac gradients: Nasr, Song, Thakurta, Papernot and Carlini, Adversary
instantiation, S&P 2021; white-box canaries in Steinke, Nasr and Jagielski 2023, section 6). A lane
behaves as if the others were not there, so one run of the mechanism is many experiments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.attacks.canaries import ScoreCanaries
from wardround.privacy.events import Gaussian, Skellam, deviation

LENGTH = 10.0
"""Of a canary's vector before it is clipped to 1: what isn't clipped shows."""

_LANES = 64
"""Canaries whose rows are built at a time: rows are almost all zeros, and sums add up."""


class Mechanism(Protocol):
    """A mechanism in its parts (`privacy.noisy_sums.NoisySums`), each of which may be wrong."""

    def batch(self, patients: int, event: Gaussian | Skellam) -> NDArray[np.bool_]:
        """Who takes part in one release, shape (patients,)."""
        ...

    def clipped_sum(
        self, rows: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The chosen of the rows (patients, lanes), clipped and summed in steps, shape (lanes,)."""
        ...

    def noise(self, lanes: int, event: Gaussian | Skellam) -> NDArray[np.int64]:
        """The noise of one release in steps, shape (lanes,)."""
        ...

    def in_units(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """Steps in units of a patient's largest vector."""
        ...


def white_box(
    mechanism: Mechanism, releases: Iterable[tuple[Gaussian | Skellam, int]]
) -> ScoreCanaries:
    """Score canaries by all of the releases, each event as often as stated.

    A canary takes part in every release that draws it. Its score is the logarithm of the ratio of
    likelihoods, *in* to *out*, that the released lanes have under the event's own noise: the best
    that anybody can do, if the mechanism does what its events say.
    """
    planned = tuple(releases)

    def score(included: NDArray[np.bool_]) -> NDArray[np.float64]:
        found = np.zeros(len(included))
        for event, times in planned:
            for _ in range(times):
                found += _log_ratio(_release(mechanism, event, included), event)
        return found

    return score


def _release(
    mechanism: Mechanism, event: Gaussian | Skellam, included: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """One noisy sum with a lane for each canary, shape (canaries,)."""
    present = included & mechanism.batch(len(included), event)
    total = np.zeros(len(included), dtype=np.int64)
    for start in range(0, len(included), _LANES):
        part = present[start : start + _LANES]
        total[start : start + _LANES] = mechanism.clipped_sum(LENGTH * np.eye(len(part)), part)
    return mechanism.in_units(total + mechanism.noise(len(included), event))


def _log_ratio(seen: NDArray[np.float64], event: Gaussian | Skellam) -> NDArray[np.float64]:
    """Of a normal distribution around 1 (with the sampling rate; else 0) to one around 0."""
    shifted = (seen - 0.5) / deviation(event.noise_multiplier) ** 2
    if event.sampling_rate == 1:
        return shifted
    mixed: NDArray[np.float64] = np.logaddexp(
        np.log1p(-event.sampling_rate), np.log(event.sampling_rate) + shifted
    )
    return mixed
