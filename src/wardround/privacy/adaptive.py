"""The clipping norm follows a noisy median of the patients' norms (Andrew et al. 2021).

Auditors repeat this bit by bit on other machines. So it uses only what IEEE 754 rounds alike
everywhere: no exponential function, but its first diagonal Padé approximation, which has the same
sign, the same symmetry (up and down by the same share cancel) and differs by less than 0.0001 for
the steps that are possible here.
"""

from __future__ import annotations

import math

from wardround.errors import WardroundError
from wardround.privacy.clipping import QUANTILE_WEIGHT

LEARNING_RATE = 0.2
"""How fast the norm follows: by at most a tenth in one step. 0.2 is the authors' choice."""

SMALLEST_NORM = 1e-6
LARGEST_NORM = 1e6


def next_clipping_norm(
    norm: float,
    noisy_quantile_total: float,
    patients_expected: float,
    learning_rate: float = LEARNING_RATE,
) -> float:
    """Move the clipping ``norm`` towards the median of the norms, by a share of itself.

    ``noisy_quantile_total`` is the quantile's lane of the noisy sum (`clipping.clip_and_sum`), in
    units of a patient's clipped vector, ``patients_expected`` how many patients the batch has on
    average (a public number). Were all vectors longer than the norm, it would grow by the factor
    e^(learning_rate / 2), nearly; noise can't make it move faster. The result stays between 10^-6
    and 10^6.

    Raises WR-PRIVACY-015 for numbers that aren't finite, or not positive where they have to be.
    """
    numbers = (norm, noisy_quantile_total, patients_expected, learning_rate)
    if not (all(map(math.isfinite, numbers)) and norm > 0 and patients_expected > 0) or not (
        0 <= learning_rate <= 1
    ):
        raise WardroundError(
            "WR-PRIVACY-015",
            "A clipping norm can't follow from a total, a norm or a number of patients like these.",
            "Norm and patients are positive, the learning rate is from 0 to 1, the total finite; "
            "a study that asks for anything else was not checked.",
        )
    above_median = noisy_quantile_total / (2 * QUANTILE_WEIGHT * patients_expected)
    half = learning_rate * min(max(above_median, -0.5), 0.5) / 2
    return min(max(norm * ((1 - half) / (1 + half)), SMALLEST_NORM), LARGEST_NORM)
