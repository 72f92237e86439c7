"""What every worker is to the agent, and the one in-process stand-in for simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.sandbox.limits import HostLimits, Limit

Columns = Mapping[str, NDArray[np.float64]]
"""A hospital's feature table: one array per column, all of one length."""

Vector = NDArray[np.float64] | NDArray[np.float32]
"""A one-dimensional array: a model's parameters, or a contribution."""

Entry = Callable[[Columns, Mapping[str, object], Vector | None], Vector]
"""A computation: ``(columns, request, array) -> result``."""


class Worker(Protocol):
    """Keeps a hospital's columns and computes on them.

    ``start`` then ``load`` come before ``call``. After an error that ended the worker, ``start``
    and ``load`` begin anew.
    """

    @property
    def is_old(self) -> bool:
        """Whether it should be started anew before the next task."""
        ...

    async def start(self) -> HostLimits:
        """Make the worker ready for data and say what it is held to."""
        ...

    async def load(self, columns: Columns) -> None:
        """Hand over the columns (float64, equal lengths); they replace earlier ones."""
        ...

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        """Compute ``entry(columns, request, array)``.

        ``request`` is plain JSON. The entry may read ``array`` only until it returns. The result
        is the caller's own copy.
        """
        ...

    async def close(self) -> None:
        """End the worker and forget the columns; closing twice is fine."""
        ...


def load_entry(entry: str) -> Entry:
    """Import the function that ``module:function`` names; raise ``WR-SANDBOX-002`` otherwise."""
    module, _, name = entry.partition(":")
    try:
        found: object = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        # The names of modules and functions are ours; nothing of a patient is loaded yet.
        raise WardroundError(
            "WR-SANDBOX-002",
            f"The computation {entry} could not be loaded ({type(error).__name__}).",
            "Install wardround anew; `wardround site limits` shows whether a worker can start.",
        ) from error
    return cast(Entry, found)


def check_columns(columns: Columns) -> int:
    """Return the number of records; raise ``WR-SANDBOX-008`` unless columns fit together."""
    lengths = {column.size for column in columns.values()}
    flat = all(column.ndim == 1 and column.dtype == np.float64 for column in columns.values())
    if not flat or len(lengths) != 1:
        raise WardroundError(
            "WR-SANDBOX-008",
            "The columns are not one-dimensional float64 arrays of one length.",
            "Hand over the columns of one feature table.",
        )
    return lengths.pop()


def check_vector(vector: object, what: str) -> Vector:
    """Return ``vector`` if it is a one-dimensional float array; else raise ``WR-SANDBOX-008``."""
    if (
        not isinstance(vector, np.ndarray)
        or vector.ndim != 1
        or vector.dtype not in (np.dtype(np.float64), np.dtype(np.float32))
    ):
        raise WardroundError(
            "WR-SANDBOX-008",
            f"The {what} is not a one-dimensional array of float32 or float64.",
            "Report this: a computation and its caller disagree.",
        )
    return cast(Vector, vector)


def compute(
    entry: Entry, columns: Columns, request: Mapping[str, object], array: Vector | None
) -> Vector:
    """Run a computation and check its result.

    Errors with a code pass. Of any other exception only its kind and place are told
    (``WR-SANDBOX-006``), never its text or its cause, which may quote data.
    """
    try:
        result = entry(columns, request, array)
    except WardroundError:
        raise
    except MemoryError:
        raise out_of_memory() from None
    except Exception as error:  # noqa: BLE001 - a computation may fail in any way
        kind, place = type(error).__name__, _place(error)
    else:
        return check_vector(result, "result")
    raise WardroundError(
        "WR-SANDBOX-006",
        f"The computation failed ({kind}); its text is withheld.",
        "Report the place; to see more, run the study in a simulation on data that is public.",
        path=place,
    )


def _place(error: BaseException) -> str:
    """Return ``module:line`` where an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else "?"


def out_of_memory() -> WardroundError:
    """Build the error for a worker that reached its bound on memory."""
    return WardroundError(
        "WR-SANDBOX-005",
        "The computation needs more memory than the worker may use.",
        "Raise memory_bytes in the hospital's limits, or let the study ask for less.",
    )


def not_started() -> WardroundError:
    """Build the error for a call to a worker that is not running or has no columns."""
    return WardroundError(
        "WR-SANDBOX-007",
        "The worker is not running or holds no columns.",
        "Start it and load the columns first.",
    )


class InlineWorker:
    """Computes in the caller's own process: for simulations, never for a hospital.

    Nothing is confined, and the report says so. It is never old: no limit is used up.
    """

    is_old = False

    def __init__(self, entry: str) -> None:
        self._entry_name = entry
        self._entry: Entry | None = None
        self._columns: Columns | None = None

    async def start(self) -> HostLimits:
        """Load the computation and report that no limit is enforced."""
        self._entry = load_entry(self._entry_name)
        reason = "simulated: computed in the agent's own process"
        return HostLimits(frozenset(), dict.fromkeys(Limit, reason), simulated=True)

    async def load(self, columns: Columns) -> None:
        """Keep read-only views of the columns."""
        if self._entry is None:
            raise not_started()
        check_columns(columns)
        kept = {name: column.view() for name, column in columns.items()}
        for column in kept.values():
            column.flags.writeable = False
        self._columns = kept

    async def call(self, request: Mapping[str, object], array: Vector | None = None) -> Vector:
        """Run the computation; a foreign exception becomes ``WR-SANDBOX-006`` as in a worker."""
        if self._entry is None or self._columns is None:
            raise not_started()
        if array is not None:
            array = check_vector(array, "array").view()
            array.flags.writeable = False
        return compute(self._entry, self._columns, request, array).copy()

    async def close(self) -> None:
        """Forget the columns."""
        self._entry = self._columns = None
