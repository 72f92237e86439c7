"""The task `private_moments`: noisy means and standard deviations, for standardisation.

Each variable has a window inside its plausible range, which the coordinator chooses from a noisy
histogram (`algorithms.private_windows`) or leaves as wide as the range. With u in [-1, 1] (a value
clipped to its window, whose middle is 0) each training patient's row is

    [a, b u_1 .. b u_v, c (2 u_1^2 - 1) .. c (2 u_w^2 - 1)]

for v variables, of which w are measured: a yes/no variable's square is 1, so its deviation follows
from its mean. Centring the square halves its noise at the same length: b^2 u^2 + c^2 (2 u^2 - 1)^2
is convex in u^2, so largest at u^2 = 1, and no row is longer than sqrt(a^2 + v b^2 + w c^2) = 1.
What matters is the error of the variance, which adds up from (noise / 2c)^2 and
(2 mean noise / b)^2; for a mean of one half of the half-range that is least at b^2 = 2 c^2. The
count errs with the mean: a = b.
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
"""Of u, before anything is known: a window or plausible range of about eight deviations."""

_PRIOR_MEAN_VARIANCE = 0.25
"""Of the mean of u around the middle of a plausible range."""

_PRIOR_MEAN_VARIANCE_IN_WINDOW = 1.0 / 16.0
"""Of the mean of u around the middle of a narrower window, which was found where the values are."""

_MISSED = 0.6
"""The mean of u beyond which, if it can't be told from an end, a window missed the values."""

_LEAST_WINDOW = 2.0**-6
"""Of the plausible range."""

_LEAST_DEVIATION = 2.0**-20
"""Of the plausible range: what the next task accepts as a scale."""

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
    """Lanes: 1, per variable u, per measured variable 2 u^2 - 1, weighted as the module says.

    ``patients`` is how many training patients the study expects, a public constant; ``measured``
    (features,) says which features are measured and not yes/no, by the study's concepts.
    """

    kind: ClassVar[str] = "private_moments"

    variables: Variables
    patients: float
    measured: tuple[bool, ...]
    windows: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Lower and upper ends, (variables,) each."""

    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the study's ``patients`` and ``measured``, and ``windows``, which may be chosen."""
        no_model(model)
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        patients = reader.number("patients", 0.1, 1e9)
        measured = tuple(one == 1 for one in reader.wholes("measured", 0, 1))
        low, high = variables.bounds
        pairs = reader.rows_of_numbers("windows", len(low))
        reader.done()
        if len(measured) != len(variables.features):
            raise reader.malformed("measured", "must be 1 or 0 for each feature")
        if any(len(pair) != 2 for pair in pairs):
            raise reader.malformed("windows", "must be pairs of a lower and an upper end")
        windows = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
        least = _LEAST_WINDOW * (high - low)
        if not bool(((windows[0] >= low) & (windows[1] <= high)).all()):
            raise reader.malformed("windows", "must lie within the variables' ranges")
        if not bool((windows[1] - windows[0] >= least).all()):
            raise reader.malformed("windows", "must not be narrower than 1/64 of the ranges")
        task = cls(variables, patients, measured, windows)
        if bool((task._narrow & ~task._measured).any()):
            raise reader.malformed("windows", "must be whole for yes/no variables")
        return task

    @property
    def lanes(self) -> int:
        """One for the count, one per variable, one more per measured variable."""
        return 1 + len(self._measured) + int(np.count_nonzero(self._measured))

    @property
    def _measured(self) -> NDArray[np.bool_]:
        linear = self.variables.family is Family.LINEAR
        return np.array([*self.measured, True] if linear else self.measured)

    @property
    def _narrow(self) -> NDArray[np.bool_]:
        """Which windows leave something of the range out."""
        (low, high), (start, end) = self.variables.bounds, self.windows
        return (start > low) | (end < high)

    @property
    def _weights(self) -> tuple[float, float, float]:
        """a, b, c with a = b, b^2 = 2 c^2 and a^2 + v b^2 + w c^2 = 1."""
        squares = 2.0 + 2.0 * len(self._measured) + float(np.count_nonzero(self._measured))
        c = 1.0 / float(np.sqrt(squares))
        b = c * float(np.sqrt(2.0))
        return b, b, c

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's row, at most 1 long."""
        low, high = self.windows
        half = 0.5 * (high - low)
        u = (np.clip(records.values(self.variables), low, high) - (low + half)) / half
        a, b, c = self._weights
        squares = 2.0 * u[:, self._measured] ** 2 - 1.0
        rows = np.column_stack([np.full(len(u), a), b * u, c * squares])
        rows[records.test] = 0.0
        return rows

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyMoments:
        """Noisy means and deviations that are usable whatever the noise did.

        The count is held to a tenth of the expected one at least. Mean and variance of u are each
        weighted with what is likely beforehand (mean 0 with deviation 1/2, in a window narrower
        than the range 1/4; variance 1/16 with as large a deviation) by their precisions, so that a
        figure that is all noise gives way to a usual one. Where all values seem to be clipped to
        one end of a narrower window, it missed them: what lies beyond that end is then what is
        known. The variance is held to its own noise at least where that is less than the usual one
        (a quarter of it in such a window), and the mean to the window.
        """
        v, measured, narrow = len(self._measured), self._measured, self._narrow
        a, b, c = self._weights
        n = max(float(total[0]) / a, _LEAST_SHARE * self.patients, 1.0)
        # Means of u and u^2, and the standard deviations of their noise.
        noise1, noise2 = noise / (b * n), noise / (2.0 * c * n)
        first = np.clip(total[1 : 1 + v] / (b * n), -1.0, 1.0)
        second = np.ones(v)
        second[measured] = 0.5 * (total[1 + v :] / (c * n) + 1.0)
        spare = np.where(narrow, _PRIOR_MEAN_VARIANCE_IN_WINDOW, _PRIOR_MEAN_VARIANCE)
        u = first * (spare / (spare + noise1 * noise1))
        # A noisy mean's square is too large by the noise's variance.
        variance = second - first * first + noise1 * noise1
        uncertainty = 4.0 * first * first * noise1 * noise1 + np.where(measured, noise2 * noise2, 0)
        usual = np.where(measured, _PRIOR_VARIANCE, 1.0 - u * u)
        usual2 = np.where(measured, _PRIOR_VARIANCE * _PRIOR_VARIANCE, 0.25)
        mixed = (variance * usual2 + usual * uncertainty) / (usual2 + uncertainty)
        usually = np.where(narrow, 0.25 * _PRIOR_VARIANCE, _PRIOR_VARIANCE)
        least = np.maximum(np.minimum(usually, np.sqrt(uncertainty)), 2.0**-30)
        spread = np.sqrt(np.clip(mixed, least, 1.0))
        (low, high), (start, end) = self.variables.bounds, self.windows
        edge = np.maximum(_MISSED, 1.0 - 3.0 * noise1)
        below, above = (first < -edge) & (start > low), (first > edge) & (end < high)
        missed = below | above
        start, end = (
            np.where(above, end, np.where(below, low, start)),
            np.where(below, start, np.where(above, high, end)),
        )
        u = np.where(missed, 0.0, u)
        spread = np.where(missed, np.sqrt(_PRIOR_VARIANCE), spread)
        half = 0.5 * (end - start)
        mean = np.clip(start + half + half * u, start, end)
        deviation = np.maximum(half * spread, _LEAST_DEVIATION * (high - low))
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
