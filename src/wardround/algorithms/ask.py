"""One question to the federation, from its parameters to a total with names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.federation.federation import Federation
from wardround.ids import SiteName
from wardround.learning.contribution import Computation, from_total
from wardround.learning.specify import specify
from wardround.trust.canonical import JSON

Totals = TypeVar("Totals")


async def ask(
    federation: Federation,
    kind: type[Computation[Totals]],
    parameters: Mapping[str, JSON],
    model: NDArray[np.float64] | None = None,
) -> tuple[Totals, int]:
    """Sum one computation over the sites: its totals, and how many figures sites held back."""
    task = specify(federation.study, kind.kind, parameters, model)
    total = await federation.sum(task)
    return from_total(kind.parse(task.parameters, model), total.values)


async def ask_whom(
    federation: Federation,
    kind: type[Computation[Totals]],
    parameters: Mapping[str, JSON],
    model: NDArray[np.float64] | None = None,
) -> tuple[Totals, tuple[SiteName, ...]]:
    """Sum one computation over the sites: its totals, and who is in them."""
    task = specify(federation.study, kind.kind, parameters, model)
    total = await federation.sum(task)
    totals, _ = from_total(kind.parse(task.parameters, model), total.values)
    return totals, total.survivors
