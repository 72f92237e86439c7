"""Disclosure rules that a hospital applies to its own figures before anything is protected.

The attacker here reads only what is opened: totals, and the difference between two totals. Small
cells (OHDSI and DataSHIELD practice: below 5 and below 3) and small cohorts point at persons, and
two totals over nearly the same patients subtract to a total over the few who differ. These rules
make both hard; they are no differential privacy, and pages that rely on them say so.

A zero in place of a small count protects only where no other opened number gives the count away.
Where one does, the whole hospital stays out instead (`check_groups`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError

Count = TypeVar("Count", np.float64, np.int64)


def suppress_small_cells(counts: NDArray[Count], minimum: int) -> tuple[NDArray[Count], int]:
    """Return a copy in which each count from 1 to ``minimum - 1`` is 0, and how many there were.

    ``counts`` has any shape and holds whole, non-negative numbers of patients. A 0 that comes back
    may be a true zero or a suppressed cell, which is the point. Margins must be summed from what
    comes back: an exact total beside one suppressed cell gives that cell away (where the exact
    total is known all the same, use `suppress_beside_total`).

    Raises ``ValueError`` (a fault in the calling code, without any count in its text) if a count
    is negative, fractional or not finite.
    """
    if minimum < 1:
        raise ValueError("the smallest cell that may be shown is at least 1")
    whole = np.isfinite(counts) & (counts >= 0) & (np.floor(counts) == counts)
    if not bool(whole.all()):
        raise ValueError("counts must be whole and non-negative")
    small = (counts > 0) & (counts < minimum)
    kept = counts.copy()
    kept[small] = 0
    return kept, int(np.count_nonzero(small))


def suppress_beside_total(
    counts: NDArray[np.float64], minimum: int
) -> tuple[NDArray[np.float64], int]:
    """Like `suppress_small_cells`, for counts, shape (cells,), whose exact total is known as well.

    What was held back is then the total less what is shown. So the smallest of the other cells is
    held back too, until that difference is 0 or at least ``minimum``: it never tells one small
    cell (complementary suppression, as statistical offices do it for tables with margins).
    """
    kept, suppressed = suppress_small_cells(counts, minimum)
    while 0 < float(counts.sum() - kept.sum()) < minimum and bool(kept.any()):
        kept[int(np.argmin(np.where(kept > 0, kept, np.inf)))] = 0
        suppressed += 1
    return kept, suppressed


def check_groups(groups: NDArray[np.int64], minimum: int) -> None:
    """Refuse where one of the groups that a study's tasks count has fewer than ``minimum`` members.

    An empty group is refused as well: "nobody here has it" is a statement about everybody. The
    error tells neither which group it is nor how large; it stays in the hospital.
    """
    if not bool((groups >= minimum).all()):
        raise WardroundError(
            "WR-PRIVACY-002",
            f"A group that this study counts has fewer than {minimum} of this hospital's patients.",
            "This hospital stays out of the study. It can take part with more patients; the "
            "minimum itself is agreed by all.",
        )


def large_enough(patients: int, minimum: int) -> bool:
    """Say whether a cohort may contribute at all."""
    return patients >= max(minimum, 1)


def check_cohort(patients: int, minimum: int) -> None:
    """Refuse a cohort of fewer than ``minimum`` patients; the error doesn't say how many it has.

    The reason answers a question about the data, so it stays in the hospital: the outside hears
    only *refused*, as for any other reason.
    """
    if not large_enough(patients, minimum):
        raise WardroundError(
            "WR-PRIVACY-001",
            f"The cohort has fewer than the {minimum} patients that the agreed rules ask for.",
            "Widen the selection or leave this question out; the minimum itself is agreed by all.",
        )


def differs_enough(
    previous: Iterable[frozenset[bytes]], current: frozenset[bytes], minimum: int = 5
) -> bool:
    """Say whether a figure over ``current`` may be opened after those over ``previous``.

    Each set holds (hashes of) patient identifiers. Allowed is the very same set, or one that
    differs from *every* earlier one by at least ``minimum`` patients (symmetric difference), so
    that no subtraction of two figures leaves fewer than that many.
    """
    return all(
        len(earlier ^ current) == 0 or len(earlier ^ current) >= minimum for earlier in previous
    )
