"""The task `private_products`: noisy sufficient statistics of linear regression.

For each training patient v = (1, z, t), with features and outcome standardised, and the upper
triangle of v v'. Before the product is formed, v is brought to a length of at most ``reach`` =
clipping norm times sqrt(elements of v), so the norm counts in root mean squares: an average patient
of standardised data has 1. Off-diagonal products are weighted with sqrt(2), so that the row of v is
exactly |v|^2 long. (Sufficient-statistics perturbation: Vu and Slavkovic 2009; with a ridge that
follows the noise, AdaSSP: Wang 2018, algorithm 2.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from wardround.learning.parameters import Reader, no_model
from wardround.learning.records import Family, Records, Variables
from wardround.learning.scaling import Scaling

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON


@dataclass(frozen=True, eq=False)
class NoisyProducts:
    """Noisy Z'Z (m, m), Z't (m,) and t't of standardised data.

    ``noise`` is the standard deviation of the noise on a diagonal element; off the diagonal it is
    less by sqrt(2).
    """

    information: NDArray[np.float64]
    products: NDArray[np.float64]
    outcome_squares: float
    noise: float


@dataclass(frozen=True, eq=False)
class PrivateProducts:
    """Lanes: the upper triangle of v v', row by row."""

    kind: ClassVar[str] = "private_products"

    variables: Variables
    scaling: Scaling
    clipping_norm: float
    with_quantile: bool = False

    @classmethod
    def parse(cls, parameters: Mapping[str, JSON], model: NDArray[np.float64] | None) -> Self:
        """Read the scaling and the study's ``clipping_norm``."""
        no_model(model)
        reader = Reader(parameters)
        variables = Variables.parse(reader)
        if variables.family is not Family.LINEAR:
            raise reader.malformed("variables.family", "must be linear")
        scaling = Scaling.parse(reader, variables)
        task = cls(variables, scaling, reader.number("clipping_norm", 1e-9, 1e6))
        reader.done()
        return task

    @property
    def _size(self) -> int:
        return len(self.variables.features) + 2

    @property
    def _reach(self) -> float:
        return self.clipping_norm * float(np.sqrt(float(self._size)))

    @property
    def _weights(self) -> NDArray[np.float64]:
        rows, columns = np.triu_indices(self._size)
        return np.where(rows == columns, 1.0, np.sqrt(2.0))

    @property
    def lanes(self) -> int:
        """One for each product."""
        return self._size * (self._size + 1) // 2

    def rows(self, records: Records) -> NDArray[np.float64]:
        """Each training patient's products, at most 1 long."""
        design = self.scaling.standardisation.design(records.x)
        v = np.column_stack([design, self.scaling.outcome(records.y)]) / self._reach
        squares = np.zeros(len(v))
        for column in v.T:
            squares += column * column
        v /= np.maximum(1.0, np.sqrt(squares))[:, np.newaxis]
        i, j = np.triu_indices(self._size)
        rows = v[:, i] * v[:, j] * self._weights
        rows[records.test] = 0.0
        return rows

    def read(self, total: NDArray[np.float64], noise: float) -> NoisyProducts:
        """The symmetric matrix, in units of standardised data."""
        square = self._reach * self._reach
        upper = np.zeros((self._size, self._size))
        upper[np.triu_indices(self._size)] = total / self._weights * square
        whole = upper + upper.T - np.diag(np.diagonal(upper))
        return NoisyProducts(whole[:-1, :-1], whole[:-1, -1], float(whole[-1, -1]), noise * square)
