"""A computation that does nothing: what is measured is the exchange around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

HALF = np.float32(0.5)


def compute(
    columns: Mapping[str, NDArray[np.float64]],
    request: Mapping[str, object],
    model: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """Half of the model, shape (length,), as float32; nothing of what is carried behind it."""
    if model is None:
        raise ValueError("the echo needs a model")
    return model[: cast("int", request["length"])] * HALF
