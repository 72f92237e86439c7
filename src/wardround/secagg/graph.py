"""Who masks with whom: everybody with everybody, or a sparse random graph.

With all pairs a site's work grows with the number of sites. Bell et al. 2020 (*Secure
Single-Server Aggregation with (Poly)Logarithmic Overhead*, CCS 2020, section 4, the protocol
against a malicious server) let every site choose ``degree`` others at random, once the public keys
of all are fixed: it deals its shares to them, and two sites mask together if either chose the
other. Nobody but the site itself decides whom it chooses, so a coordinator can't bias it.

How many are enough is computed here, and only here, as exact tails of the hypergeometric
distribution (their section 3.3) with a union bound over sites, for *any* set of survivors that the
coordinator may announce after it has seen the whole graph.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.secagg.adversary import Adversary

COMPLETE_UP_TO = 32
"""Cohorts of up to so many sites mask in all pairs; larger ones over a sparse graph."""

SECURITY_BITS = 40
"""A set-up's graph fails to protect with probability at most 2^-40 (as in Bell et al. 2020)."""

FAILURE_BITS = 30
"""A round that stays within the stated dropouts fails with probability at most 2^-30."""


@dataclass(frozen=True)
class GraphRule:
    """How a cohort of ``adversary.sites`` is wired: fixed before anybody chooses.

    Each site chooses ``degree`` others, which with the site itself hold the shares of its secrets.
    ``share_threshold`` of these holders open a secret, and a total is opened only over survivors
    among whom every one has at least ``share_threshold`` of those that it chose.
    """

    adversary: Adversary
    degree: int
    share_threshold: int
    security_bits: float = math.inf
    """-log2 of the probability, over the sites' own choices, that the graph does not protect."""
    failure_bits: float = math.inf
    """-log2 of the probability that a round with at most the stated dropouts can't be opened."""

    @property
    def is_complete(self) -> bool:
        """Whether all pairs mask together."""
        return self.degree == self.adversary.sites - 1

    @property
    def neighbours(self) -> float:
        """With how many others a site masks, on average: whom it chose, and who chose it."""
        others = self.adversary.sites - 1
        return others * (1 - (1 - self.degree / others) ** 2)

    def describe(self) -> str:
        """The choice in one line."""
        sites, corrupt = self.adversary.sites, self.adversary.corrupt
        if self.is_complete:
            return (
                f"{sites} sites, {corrupt} of them corrupt: all pairs mask together; "
                f"{self.share_threshold} shares open a secret"
            )
        completes = (
            "always" if math.isinf(self.failure_bits) else f"but for 2^-{self.failure_bits:.0f}"
        )
        return (
            f"{sites} sites, {corrupt} of them corrupt: each chooses {self.degree} others and "
            f"masks with {self.neighbours:.0f}; {self.share_threshold} shares open a secret, "
            f"{self.adversary.threshold} votes a total; protects but for "
            f"2^-{self.security_bits:.0f}, completes {completes}"
        )


@dataclass(frozen=True)
class Graph:
    """The edges of one set-up over ``roster``; None for ``chosen`` stands for all pairs.

    ``chosen`` gives, for each site of the roster, whom it chose among those that advertised.
    """

    roster: tuple[SiteName, ...]
    share_threshold: int
    chosen: Mapping[SiteName, frozenset[SiteName]] | None = None
    _choosers: dict[SiteName, set[SiteName]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for site, others in (self.chosen or {}).items():
            for other in others:
                self._choosers.setdefault(other, set()).add(site)

    def holders(self, dealer: SiteName) -> tuple[SiteName, ...]:
        """Who holds shares of ``dealer``'s secrets, in the order of the shares' numbers, from 1."""
        return holders(dealer, self.roster if self.chosen is None else self.chosen[dealer])

    def dealers(self, holder: SiteName) -> frozenset[SiteName]:
        """Whose shares ``holder`` holds, its own among them."""
        if self.chosen is None:
            return frozenset(self.roster)
        return frozenset(self._choosers.get(holder, ())) | {holder}

    def can_open(self, helpers: Collection[SiteName]) -> bool:
        """Whether ``helpers`` hold enough shares of every site of the roster."""
        inside = frozenset(helpers)
        return all(
            len(inside.intersection(self.holders(site))) >= self.share_threshold
            for site in self.roster
        )

    def neighbours(self, site: SiteName) -> frozenset[SiteName]:
        """With whom ``site`` masks."""
        if self.chosen is None:
            return frozenset(self.roster) - {site}
        both = self.chosen[site] | self._choosers.get(site, set())
        return frozenset(both & self.chosen.keys())


def holders(
    dealer: SiteName, chosen: Sequence[SiteName] | frozenset[SiteName]
) -> tuple[SiteName, ...]:
    """``dealer`` and whom it chose, in ascending order: the order of their shares' numbers."""
    return tuple(sorted({dealer, *chosen}))


def complete(adversary: Adversary) -> GraphRule:
    """All pairs, with the thresholds of the adversary statement."""
    return GraphRule(adversary, adversary.sites - 1, adversary.threshold)


@lru_cache(maxsize=64)
def choose(
    adversary: Adversary,
    dropouts: int,
    security_bits: int = SECURITY_BITS,
    failure_bits: int = FAILURE_BITS,
) -> GraphRule:
    """The sparsest graph that protects the cohort; all pairs where none is sparser.

    ``dropouts`` is how many sites may drop out of a round that still completes. With degree k the
    share threshold t is the largest for which, by the hypergeometric tail over a site's choices
    and a union bound over all sites, some site is left with fewer than t of those that it chose
    with probability at most 2^-``failure_bits``. The least k is taken for which
    :func:`failure_to_protect` is at most 2^-``security_bits``. Raises WR-SECAGG-060 when so many
    dropouts leave too few votes.
    """
    sites = adversary.sites
    if dropouts < 0 or sites - dropouts < adversary.minimum_survivors:
        raise WardroundError(
            "WR-SECAGG-060",
            f"{sites} sites, {adversary.corrupt} of them corrupt, can't bear {dropouts} dropouts.",
            f"State 0 to {adversary.tolerated_dropouts} dropouts, or fewer corrupt sites.",
        )
    if sites <= COMPLETE_UP_TO:
        return complete(adversary)

    def at(degree: int) -> GraphRule | None:
        lost = np.log2(sites) + _lower_tails(sites - 1, sites - 1 - dropouts, degree)
        threshold = int(np.searchsorted(lost, -failure_bits, side="right"))
        if threshold < 1:
            return None
        protects = -failure_to_protect(adversary, degree, threshold)
        completes = -float(lost[threshold - 1])
        return GraphRule(adversary, degree, threshold, protects, completes)

    # What protects with k choices also does with more, but for the rounding of t: bisect for a
    # k that is good enough, then walk down while it stays so.
    low, high = 1, sites - 2
    while low < high:
        middle = (low + high) // 2
        rule = at(middle)
        if rule is not None and rule.security_bits >= security_bits:
            high = middle
        else:
            low = middle + 1
    rule = at(low)
    if rule is None or rule.security_bits < security_bits:
        return complete(adversary)
    while low > 1 and (less := at(low - 1)) is not None and less.security_bits >= security_bits:
        low, rule = low - 1, less
    return rule


def failure_to_protect(adversary: Adversary, degree: int, threshold: int) -> float:
    """log2 of the probability that honest sites' choices leave somebody unprotected, at most.

    Over the choices of the n - f honest sites, each of ``degree`` = k others, whatever the
    corrupt ones choose and whichever survivors S the coordinator later announces, provided that
    the adversary statement's number of voters, all of whom took part and are in S, agreed to it,
    that everybody who takes part knows who chose it, and that every survivor has ``threshold`` = t
    of its choices in S. Two things can go wrong:

    - *Corrupt holders open a secret among themselves*: an honest site chose t corrupt ones.
      At most (n - f) P[Hyp(n - 1, f, k) >= t] (Bell et al. 2020, section 3.3).
    - *The survivors' sum falls apart*: honest survivors C, at most half of them, share no mask
      with the others D, so that the coordinator learns two sums and not one, or the one sum
      without C. Then all t of each site's choices that survived lie in C or are corrupt, and no
      site of D that took part chose one in C; choices are independent, so for c = |C| at most

          binom(n - f, c) P[Hyp(n - 1, c - 1 + f, k) >= t]^c P[Bin(n - f - c, q) >= d],

      where q = binom(n - 1 - c, k) / binom(n - 1, k) is the chance to choose nobody in C, and
      those of D that took part are at least d = max(c, votes - f - c). Neither event mentions S,
      so there is no union over survivor sets. This argument is ours; against a malicious server the
      paper promises less: sums over at least a constant fraction of the honest sites each.
    """
    sites, corrupt = adversary.sites, adversary.corrupt
    honest, others = sites - corrupt, sites - 1
    opened = math.log2(honest) + _upper_tail(others, corrupt, degree, threshold)
    parts = np.arange(1, honest // 2 + 1)
    log_factorial = _log_factorials(sites + 1)
    ways = _log_binomial(log_factorial, honest, parts)
    inside = np.array(
        [_upper_tail(others, min(others, int(c) - 1 + corrupt), degree, threshold) for c in parts]
    )
    nobody = _log_binomial(log_factorial, others - parts, degree)
    avoid = nobody - _log_binomial(log_factorial, others, degree)
    survivors = adversary.threshold - corrupt
    apart = np.array(
        [
            _binomial_tail(
                log_factorial, honest - int(c), float(q), max(int(c), survivors - int(c))
            )
            for c, q in zip(parts, avoid, strict=True)
        ]
    )
    with np.errstate(invalid="ignore"):
        splits = ways + parts * inside + apart
    return _log_sum(np.append(splits[~np.isnan(splits)], opened))


@lru_cache(maxsize=8)
def _log_factorials(count: int) -> NDArray[np.float64]:
    """log2 of 0! to (count - 1)!, to about 12 digits."""
    return np.concatenate(([0.0], np.cumsum(np.log2(np.arange(1, count, dtype=np.float64)))))


def _log_binomial(
    log_factorial: NDArray[np.float64], of: int | NDArray[np.int_], chosen: int | NDArray[np.int_]
) -> NDArray[np.float64]:
    """log2 of binomial coefficients; minus infinity where there are none."""
    of, chosen = np.broadcast_arrays(np.asarray(of), np.asarray(chosen))
    possible = (chosen >= 0) & (chosen <= of)
    top, low = np.where(possible, of, 0), np.where(possible, chosen, 0)
    value = log_factorial[top] - log_factorial[low] - log_factorial[top - low]
    return np.where(possible, value, -np.inf)


def _hypergeometric(population: int, marked: int, drawn: int) -> NDArray[np.float64]:
    """log2 P[Hyp = 0..drawn]: how many ``marked`` are among ``drawn`` without replacement."""
    table = _log_factorials(population + 2)
    found = np.arange(drawn + 1)
    ways = _log_binomial(table, marked, found) + _log_binomial(
        table, population - marked, drawn - found
    )
    return ways - _log_binomial(table, population, drawn)


def _upper_tail(population: int, marked: int, drawn: int, least: int) -> float:
    """log2 P[Hyp >= least]."""
    return min(0.0, _log_sum(_hypergeometric(population, marked, drawn)[least:]))


def _lower_tails(population: int, marked: int, drawn: int) -> NDArray[np.float64]:
    """log2 P[Hyp <= m] for m = 0, ..., drawn."""
    return np.minimum(0.0, np.logaddexp2.accumulate(_hypergeometric(population, marked, drawn)))


def _binomial_tail(table: NDArray[np.float64], trials: int, log_q: float, least: int) -> float:
    """log2 P[Bin(trials, 2^log_q) >= least]."""
    if least > trials or log_q == -math.inf:
        return -math.inf
    if log_q >= 0:
        return 0.0
    found = np.arange(least, trials + 1)
    log_not = math.log1p(-(2.0**log_q)) / math.log(2)
    terms = _log_binomial(table, trials, found) + found * log_q + (trials - found) * log_not
    return min(0.0, _log_sum(terms))


def _log_sum(terms: NDArray[np.float64]) -> float:
    """log2 of the sum of 2^terms."""
    return float(np.logaddexp2.reduce(terms, initial=-np.inf))
