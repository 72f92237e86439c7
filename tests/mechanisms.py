"""The mechanism under audit, mutants of it, and the checks that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.accountant import epsilon
from wardround.privacy.attacks import (
    CanaryPlan,
    CanaryResult,
    audit_in_one_run,
    invert_layer,
    relative_error,
)
from wardround.privacy.attacks.whitebox import Mechanism, white_box
from wardround.privacy.events import Gaussian, Skellam
from wardround.privacy.noisy_sums import NoisySums

DELTA = 1e-5


class NoiseOff(NoisySums):
    """A mutant: it forgets the noise."""

    def noise(self, lanes: int, event: Gaussian | Skellam) -> NDArray[np.int64]:
        return np.zeros(lanes, dtype=np.int64)


class TwiceTheLength(NoisySums):
    """A mutant: it clips to 2, where the noise is made for 1."""

    def clipped_sum(
        self, rows: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        return 2 * super().clipped_sum(rows / 2, chosen)


def sums(seed: int, kind: type[NoisySums] = NoisySums) -> NoisySums:
    """The real sums, or a mutant of them, on keys that the test can repeat."""
    generator = np.random.default_rng(seed)
    return kind(lambda: generator.bytes(32), carriers=2)


def canaries(
    mechanism: Mechanism,
    releases: Sequence[tuple[Gaussian | Skellam, int]],
    seed: int,
    *,
    count: int = 20_000,
    guesses: int = 400,
) -> CanaryResult:
    """One run of the white-box audit; the coins come from a generator of the test."""
    generator = np.random.default_rng(seed)
    return audit_in_one_run(
        CanaryPlan(count, guesses, DELTA),
        white_box(mechanism, releases),
        lambda number: generator.random(number) < 0.5,
    )


def keeps_its_claim(
    mechanism: Mechanism, releases: Sequence[tuple[Gaussian | Skellam, int]], seed: int
) -> bool:
    """Check: the white-box bound doesn't exceed what the accountant proves for the releases.

    Draws are cheap where there is one release, so it gets more canaries.
    """
    count = 20_000 if sum(times for _, times in releases) > 1 else 60_000
    found = canaries(mechanism, releases, seed, count=count, guesses=count // 50)
    return not found.exceeds(epsilon(releases, DELTA))


def hides_records(mechanism: NoisySums, event: Gaussian | Skellam) -> bool:
    """Check: dividing a logistic gradient by its intercept's is no better than a blind guess."""
    x = np.random.default_rng(7).normal(size=(100, 8))
    gradients = 0.5 * np.column_stack([np.ones(100), x])
    seen = np.stack([mechanism.release(row[None, :], event) for row in gradients])
    found = invert_layer(seen[:, None, 1:], seen[:, :1])
    return float(np.median(relative_error(found, x))) > 0.8
