"""How much noise fits a budget: the accountant read backwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wardround.errors import WardroundError
from wardround.privacy.accountant import Release, best_order, epsilon, rdp, rdp_epsilon
from wardround.privacy.events import Event

LEAST, LARGEST = 0.1, 10_000.0
"""Noise multipliers outside this range stand in no study."""

TOLERANCE = 1e-3
"""How close a multiplier comes to the least one, before it is rounded up."""


@dataclass(frozen=True)
class Part:
    """So many releases of one purpose, which together may use ``share`` of a budget."""

    name: str
    share: float
    event: Callable[[float], Event]
    """The event that a noise multiplier makes."""
    times: int

    def releases(self, noise_multiplier: float) -> Release:
        """What the accountant prices."""
        return self.event(noise_multiplier), self.times


def round_up(number: float, digits: int = 3) -> float:
    """The least number of so many significant digits that is no smaller."""
    if number == 0:
        return 0.0
    exponent = math.floor(math.log10(abs(number))) - digits + 1
    scaled = number / 10.0**exponent
    whole = round(scaled)
    if whole < scaled * (1 - 1e-12):
        whole += 1
    return float(f"{whole}e{exponent}")


def least_noise(
    releases: Callable[[float], Sequence[Release]], epsilon_allowed: float, delta: float
) -> float:
    """The least noise multiplier with which ``releases`` of it fit, rounded up to three digits.

    ``releases`` must cost less the larger the multiplier. Raises WR-PRIVACY-021 where even
    10000 doesn't fit.
    """

    if rdp_epsilon(releases(LARGEST), delta) > epsilon_allowed:
        raise _nothing_fits(epsilon_allowed, delta)
    found = round_up(_least_that_fits(releases, LEAST, LARGEST, epsilon_allowed, delta))
    while epsilon(releases(found), delta) > epsilon_allowed:  # the accountants round, too
        found = round_up(found * (1 + TOLERANCE))
    return found


def divide(parts: Sequence[Part], epsilon_allowed: float, delta: float) -> dict[str, float]:
    """Noise multipliers with which all ``parts`` together fit, each using about its share.

    The composition of everything is priced as one, which costs much less than epsilons that are
    converted part by part and added. A part's share is one of the Rényi divergence at the order
    that suits the budget: for full batches, of the sum of 1 / multiplier^2. Multipliers are
    rounded up to three digits. Raises WR-PRIVACY-021 where nothing fits.
    """
    whole = sum(part.share for part in parts)
    order = best_order(epsilon_allowed, delta)

    def multiplier(part: Part, budget: float) -> float:
        allowed = budget * part.share / whole / part.times

        def fits(noise: float) -> bool:
            return float(rdp(part.event(noise), (order,))[0]) <= allowed

        return round_up(_bisect(fits, LEAST, LARGEST)) if fits(LARGEST) else LARGEST

    def releases(saving: float) -> list[Release]:
        return [part.releases(multiplier(part, 1 / saving)) for part in parts]

    least, largest = 1e-6, 1e9  # one over the divergence that is spent
    if rdp_epsilon(releases(largest), delta) > epsilon_allowed:
        raise _nothing_fits(epsilon_allowed, delta)
    saving = _least_that_fits(releases, least, largest, epsilon_allowed, delta)
    return {part.name: multiplier(part, 1 / saving) for part in parts}


def _least_that_fits(
    releases: Callable[[float], Sequence[Release]],
    low: float,
    high: float,
    epsilon_allowed: float,
    delta: float,
) -> float:
    """The least number, up to `TOLERANCE`, whose releases fit. They must fit at ``high``.

    Rényi divergences are quick and hardly ever the tighter, so they bound the answer from above.
    """

    def fits(number: float) -> bool:
        return epsilon(releases(number), delta) <= epsilon_allowed

    high = _bisect(
        lambda number: rdp_epsilon(releases(number), delta) <= epsilon_allowed, low, high
    )
    while not fits(high):
        high *= 1 + TOLERANCE
    # Far below it, loss distributions are so wide that they take minutes: go down step by step.
    near = max(low, high / 1.2)
    while near > low and fits(near):
        high, near = near, max(low, near / 1.2)
    return _bisect(fits, near, high)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least number, up to `TOLERANCE`, at which ``holds`` is true; it must be at ``high``."""
    if holds(low):
        return low
    while high > low * (1 + TOLERANCE):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _nothing_fits(epsilon_allowed: float, delta: float) -> WardroundError:
    return WardroundError(
        "WR-PRIVACY-021",
        f"No noise that a study may state brings so many releases down to epsilon "
        f"{epsilon_allowed:g} at delta {delta:g}.",
        "Plan fewer steps, or agree on a larger epsilon or delta.",
    )
