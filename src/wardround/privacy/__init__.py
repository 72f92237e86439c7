"""What may be said about few people: the disclosure rules, as pure functions without noise.

Accountant, clipping and noise will live here too. Until they do, nothing in this package makes a
result differentially private.
"""

from wardround.privacy.disclosure import (
    check_cohort,
    check_groups,
    differs_enough,
    large_enough,
    suppress_beside_total,
    suppress_small_cells,
)

__all__ = [
    "check_cohort",
    "check_groups",
    "differs_enough",
    "large_enough",
    "suppress_beside_total",
    "suppress_small_cells",
]
