"""The task `private_moments`: noisy means and standard deviations, for standardisation.

With u in [-1, 1] (a variable by its plausible range) each training patient's row is

    [a, b u_1 .. b u_v, c (2 u_1^2 - 1) .. c (2 u_v^2 - 1)],    v variables.

Centring the square halves its noise at the same length: b^2 u^2 + c^2 (2 u^2 - 1)^2 is convex in
u^2, so largest at u^2 = 1, and no row is longer than sqrt(a^2 + v (b^2 + c^2)) = 1. What matters is
the error of the variance, which adds up from (noise / 2c)^2 and (2 mean noise / b)^2; for a mean of
one half of the half-range its sum is least at b^2 = 2 c^2. The count errs with the mean: a = b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Family, Records, Variables

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

_PRIOR_VARIANCE = 1.0 / 16.0
"""Of u, before anything is known: a plausible range of about eight standard deviations."""

_PRIOR_MEAN_VARIANCE = 0.25
"""Of the mean of u around the middle of the range."""

_LEAST_SHARE = 0.1
"""The noisy count is held to at least this share of the study's expected training patients."""


@dataclass(frozen=True, eq=False)
class NoisyMoments:
    """Mean and standard deviation of each feature and of a measured outcome, and their noise.

    ``records`` is the noisy count of training patients; ``mean_noise`` (variables,) and
    ``records_noise`` are standard deviations of the noise, in the same units; the outcome is last.
    """

    records: float
    records_noise: float
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    mean_noise: NDArray[np.float64]
    outcome_mean: float | None
    outcome_deviation: float | None


@dataclass(frozen=True, eq=False)
class PrivateMoments:
    """Lanes: 1, then per variable u, then per variable 2 u^2 - 1, weighted as the module says.

    ``patients`` is how many training patients the study expects, a public constant.
    """

    kind: ClassVar[str] = "private_moments"

    variables: Variables
    patients: float
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read ``patients``; there is nothing to choose."""
        no_model(model)
        reader = Reader(parameters)
        task = cls(Variables.parse(reader), reader.number("patients", 0.1, 1e9))
        reader.done()
        return task

    @property
    def lanes(self) -> int:
        """One for the count, two per variable."""
        return 1 + 2 * len(self._low)

    @property
    def _low(self) -> NDArray[np.float64]:
        v = self.variables
        return np.append(v.low, v.outcome_low) if v.family is Family.LINEAR else v.low

    @property
    def _high(self) -> NDArray[np.float64]:
        v = self.variables
        return np.append(v.high, v.outcome_high) if v.family is Family.LINEAR else v.high

    @property
    def _weights(self) -> tuple[float, float, float]:
        """a, b, c with a = b, b^2 = 2 c^2 and a^2 + v (b^2 + c^2) = 1."""
        c = 1.0 / float(np.sqrt(2.0 + 3.0 * len(self._low)))
        b = c * float(np.sqrt(2.0))
        return b, b, c

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's row, at most 1 long."""
        low, half = self._low, 0.5 * (self._high - self._low)
        linear = self.variables.family is Family.LINEAR
        values = np.column_stack([records.x, records.y]) if linear else records.x
        u = (values - (low + half)) / half
        a, b, c = self._weights
        rows = np.column_stack([np.full(len(u), a), b * u, c * (2.0 * u * u - 1.0)])
        rows[records.test] = 0.0
        return rows

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyMoments:
        """Noisy means and deviations that are usable whatever the noise did.

        The count is held to a tenth of the expected one at least. Mean and variance of u are each
        weighted with what is likely beforehand (mean 0 with deviation 1/2; variance 1/16 with as
        large a deviation) by their precisions, so that a figure that is all noise gives way to a
        usual one; the variance is then held to a 64th of the usual one at least, or to its own
        noise where that is less, and the mean to the plausible range.
        """
        v = len(self._low)
        a, b, c = self._weights
        n = max(float(total[0]) / a, _LEAST_SHARE * self.patients, 1.0)
        # Means of u and u^2, and the standard deviations of their noise.
        first, second = total[1 : 1 + v] / (b * n), 0.5 * (total[1 + v : 1 + 2 * v] / (c * n) + 1.0)
        noise1, noise2 = noise / (b * n), noise / (2.0 * c * n)
        raw = np.clip(first, -1.0, 1.0)
        u = raw * (_PRIOR_MEAN_VARIANCE / (_PRIOR_MEAN_VARIANCE + noise1 * noise1))
        variance_noise2 = noise2 * noise2 + 4.0 * raw * raw * noise1 * noise1
        # The square of a noisy mean is too large by the noise's variance.
        variance = second - raw * raw + noise1 * noise1
        prior2 = _PRIOR_VARIANCE * _PRIOR_VARIANCE
        mixed = (variance * prior2 + _PRIOR_VARIANCE * variance_noise2) / (prior2 + variance_noise2)
        least = np.maximum(np.minimum(_PRIOR_VARIANCE / 64.0, np.sqrt(variance_noise2)), 2.0**-30)
        spread = np.sqrt(np.clip(mixed, least, 1.0))
        half = 0.5 * (self._high - self._low)
        mean = np.clip(self._low + half + half * u, self._low, self._high)
        deviation = half * spread
        features = len(self.variables.features)
        linear = self.variables.family is Family.LINEAR
        return NoisyMoments(
            records=n,
            records_noise=noise / a,
            mean=mean[:features],
            deviation=deviation[:features],
            mean_noise=half * noise1,
            outcome_mean=float(mean[-1]) if linear else None,
            outcome_deviation=float(deviation[-1]) if linear else None,
        )
