"""The coordinator's part: from recovery shares to the masks that are still in the sum.

Over the survivors' masked vectors, masks between two survivors cancel. What remains is each
survivor's self-mask and, for every site that dropped, its masks with the survivors. Both follow
from secrets that any threshold of helpers can reconstruct, and every reconstructed secret is
compared with what its owner advertised. A helper that sends a false share costs time, not the
round, as long as enough true ones remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, islice

from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.secagg import derive, shamir
from wardround.secagg.adversary import Adversary
from wardround.secagg.encoding import RingArray, RingBits
from wardround.secagg.expand import Keystream, apply
from wardround.secagg.graph import Graph
from wardround.secagg.messages import Advert, RecoveryShares
from wardround.secagg.votes import check_survivors

_MOST_SUBSETS = 2_500
"""Subsets of shares tried before a secret is given up: every pattern of two liars among 64
helpers, of three among 24, of any number among 12. At worst a second for 32 sites, three for 64."""


class Unmasking:
    """The masks to be taken out of one round's sum, chunk by chunk. One thread at a time."""

    def __init__(
        self,
        ring_bits: RingBits,
        added: Sequence[Keystream],
        subtracted: Sequence[Keystream],
        suspects: Mapping[SiteName, tuple[SiteName, ...]],
    ) -> None:
        self._width = ring_bits // 8
        self._added = added
        self._subtracted = subtracted
        self.suspects = suspects
        """Helper -> dealers: the helper's share of that dealer's secret does not lie with those
        that gave it. The helper, the dealer, or other helpers in league did it; `blame` says when
        it is certain who. A helper whose message answers another question is suspect with the
        whole roster."""

    @classmethod
    def prepare(
        cls,
        adverts: Mapping[SiteName, Advert],
        ring_bits: RingBits,
        survivors: Sequence[SiteName],
        recovered: Mapping[SiteName, RecoveryShares],
        index: int,
        manifest: Digest,
        adversary: Adversary,
        graph: Graph | None = None,
    ) -> Unmasking:
        """Reconstruct what is needed to open round ``index`` over ``survivors``.

        ``adverts`` are those of the whole roster, ``recovered`` the helpers' verified messages,
        ``graph`` who holds whose shares (left out: everybody everybody's). Raises WR-SECAGG-013
        for a set that may not be opened, -016 with fewer than threshold helpers, -017 naming the
        dealer when no shares give what it advertised.
        """
        roster = tuple(sorted(adverts))
        graph = graph or Graph(roster, adversary.threshold)
        agreed = check_survivors(survivors, roster, adversary)
        batch = _batch(adverts)
        fitting = {
            site: message
            for site, message in recovered.items()
            if _fits(message, site, batch, index, manifest, agreed, graph)
        }
        pool = _SharePool(graph)
        added: list[Keystream] = []
        subtracted: list[Keystream] = []
        for site in agreed:
            secret = pool.reconstruct(
                site,
                {
                    helper: fitting[helper].self_mask_shares[site]
                    for helper in graph.holders(site)
                    if helper in fitting
                },
                partial(derive.self_mask_commitment, batch=batch, index=index, site=site),
                adverts[site].self_mask_commitments[index],
            )
            key = derive.self_mask_key(secret, batch, index, manifest, site)
            subtracted.append(Keystream(key))
        inside = frozenset(agreed)
        for gone in sorted(set(roster) - inside):
            secret = pool.reconstruct(
                gone,
                {
                    helper: fitting[helper].masking_shares[gone]
                    for helper in graph.holders(gone)
                    if helper in fitting
                },
                derive.public_key,
                adverts[gone].masking_keys[index],
            )
            private = derive.private_key(secret)
            for site in sorted(graph.neighbours(gone) & inside):
                pair = {one: adverts[one].masking_keys[index] for one in (gone, site)}
                shared = derive.exchange(private, pair[site])
                key = derive.pair_mask_key(shared, batch, index, manifest, pair)
                # The survivor added it if its name sorts first; here it is taken back.
                (subtracted if site < gone else added).append(Keystream(key))
        useless = dict.fromkeys(recovered.keys() - fitting.keys(), roster)
        return cls(ring_bits, added, subtracted, pool.suspects() | useless)

    def unmask(self, chunk: RingArray, offset_elements: int = 0) -> None:
        """Take the masks out of ``chunk``, elements ``offset_elements`` onwards of the sum.

        In place. Chunks may come in any order; in ascending order is fastest.
        """
        if chunk.itemsize != self._width:
            raise WardroundError(
                "WR-SECAGG-004",
                "A part of a sum has elements of another width than the round's ring.",
                "This is a fault in the program that calls; report it.",
            )
        apply(chunk, self._added, self._subtracted, offset_elements)


class _SharePool:
    """Reconstruction that remembers whose shares were false, and then asks them last."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._suspects: dict[SiteName, list[SiteName]] = {}

    def suspects(self) -> dict[SiteName, tuple[SiteName, ...]]:
        return {helper: tuple(dealers) for helper, dealers in sorted(self._suspects.items())}

    def reconstruct(
        self,
        dealer: SiteName,
        shares: Mapping[SiteName, bytes],
        publish: Callable[[bytes], bytes],
        published: bytes,
    ) -> bytes:
        """The secret of ``dealer`` of which ``publish`` gives what the dealer ``published``."""
        threshold = self._graph.share_threshold
        if len(shares) < threshold:
            raise WardroundError(
                "WR-SECAGG-016",
                f"Only {len(shares)} sites helped to open the round; {threshold} must.",
                "Wait for more of them, or give the round up: nothing of it has been opened.",
            )
        numbers = {site: n for n, site in enumerate(self._graph.holders(dealer), 1)}
        helpers = sorted(shares, key=lambda helper: (len(self._suspects.get(helper, ())), helper))
        for chosen in islice(_subsets(helpers, threshold), _MOST_SUBSETS):
            basis = {numbers[helper]: shares[helper] for helper in chosen}
            secret = shamir.combine(basis)
            if secret is not None and publish(secret) == published:
                for helper in set(helpers) - set(chosen):
                    if not shamir.agrees(basis, numbers[helper], shares[helper]):
                        self._suspects.setdefault(helper, []).append(dealer)
                return secret
        raise WardroundError(
            "WR-SECAGG-017",
            f"The shares of {dealer}'s secret don't give what {dealer} advertised.",
            f"Give the round up and start a fresh set-up without {dealer}: it dealt false shares, "
            "or too many other sites sent false ones.",
            path=dealer,
        )


def _subsets(helpers: Sequence[SiteName], size: int) -> Iterator[tuple[SiteName, ...]]:
    """Subsets of ``size`` helpers, the fewest left-out suspects first, none of them twice.

    Leaving out each set of k helpers and taking the first ``size`` of the rest covers every
    pattern of k liars.
    """
    tried = set()
    for left_out in range(len(helpers) - size + 1):
        for liars in combinations(helpers, left_out):
            chosen = tuple(helper for helper in helpers if helper not in liars)[:size]
            if chosen not in tried:
                tried.add(chosen)
                yield chosen


def _batch(adverts: Mapping[SiteName, Advert]) -> derive.Batch:
    one = next(iter(adverts.values()))
    return derive.Batch(one.study, one.run, one.batch)


def _fits(
    message: RecoveryShares,
    site: SiteName,
    batch: derive.Batch,
    index: int,
    manifest: Digest,
    survivors: tuple[SiteName, ...],
    graph: Graph,
) -> bool:
    """Whether the message is ``site``'s answer for exactly this round."""
    return (
        message.site == site
        and derive.Batch(message.study, message.run, message.batch) == batch
        and (message.index, message.manifest, message.survivors) == (index, manifest, survivors)
        and message.masking_shares.keys() | message.self_mask_shares.keys() == graph.dealers(site)
        and message.self_mask_shares.keys() == graph.dealers(site) & set(survivors)
    )
