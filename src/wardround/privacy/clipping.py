"""Clip each patient's vector, round it to whole steps and add up: what a sensitivity rests on.

Rows come from code that isn't trusted. So nothing about them is assumed, and what their integers
may be at most is checked in every call, after the fact. Each row takes the same operations, whether
it is chosen, zero or nonsense, so that neither the time nor a failure tells about one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.privacy.events import FRACTIONAL_BITS, L2, MAXIMUM_LANES

QUANTILE_WEIGHT = 0.1
"""Length of the lane that tells whether a patient's vector was shorter than the clipping norm; the
others are then clipped to sqrt(1 - 0.1^2), so that both together have length 1 at most."""

_STEPS = 1 << FRACTIONAL_BITS
_CHUNK_ELEMENTS = 1 << 16
_SLACK = 1 - 2.0**-26
"""Clipping to this much less hides in a 16th of a step, and covers what floating point may err by
over 2^24 squares (2^-30), so that the bound can't fail for rounding alone."""


def clip_and_sum(
    rows: NDArray[np.float64], chosen: NDArray[np.bool_], with_quantile: bool
) -> NDArray[np.int64]:
    """Sum patients' vectors in steps of 2^-22, each at most `events.L2` steps long.

    ``rows``, shape (patients, lanes), are in units of the clipping norm; ``chosen``, shape
    (patients,), says who counts. A row longer than 1 (sqrt(1 - `QUANTILE_WEIGHT`^2) beside the
    quantile's lane) is scaled to that length, one with anything that isn't a number becomes zero.
    ``with_quantile`` adds a last lane: +`QUANTILE_WEIGHT` for each row that was at most 1 long
    before it was clipped, else -`QUANTILE_WEIGHT` (Andrew et al. 2021), and 0 for a row of zeros: a
    patient whom the task isn't about, who would otherwise draw the quantile down.

    Returns the sum, shape (lanes [+ 1],), of whoever was chosen. Raises WR-PRIVACY-012 for arrays
    of another type or shape, or more than 2^24 lanes, and WR-PRIVACY-013 if a row of integers were
    longer than `events.L2`, which would be a fault in this function.
    """
    lanes = _lanes(rows, chosen, with_quantile)
    radius = math.sqrt(1 - QUANTILE_WEIGHT**2) if with_quantile else 1.0
    total = np.zeros(lanes, np.int64)
    step = max(1, _CHUNK_ELEMENTS // lanes)
    buffer = np.empty((min(step, len(rows)), lanes))
    for start in range(0, len(rows), step):
        given = rows[start : start + step]
        chunk = buffer[: len(given)]
        vectors = chunk[:, : rows.shape[1]]
        scale, told = _normalise(given, vectors, radius)
        counts = chosen[start : start + step].astype(np.float64)
        vectors *= (scale * counts * _STEPS)[:, np.newaxis]
        if with_quantile:
            chunk[:, -1] = QUANTILE_WEIGHT * told * counts * _STEPS
        np.rint(chunk, out=chunk)
        # Whole numbers below 2^53, so both sums are exact in floating point; and a sum of squares
        # too large to be exact is far beyond the bound.
        _check_lengths(np.einsum("ij,ij->i", chunk, chunk))
        total += chunk.sum(axis=0).astype(np.int64)
    return total


def _lanes(rows: NDArray[np.float64], chosen: NDArray[np.bool_], with_quantile: bool) -> int:
    """How many elements the sum has, if the arrays are what they should be."""
    if rows.ndim == 2 and rows.dtype == np.float64 and chosen.dtype == np.bool_:
        lanes = int(rows.shape[1]) + int(with_quantile)
        if chosen.shape == rows.shape[:1] and 1 <= lanes <= MAXIMUM_LANES:
            return lanes
    raise WardroundError(
        "WR-PRIVACY-012",
        "Patients' vectors are not a table of numbers with one row for each patient of the batch, "
        f"one to {MAXIMUM_LANES} wide.",
        "The task's own code gave something else; the hospital that sees this should report it.",
    )


def _check_lengths(squares: NDArray[np.float64]) -> None:
    """Refuse unless every squared length, in steps, is a number within the bound."""
    if not bool((squares <= L2 * L2).all()):
        raise WardroundError(
            "WR-PRIVACY-013",
            "A patient's clipped vector is longer than the noise accounts for.",
            "Nothing was released. This is a fault in the program; report it.",
        )


def _normalise(
    given: NDArray[np.float64], out: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Write ``given``, shape (n, lanes), to ``out`` scaled by powers of two to be about 1 long.

    Returns by what to multiply each so that it is itself again, but no longer than ``radius``; and
    1 if it was at most 1 long, -1 if longer and 0 if it was zero or nonsense. Powers of two lose
    no bit of a row that needn't be clipped.
    """
    np.abs(given, out=out)
    largest = out.max(axis=1, initial=0.0)
    finite = np.isfinite(largest)  # the maximum hands on what isn't a number
    exponent = np.frexp(np.where(finite, largest, 0.0))[1]
    exponent = np.maximum(exponent, -1000)  # beyond, rows round to zero whatever they are
    np.copyto(out, 0.0)
    np.multiply(
        given, np.ldexp(1.0, -exponent)[:, np.newaxis], out=out, where=finite[:, np.newaxis]
    )
    length = np.sqrt(np.einsum("ij,ij->i", out, out))
    with np.errstate(over="ignore"):
        back = np.ldexp(1.0, exponent)  # 2^1024 is infinite, which is long
        short = back * length <= 1
    limit = radius * _SLACK / np.maximum(length, 0.25)  # a row of zeros has no length
    return np.minimum(back, limit), np.where(short, 1.0, -1.0) * (length > 0)
