"""Which patients are held out for testing, and in which fold: decided by the identifier alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def test_mask(patient_ids: Sequence[str], salt: str, fraction: float) -> NDArray[np.bool_]:
    """Return a mask of the held-out patients, shape ``(len(patient_ids),)``.

    A patient is held out where the first 64 bits of SHA-256 over ``salt|id``, read as a share of
    one, lie below ``fraction``. So the split is the same at every run and does not depend on the
    order of the records or on who else is in them; a salt of the study's own keeps two studies'
    splits apart. The share held out is ``fraction`` on average, not exactly.

    Raises:
        ValueError: where ``fraction`` is not in [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError("fraction must lie in [0, 1]")
    limit = int(fraction * 2**64)
    return np.fromiter(
        (drawn < limit for drawn in _drawn(patient_ids, salt)), np.bool_, len(patient_ids)
    )


def folds(patient_ids: Sequence[str], salt: str, count: int) -> NDArray[np.int64]:
    """Return each patient's fold, 0 to ``count`` - 1, shape ``(len(patient_ids),)``.

    By SHA-256 over ``salt#fold|id``, so that folds are independent of who is held out.

    Raises:
        ValueError: where ``count`` is below 2.
    """
    if count < 2:
        raise ValueError("there are at least two folds")
    # Of 64 random bits the high ones choose, so that every fold has the same chance.
    places = (drawn * count >> 64 for drawn in _drawn(patient_ids, f"{salt}#fold"))
    return np.fromiter(places, np.int64, len(patient_ids))


def _drawn(patient_ids: Sequence[str], salt: str) -> Iterator[int]:
    prefix = hashlib.sha256(f"{salt}|".encode())
    for patient_id in patient_ids:
        state = prefix.copy()
        state.update(patient_id.encode())
        yield int.from_bytes(state.digest()[:8], "big")
