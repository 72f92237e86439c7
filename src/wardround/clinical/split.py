"""Which patients are held out for testing, decided by each patient's identifier alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

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
    prefix = hashlib.sha256(f"{salt}|".encode())

    def held_out(patient_id: str) -> bool:
        state = prefix.copy()
        state.update(patient_id.encode())
        return int.from_bytes(state.digest()[:8], "big") < limit

    return np.fromiter(map(held_out, patient_ids), dtype=np.bool_, count=len(patient_ids))
