"""One question to the federation under noise, from its parameters to a noisy total with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.federation.federation import Federation, Total
from wardround.learning.private import PrivateComputation
from wardround.learning.specify import specify
from wardround.trust.canonical import JSON

Totals = TypeVar("Totals")


async def ask(
    federation: Federation,
    kind: type[PrivateComputation[Totals]],
    parameters: Mapping[str, JSON],
    model: NDArray[np.float64] | None = None,
) -> tuple[Totals, Total]:
    """Sum one private computation over the sites: what the noisy total says, and the total."""
    task = specify(federation.study, kind.kind, parameters, model)
    total = await federation.sum(task)
    return kind.parse(task.parameters, model).read(total.values, total.noise), total
