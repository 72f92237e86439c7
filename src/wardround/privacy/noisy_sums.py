"""One noisy sum of patients' vectors, composed of the parts that a hospital's trusted code uses.

A simulation or an audit that takes its sums from here runs the real batches, clipping and noise,
not a model of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.batches import draw_batch
from wardround.privacy.clipping import clip_and_sum
from wardround.privacy.events import FRACTIONAL_BITS, Gaussian, Skellam
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.shares import noise_share

FreshKey: TypeAlias = Callable[[], bytes]
"""32 bytes of a cryptographic generator, never the same twice."""


@dataclass(frozen=True)
class NoisySums:
    """The sums of a study as whoever opens them sees them, with exactly the noise that is priced.

    Skellam noise comes in shares from ``carriers``: as many hospitals as must survive, less the
    corrupt ones, who know their own. Every draw has a key of its own from ``fresh_key``.
    """

    fresh_key: FreshKey
    carriers: int = 1

    def batch(self, patients: int, event: Gaussian | Skellam) -> NDArray[np.bool_]:
        """Who takes part in one release, shape (patients,)."""
        return draw_batch(NoiseSource(self.fresh_key()), patients, event.sampling_rate)

    def clipped_sum(
        self, rows: NDArray[np.float64], chosen: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The chosen of ``rows`` (patients, lanes), clipped and summed in steps, shape (lanes,)."""
        return clip_and_sum(rows, chosen, with_quantile=False)

    def noise(self, lanes: int, event: Gaussian | Skellam) -> NDArray[np.int64]:
        """The noise of one release in steps, shape (lanes,)."""
        shares = self.carriers if isinstance(event, Skellam) else 1
        total = np.zeros(lanes, dtype=np.int64)
        for _ in range(shares):
            total += noise_share(event, shares, NoiseSource(self.fresh_key()), lanes)
        return total

    def in_units(self, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """Steps in units of a patient's largest vector."""
        return total.astype(np.float64) / (1 << FRACTIONAL_BITS)

    def release(self, rows: NDArray[np.float64], event: Gaussian | Skellam) -> NDArray[np.float64]:
        """One release of patients' rows, shape (patients, lanes), in units: shape (lanes,)."""
        total = self.clipped_sum(rows, self.batch(len(rows), event))
        return self.in_units(total + self.noise(rows.shape[1], event))
