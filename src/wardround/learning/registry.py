"""Task kind -> computation, one explicit table; and the entry of the confined worker.

Nothing that isn't in the table can be computed at a hospital. This module and all it imports need
only numpy, so that the worker can shut every door before it sees data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.learning.contribution import BOUND, Computation, Limits, to_vector
from wardround.learning.counts import OutcomeCounts
from wardround.learning.folds import FoldNewton, FoldScores
from wardround.learning.histogram import Histogram
from wardround.learning.local_sgd import FedAvg
from wardround.learning.moments import Moments
from wardround.learning.newton import NewtonLinear, NewtonLogistic
from wardround.learning.parameters import Reader
from wardround.learning.records import Records
from wardround.learning.scores import PredictionMoments, ScoreHistogram

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

Kind: TypeAlias = type[Computation[object]]

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            OutcomeCounts,
            Moments,
            Histogram,
            NewtonLogistic,
            NewtonLinear,
            FoldNewton,
            FoldScores,
            FedAvg,
            ScoreHistogram,
            PredictionMoments,
        )
    }
)
"""Every computation that a study of this version can ask for."""


def find(kind: str) -> Kind:
    """The computation of that name; raise WR-LEARN-002 if there is none."""
    if kind not in KINDS:
        raise WardroundError(
            "WR-LEARN-002",
            "A task asks for a computation that this version doesn't have.",
            f"Known are {', '.join(sorted(KINDS))}; update Wardround if the study needs another.",
            path="task.kind",
        )
    return KINDS[kind]


def length(computation: Computation[object]) -> int:
    """How many elements the computation's vector has: its lanes and the suppression count."""
    return len(computation.units) + 1


def compute(
    columns: Mapping[str, NDArray[np.float64]],
    request: Mapping[str, JSON],
    model: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Compute one site's vector for one task; runs inside the hospital's sandbox.

    ``columns`` holds the study's features and outcome and `TEST_COLUMN`, each of shape
    (records,); ``request`` is ``{"kind", "parameters", "length", "limits": {"minimum_cell",
    "minimum_cohort"}}``. Returns shape (length,), no element beyond `BOUND` in magnitude. Raises
    WR-LEARN-001 to -008, and WR-PRIVACY-001 or -002 where the site has too few records for the
    study; no error tells a value.
    """
    reader = Reader(request, "request")
    limits = reader.table("limits")
    rules = Limits(
        minimum_cell=limits.whole("minimum_cell", 0, 1 << 20),
        minimum_cohort=limits.whole("minimum_cohort", 1, 1 << 30),
    )
    limits.done()
    parameters = request.get("parameters")
    if not isinstance(parameters, Mapping):
        raise reader.malformed("parameters", "must be a table")
    computation = find(reader.text("kind")).parse(parameters, model)
    if reader.whole("length", 1, 1 << 31) != length(computation):
        raise reader.malformed("length", "must be what the task's parameters make it")
    records = Records.take(columns, computation.variables)
    rules.check(records, computation.variables.family)
    vector = to_vector(computation, computation.contribute(records, rules))
    if not bool((np.abs(vector) <= BOUND).all()):  # also catches what is not finite
        raise WardroundError(
            "WR-LEARN-008",
            "A computation went beyond the bound that was proved for it.",
            "This is a fault in Wardround; nothing left the hospital. Please report it.",
        )
    return vector
