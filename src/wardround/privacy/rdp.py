"""The Rényi divergence that one event allows, at integer orders (Mironov 2017).

An event is (alpha, r)-RDP where the divergence of order alpha between the releases with and without
any one patient is at most r, both ways round. Divergences of one order add up over releases, also
where a later release was chosen after the earlier ones were seen, so long as their costs were fixed
beforehand; otherwise as a filter (`accountant.filter_budget`).

Only integer orders: the bounds for Skellam noise and for Poisson samples are proven for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.privacy.events import L1, L2, DiscreteLaplace, Event, Gaussian, Skellam

Curve = NDArray[np.float64]
"""Divergences, one for each order."""

MAXIMUM_ORDER = 1024
ORDERS: tuple[int, ...] = (*range(2, 257), *(round(2 ** (8 + step / 8)) for step in range(1, 17)))
"""Orders at which a composition is priced: all small ones, then eight to each doubling."""


def rdp(event: Event, orders: Sequence[int] = ORDERS) -> Curve:
    """How much one release of ``event`` costs at each of ``orders``, whole numbers 2 to 1024.

    Raises ``ValueError`` (a fault in the calling code) for other orders.
    """
    if not all(order == int(order) and 2 <= order <= MAXIMUM_ORDER for order in orders):
        raise ValueError(f"orders are whole numbers from 2 to {MAXIMUM_ORDER}")
    return _curve(event, tuple(int(order) for order in orders)).copy()


def skellam_rdp(orders: Curve, variance: float, l1: float, l2: float) -> Curve:
    """The divergence between Skellam noise and the same noise shifted by a whole vector.

    ``variance`` is that of the noise on each element, mu of the paper; ``l1`` and ``l2`` bound the
    shift's length in sum of magnitudes and in Euclidean terms. A bound for integer orders above 1
    (Agarwal, Kairouz and Liu 2021, 'The Skellam Mechanism for Differentially Private Federated
    Learning', the RDP theorem and its corollary for vectors).
    """
    gaussian: Curve = orders * l2**2 / (2 * variance)
    excess: Curve = ((2 * orders - 1) * l2**2 + 6 * l1) / (4 * variance**2)
    return gaussian + np.minimum(excess, 3 * l1 / (2 * variance))


def poisson_sampled(full: Curve, rate: float, orders: Sequence[int], *, symmetric: bool) -> Curve:
    """What is left of a mechanism's divergence when each patient takes part with chance ``rate``.

    ``full`` holds the mechanism's divergence at the orders 2, 3, ..., max(orders). Both bounds are
    of Zhu and Wang 2019, 'Poisson Subsampled Rényi Differential Privacy'. The general one, for any
    mechanism, multiplies the terms from the third on by 3. Without the factor, it holds for noise
    that is ``symmetric``: so that some exchange of outcomes, done twice, changes nothing, and done
    once turns the release without the patient into the one with her. With noise Z around a sum s
    that is x -> 2s + shift - x, wherever Z and -Z are distributed alike (Gaussian, Skellam).

    Why: let r be the ratio of the two densities, u = 1 - q + q r. The binomial sum bounds the mean
    of u^alpha, the divergence of a release with the patient from one without her; the other way
    round it is the mean of u^(1 - alpha). By symmetry, outcomes come in pairs with ratios r >= 1
    and 1/r, weighted 1 and r. Write v for u at 1/r, s = ln u and t = -ln v. For beta = alpha - 1/2,
    u^alpha - u^(1 - alpha) is 2 sqrt(u) sinh(beta s), so the first mean is the larger if
    sqrt(u) sinh(beta s) >= r sqrt(v) sinh(beta t). At alpha = 1 both sides are equal, as the means
    of 1 and u are; and sinh(beta s) / sinh(beta t) never falls as beta grows, since s >= t:
    u v = 1 + q (1 - q) (r - 1)^2 / r >= 1. (Mironov, Talwar and Zhang 2019 have it for Gaussians.)

    Sampling never adds to a divergence, so ``full`` bounds it too.
    """
    places = np.array(orders)
    if rate == 1:
        return np.asarray(full[places - 2])
    largest = max(orders)
    terms = np.zeros(largest + 1)
    terms[2:] = np.arange(1, largest) * full[: largest - 1]
    logs = _log_weights(rate, tuple(orders), 1.0 if symmetric else 3.0) + terms
    peak = logs.max(axis=1)
    total = peak + np.log(np.exp(logs - peak[:, None]).sum(axis=1))
    found: Curve = np.minimum(np.maximum(total, 0.0) / (places - 1), full[places - 2])
    return found


@lru_cache(maxsize=4096)
def _curve(event: Event, orders: tuple[int, ...]) -> Curve:
    every = np.arange(2, max(orders) + 1, dtype=np.float64)
    match event:
        case Gaussian(noise, rate):
            full = every / (2 * noise**2)
            found = poisson_sampled(full, rate, orders, symmetric=True)
        case Skellam(noise, rate):
            full = skellam_rdp(every, (noise * L2) ** 2, L1, L2)
            found = poisson_sampled(full, rate, orders, symmetric=True)
        case DiscreteLaplace(scale):
            # A shift by 1 multiplies every probability by e^(1/scale) or divides it by that.
            at = np.array(orders, dtype=np.float64)
            up, down = (at - 1) / scale, -at / scale
            found = (np.logaddexp(up, down) - np.logaddexp(0.0, -1 / scale)) / (at - 1)
    found.flags.writeable = False
    return found


@lru_cache(maxsize=64)
def _log_weights(rate: float, orders: tuple[int, ...], factor: float) -> Curve:
    """The logarithm of each term's weight in the binomial sum, shape (orders, max(orders) + 1)."""
    largest = max(orders)
    factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, largest + 1)))))
    order = np.array(orders)[:, None]
    picked = np.arange(largest + 1)[None, :]
    rest = np.maximum(order - picked, 0)
    choices = factorial[order] - factorial[picked] - factorial[rest]
    logs = choices + picked * np.log(rate) + rest * np.log1p(-rate)
    logs += np.where(picked >= 3, np.log(factor), 0.0)
    return np.where(picked <= order, logs, -np.inf)
