"""The noise that one site adds to its sum, as its event says."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.events import L2, Gaussian, Skellam
from wardround.privacy.gaussian import rounded_gaussian
from wardround.privacy.randomness import NoiseSource
from wardround.privacy.skellam import skellam


def share_variance(event: Gaussian | Skellam, carriers: int) -> int:
    """The variance of one site's noise on each element, in squared steps, rounded up.

    With Gaussian noise each site adds all of it; Skellam noise is divided among ``carriers``, the
    least number of sites that are sure to add theirs.
    """
    whole = math.ceil((event.noise_multiplier * L2) ** 2)
    return whole if isinstance(event, Gaussian) else -(-whole // carriers)


def noise_share(
    event: Gaussian | Skellam, carriers: int, source: NoiseSource, size: int
) -> NDArray[np.int64]:
    """One site's noise for a vector of ``size`` elements, in steps."""
    variance = share_variance(event, carriers)
    if isinstance(event, Skellam):
        return skellam(source, variance, size)
    return rounded_gaussian(source, math.sqrt(variance), size)
