"""Whether a computation's rows depend on one patient each, tried on a few.

All of differential privacy here rests on it: clipping bounds a patient's own row, and bounds
nothing if the patient moves the rows of others (as batch normalisation and attention across a batch
do). Computations come from one table of reviewed code, which is what the guarantee relies on; the
trial below can't prove it, but it catches a model that breaks it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError


def check_rows_do_not_mix(
    compute_rows: Callable[[NDArray[np.int64]], NDArray[np.float64]], sample: NDArray[np.int64]
) -> None:
    """Compute the patients of ``sample`` (k,) together, reversed, and each alone, and compare.

    ``compute_rows`` gives the rows, shape (patients, lanes), of the patients with those indices.
    Raises WR-LEARN-030 at the slightest difference.
    """
    together = compute_rows(sample)
    refuse_mixing(together, compute_rows(sample[::-1])[::-1])
    refuse_mixing(
        together, np.concatenate([compute_rows(sample[i : i + 1]) for i in range(len(sample))])
    )


def refuse_mixing(rows: NDArray[np.float64], again: NDArray[np.float64]) -> None:
    """Refuse unless the same patients' rows are the same to the last bit, in whatever company.

    Raises WR-LEARN-030, which tells of no patient.
    """
    if rows.shape != again.shape or rows.tobytes() != np.ascontiguousarray(again).tobytes():
        raise WardroundError(
            "WR-LEARN-030",
            "The model's layers mix patients: one patient's vector depends on who else is in the "
            "batch, so that clipping it bounds nothing.",
            "Replace layers such as batch normalisation by ones that see one patient at a time "
            "(layer or group normalisation); nothing left the hospital.",
        )
