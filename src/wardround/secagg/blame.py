"""Who certainly sent or dealt false shares, and who only may have, once a round was opened or not.

Shares that open but are false are found at recovery, when the secrets that they give are compared
with what their dealers advertised. Either the dealer dealt them false or the helper changed them.
Both signed what they sent, but the sealed blobs in between are closed to everyone else: opening one
after masking would show both shares of one dealer, which must never be seen together. So guilt
follows from numbers alone, under the study's bound of f corrupt sites, and often does not.

A secret that fits its advert does not vouch for every share: two corrupt helpers can shift theirs
so that a threshold of shares still gives the secret, on another polynomial, off which the true
shares of honest helpers seem to lie. Two polynomials of degree t - 1 with one secret share at most
t - 2 further points; so t - 1 + f agreeing shares of an honest dealer's secret, f of which may be
corrupt, lie on the true one. Of a masking key even one helper can do this: X25519 ignores five of
its bits, so secrets that differ there have one public key, and t + f shares must agree. With fewer,
nobody is blamed.

*What stays open.* With less agreement than that, or with an unopened secret and fewer than t + f
helpers, one corrupt helper can make an honest dealer look false. The dealer that WR-SECAGG-017
names is then a suspect and not a culprit: leaving out whoever is named would let one corrupt site
push out honest ones. Settling these cases too needs deals that commit to every single share (a hash
for each receiver and kind), which the receiver checks before it accepts, with a `complaint` if one
is false; helpers then can't change a share, and what still fits no advert is the dealer's doing.
That is a change of the deal's format and is not made yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from math import comb

from wardround.ids import SiteName
from wardround.secagg.adversary import Adversary

_PATTERNS = 2_500
"""Patterns of liars that `recovery` is sure to have tried before it gives a secret up."""


def culprits(
    suspects: Mapping[SiteName, tuple[SiteName, ...]],
    survivors: Collection[SiteName],
    helpers: int,
    adversary: Adversary,
) -> frozenset[SiteName]:
    """Who certainly lied, by `Unmasking.suspects` of a round that ``helpers`` messages opened.

    A helper is convicted when its shares of more than f dealers are false (one of them is honest
    and dealt a true one), a dealer when the shares of more than f helpers are.
    """
    against = Counter(dealer for dealers in suspects.values() for dealer in dealers)
    needed = adversary.threshold + adversary.corrupt
    settled = {
        dealer
        for dealer, number in against.items()
        if helpers - number >= needed - (dealer in survivors)
    }
    false_helpers = {
        helper
        for helper, dealers in suspects.items()
        if len(settled.intersection(dealers)) > adversary.corrupt
    }
    false_dealers = {dealer for dealer in settled if against[dealer] > adversary.corrupt}
    return frozenset(false_helpers | false_dealers)


def is_dealer_guilty(helpers: int, adversary: Adversary) -> bool:
    """Whether WR-SECAGG-017 convicts the dealer it names, after ``helpers`` gave shares of it.

    Of t + f shares at least t are an honest dealer's true ones, and `recovery` would have found
    them, unless there are more patterns of liars than it tries.
    """
    if helpers < adversary.threshold + adversary.corrupt:
        return False
    return sum(comb(helpers, liars) for liars in range(adversary.corrupt + 1)) <= _PATTERNS
