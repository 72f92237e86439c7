"""What may be said about people: disclosure rules, and what differential privacy is made of.

Handed on here are the disclosure rules, pure functions without noise. `events` says what was
released; `batches`, `clipping` and `adaptive` choose, bound and add up patients' vectors;
`gaussian`, `skellam` and `laplace` draw the noise, from a `randomness` key that comes from outside.
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
