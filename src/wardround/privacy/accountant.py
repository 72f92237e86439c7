"""What a list of releases costs: epsilon at a given delta, for one patient at one hospital.

Releases with Gaussian or discrete Laplace noise are priced by their privacy loss distributions,
pessimistically rounded (dp-accounting; Koskela et al. 2020, Doroshenko et al. 2022). As soon as
there is Skellam noise among them, for which no distribution of a vector's loss is published, all
are priced by Rényi divergences at integer orders (`privacy.rdp`) and converted once, as tightly as
is known (Canonne, Kamath and Steinke 2020, proposition 12).

Prices don't depend on the order of releases. SciPy and dp-accounting are imported when the first
loss distribution is needed, not before: they are slow to load, and a confined worker needs neither.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from wardround.privacy.events import DiscreteLaplace, Event, Gaussian, Skellam
from wardround.privacy.rdp import ORDERS, Curve, rdp

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

__all__ = [
    "STATISTICAL_DISTANCE",
    "Method",
    "Release",
    "best_order",
    "cross_check",
    "epsilon",
    "epsilon_for_hospitals",
    "filter_budget",
    "method",
    "rdp",
    "rdp_epsilon",
]

Release: TypeAlias = tuple[Event, int]
"""An event, and how often it happens."""

_Merged: TypeAlias = tuple[Release, ...]

STATISTICAL_DISTANCE = 2.0**-50
"""By how much one release may differ from its event in total variation: what the samplers are off
from the exact noise by, and the chance that a Poisson batch doesn't fit into its padding."""

GRID = 2.5e-4
"""Losses are rounded up to multiples of this. Over thousands of releases a finer one gains less
than 0.02 % of epsilon and takes five times as long."""


class Method(StrEnum):
    """How a list of releases was priced."""

    PLD = "privacy loss distributions"
    RDP = "Rényi divergences"


def method(releases: Iterable[Release]) -> Method:
    """Which of the two prices these releases."""
    skellam = any(isinstance(event, Skellam) for event, _ in releases)
    return Method.RDP if skellam else Method.PLD


def epsilon(releases: Iterable[Release], delta: float) -> float:
    """The least epsilon that is proven for all the releases together, at ``delta``.

    The samplers' distance from the ideal is taken out of ``delta``. Infinity where nothing is
    proven. Raises ``ValueError`` (a fault in the calling code) unless 0 < delta < 1.
    """
    return _priced(_merge(releases), delta, None)


def rdp_epsilon(releases: Iterable[Release], delta: float) -> float:
    """The same by Rényi divergences, whatever the noise."""
    return _priced(_merge(releases), delta, Method.RDP)


def cross_check(
    releases: Iterable[Release], delta: float, tolerance: float = 0.01
) -> tuple[float, float]:
    """Price the releases both ways, without Skellam noise among them; give (PLD, RDP).

    Two accountants that share no code: the tighter one must not exceed the looser one by more than
    rounding. Raises ``ArithmeticError`` where it does.
    """
    merged = _merge(releases)
    tight, loose = _priced(merged, delta, Method.PLD), _priced(merged, delta, Method.RDP)
    if tight > loose * (1 + tolerance) + tolerance:
        raise ArithmeticError(f"two accountants disagree: {tight} by PLD, {loose} by RDP")
    return tight, loose


def epsilon_for_hospitals(releases: Iterable[Release], delta: float, hospitals: int) -> float:
    """What the releases cost a patient with records at ``hospitals`` of the hospitals.

    *Skellam* noise lies on the total: all of the patient's vectors change it together, by at most
    ``hospitals`` times as much. In a Poisson sample at least one of them takes part with
    probability 1 - (1 - q)^h; whichever they are, the sum changes by no more than that, and
    divergences are jointly quasi-convex, so a mixture over which ones is no worse than the worst.
    The general rule for groups, h epsilon at h e^((h - 1) epsilon) delta, was never the better.

    *Gaussian* and *Laplace* noise is each hospital's own, so that h hospitals release h times as
    much; a single Laplace count that h records change costs the same.
    """
    merged = _merge(releases)
    if hospitals == 1:
        return epsilon(merged, delta)
    return epsilon([_for_hospitals(*release, hospitals) for release in merged], delta)


def filter_budget(epsilon: float, delta: float, order: int, releases: int = 100_000) -> float:
    """The divergence of ``order`` below which a sum of costs implies (``epsilon``, ``delta``).

    For releases whose costs are chosen as one goes, by whoever saw the earlier ones: refuse the
    release that would exceed this sum (a Rényi filter at one order that is fixed in advance;
    Feldman and Zrnic 2021, Lécuyer 2021). What the distance of up to ``releases`` releases from
    their ideal takes is taken out of ``delta``. Negative where nothing fits.
    """
    left = delta - _distance(releases, epsilon)
    return -math.inf if left <= 0 else epsilon - _conversion(left, order)


def best_order(epsilon: float, delta: float, releases: int = 100_000) -> int:
    """The order at which (``epsilon``, ``delta``) leaves most room for Gaussian noise."""
    return max(ORDERS, key=lambda order: filter_budget(epsilon, delta, order, releases) / order)


def _conversion(delta: float, order: float) -> float:
    """What is added to a divergence of ``order`` to get epsilon at ``delta``."""
    return math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


def _distance(releases: int, epsilon: float) -> float:
    """What the releases' distance from the ideal adds to delta at ``epsilon``.

    Two exchanges of the real for the ideal, one on either side of the inequality that defines
    differential privacy, of which one is multiplied by e^epsilon.
    """
    return releases * STATISTICAL_DISTANCE * (1 + math.exp(min(epsilon, 700)))


def _merge(releases: Iterable[Release]) -> _Merged:
    """Equal events added up, those with the same Gaussian noise for everybody as one, in order."""
    counts: Counter[Event] = Counter()
    for event, times in releases:
        if times < 0:
            raise ValueError("nothing is released less than 0 times")
        counts[event] += times
    kept = ((event, times) for event, times in counts.items() if times)
    return tuple(sorted(kept, key=lambda release: (type(release[0]).__name__, repr(release))))


@lru_cache(maxsize=4096)
def _priced(merged: _Merged, delta: float, chosen: Method | None) -> float:
    if not 0 < delta < 1:
        raise ValueError("delta lies between 0 and 1")
    if not merged:
        return 0.0
    price = _by_rdp if (chosen or method(merged)) is Method.RDP else _by_pld
    times = sum(count for _, count in merged)
    found, guess = price(merged, delta), -1.0
    while found > guess:
        # The distance costs delta in proportion to e^epsilon, which a smaller delta raises again.
        guess = found + 1e-3
        left = delta - _distance(times, guess)
        if left <= 0:
            return math.inf
        found = price(merged, left)
    return found


def _by_rdp(merged: _Merged, delta: float) -> float:
    total = _total(merged)
    orders = np.array(ORDERS, dtype=np.float64)
    found = total + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    # delta is at most sqrt(1 - e^-KL): a divergence this small needs no epsilon at all.
    nothing = -np.expm1(-total) <= delta**2
    return max(0.0, float(np.where(nothing, 0.0, found).min()))


@lru_cache(maxsize=512)
def _total(merged: _Merged) -> Curve:
    total = np.zeros(len(ORDERS))
    for event, times in merged:
        total += times * rdp(event)
    return total


def _by_pld(merged: _Merged, delta: float) -> float:
    whole = _as_one_gaussian(merged)
    if whole is not None:
        from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

        return float(get_epsilon_gaussian(whole, delta, tol=1e-9)) + 1e-9
    return float(_losses(merged).get_epsilon_for_delta(delta))


def _as_one_gaussian(merged: _Merged) -> float | None:
    """The noise of the one Gaussian release over everybody that says as much as all of these.

    Precisions add up; the loss of a Gaussian release is known in closed form (Balle and Wang 2018).
    None where there are others among them.
    """
    information = 0.0
    for event, times in merged:
        if not isinstance(event, Gaussian) or event.sampling_rate < 1:
            return None
        information += times / event.noise_multiplier**2
    return 1 / math.sqrt(information)


@lru_cache(maxsize=32)
def _losses(merged: _Merged) -> PrivacyLossDistribution:
    from dp_accounting.pld import privacy_loss_distribution as pld

    found = pld.identity(GRID)
    everybody = [release for release in merged if _as_one_gaussian((release,)) is not None]
    for event, times in (release for release in merged if release not in everybody):
        match event:
            case Gaussian(noise, rate):
                one = pld.from_gaussian_mechanism(
                    noise, value_discretization_interval=GRID, sampling_prob=rate
                )
            case DiscreteLaplace(scale):
                one = pld.from_discrete_laplace_mechanism(
                    1 / scale, value_discretization_interval=GRID
                )
            case _:
                raise TypeError("there is no loss distribution for Skellam noise")
        found = found.compose(one.self_compose(times))
    whole = _as_one_gaussian(tuple(everybody)) if everybody else None
    if whole is not None:
        one = pld.from_gaussian_mechanism(whole, value_discretization_interval=GRID)
        found = found.compose(one)
    return found


def _for_hospitals(event: Event, times: int, hospitals: int) -> Release:
    if isinstance(event, Skellam):
        rate = (
            -math.expm1(hospitals * math.log1p(-event.sampling_rate))
            if (event.sampling_rate < 1)
            else 1.0
        )
        return Skellam(event.noise_multiplier / hospitals, rate), times
    return event, times * hospitals
