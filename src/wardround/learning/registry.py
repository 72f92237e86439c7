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
from wardround.learning.buffered import BufferedFedAvg
from wardround.learning.contribution import BOUND, Computation, Limits, to_vector
from wardround.learning.counts import OutcomeCounts
from wardround.learning.folds import FoldNewton, FoldScores
from wardround.learning.histogram import Histogram
from wardround.learning.local_sgd import RANDOM_K, FedAvg
from wardround.learning.moments import Moments
from wardround.learning.newton import NewtonLinear, NewtonLogistic
from wardround.learning.parameters import Reader
from wardround.learning.private import PrivateComputation, rows_of
from wardround.learning.private_fedavg import PrivateFedAvg
from wardround.learning.private_gradient import PrivateGradient
from wardround.learning.private_histogram import PrivateHistogram
from wardround.learning.private_moments import PrivateMoments
from wardround.learning.private_products import PrivateProducts
from wardround.learning.private_scores import PrivateResiduals, PrivateScores
from wardround.learning.records import MAXIMUM_RECORDS, TEST_COLUMN, Records
from wardround.learning.scores import PredictionMoments, ScoreHistogram

if TYPE_CHECKING:
    from wardround.trust.canonical import JSON

Kind: TypeAlias = type[Computation[object]]
PrivateKind: TypeAlias = type[PrivateComputation[object]]

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
            BufferedFedAvg,
            ScoreHistogram,
            PredictionMoments,
        )
    }
)
"""Every computation that a study of this version can ask for, where nothing carries noise."""

PRIVATE_KINDS: Mapping[str, PrivateKind] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            PrivateMoments,
            PrivateHistogram,
            PrivateGradient,
            PrivateProducts,
            PrivateFedAvg,
            PrivateScores,
            PrivateResiduals,
        )
    }
)
"""Every computation that a study under differential privacy can ask for."""


STREAMED_KINDS = frozenset({BufferedFedAvg.kind})
"""The kinds that late cohorts sum, and rounds over all sites never: so no contribution is both in
a round's total and in a cohort's."""


def find(kind: str) -> Kind:
    """The computation of that name; raise WR-LEARN-002 if there is none."""
    if kind not in KINDS:
        raise _unknown(KINDS)
    return KINDS[kind]


def find_private(kind: str) -> PrivateKind:
    """The private computation of that name; raise WR-LEARN-002 if there is none."""
    if kind not in PRIVATE_KINDS:
        raise _unknown(PRIVATE_KINDS)
    return PRIVATE_KINDS[kind]


def length(computation: Computation[object]) -> int:
    """How many elements the computation's vector has: its lanes and the suppression count."""
    return len(computation.units) + 1


def private_length(computation: PrivateComputation[object]) -> int:
    """How many elements a private total has: its lanes, and the quantile's where it is asked."""
    return computation.lanes + int(computation.with_quantile)


def compute(
    columns: Mapping[str, NDArray[np.float64]],
    request: Mapping[str, JSON],
    model: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Compute one site's vector for one task, or patients' rows; runs inside the sandbox.

    A ``request`` of a private kind is served by `compute_rows`; all others as follows.

    ``columns`` holds the study's features and outcome and `TEST_COLUMN`, each of shape
    (records,); ``request`` is ``{"kind", "parameters", "length", "limits": {"minimum_cell",
    "minimum_cohort"}}``, and with ``"carried"`` so many numbers behind the model are what the site
    has computed and not sent (`FedAvg.beside`). Returns shape (length,), no element beyond `BOUND`
    in magnitude. Raises WR-LEARN-001 to -008, and WR-PRIVACY-001 or -002 where the site has too few
    records for the study; no error tells a value.
    """
    if request.get("kind") in PRIVATE_KINDS:
        return compute_rows(columns, request, model)
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
    carried = reader.whole("carried", 1, 1 << 31) if "carried" in reader else 0
    whole, model = model, model if model is None or not carried else model[:-carried]
    computation = find(reader.text("kind")).parse(parameters, model)
    if carried:
        if (
            whole is None
            or not isinstance(computation, FedAvg)
            or computation.compression != RANDOM_K
            or carried != len(computation.coefficients)
        ):
            raise reader.malformed("carried", "belongs to a task that is a step of several")
        computation = computation.beside(whole[-carried:])
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


def compute_rows(
    columns: Mapping[str, NDArray[np.float64]],
    request: Mapping[str, JSON],
    array: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Compute the rows of some of a site's patients, which trusted code will clip and sum.

    ``request`` is as for `compute`, with ``batch``, how many patients; ``array`` is the task's
    model, if it has one, and behind it the ``batch`` patients' places in the table, whole numbers;
    -1 asks for a row of zeros, for batches that are padded. Returns shape (batch * lanes,),
    patient by patient. Raises WR-LEARN-001 to -005 for a request that is malformed; nothing here
    is refused for what the records are, as under noise a refusal would be a leak.
    """
    reader = Reader(request, "request")
    batch = reader.whole("batch", 0, MAXIMUM_RECORDS)
    parameters = request.get("parameters")
    if not isinstance(parameters, Mapping):
        raise reader.malformed("parameters", "must be a table")
    numbers = np.zeros(0) if array is None else array
    if numbers.dtype != np.float64 or len(numbers) < batch:
        raise reader.malformed("batch", "must be the number of places behind the model")
    cut = len(numbers) - batch
    computation = find_private(reader.text("kind")).parse(
        parameters, numbers[:cut] if cut else None
    )
    if reader.whole("length", 1, 1 << 31) != private_length(computation):
        raise reader.malformed("length", "must be what the task's parameters make it")
    patients = len(columns.get(TEST_COLUMN, ()))
    places = numbers[cut:]
    if not bool(((places >= -1) & (places < patients) & (places == np.floor(places))).all()):
        raise reader.malformed("batch", "must be followed by places in the table")
    chosen = places.astype(np.int64)
    present = chosen >= 0
    rows = np.zeros((batch, computation.lanes))
    rows[present] = rows_of(
        computation, Records.within(columns, computation.variables, chosen[present])
    )
    return rows.ravel()


def _unknown(known: Mapping[str, object]) -> WardroundError:
    return WardroundError(
        "WR-LEARN-002",
        "A task asks for a computation that this version doesn't have.",
        f"Known are {', '.join(sorted(known))}; update Wardround if the study needs another.",
        path="task.kind",
    )
