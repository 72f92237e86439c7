"""Cholesky in a fixed order of elementary operations, so that every machine gets the same bits.

An auditor replays a study from its recorded totals and compares the model byte for byte. BLAS and
LAPACK may add in another order, or fuse, on another processor. Here each element undergoes the
same IEEE 754 additions, multiplications, divisions and square roots in the same order anywhere.
(Golub and Van Loan, Matrix Computations, 4th ed., section 4.2.5: outer-product Cholesky.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError

_LEAST_PIVOT = 1e-12
"""A pivot this small against its diagonal element is rounding, not information."""


def cholesky(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower-triangular L, shape (m, m), with L Lᵀ = ``matrix`` (symmetric).

    Raises WR-LEARN-011 if the matrix is not clearly positive definite.
    """
    work = matrix.copy()
    size = len(work)
    for k in range(size):
        if not work[k, k] > _LEAST_PIVOT * matrix[k, k]:
            raise WardroundError(
                "WR-LEARN-011",
                "The coefficients are not determined by the data: features repeat one another, "
                "or they separate the outcome perfectly.",
                "Set a ridge above 0 in the study (model.ridge), or leave a feature out.",
            )
        work[k:, k] /= np.sqrt(work[k, k])
        work[k + 1 :, k + 1 :] -= np.multiply.outer(work[k + 1 :, k], work[k + 1 :, k])
    lower: NDArray[np.float64] = np.tril(work)
    return lower


def solve(lower: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x with L Lᵀ x = ``right``; ``right`` has shape (m,) or (m, columns)."""
    x = right.astype(np.float64)
    size = len(lower)
    for k in range(size):
        x[k] /= lower[k, k]
        x[k + 1 :] -= np.multiply.outer(lower[k + 1 :, k], x[k])
    for k in reversed(range(size)):
        x[k] /= lower[k, k]
        x[:k] -= np.multiply.outer(lower[k, :k], x[k])
    return x


def inverse(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of L Lᵀ, shape (m, m)."""
    return solve(lower, np.eye(len(lower)))
