"""A site's part in a secure sum over a sparse graph, for cohorts of more than 32 sites.

After Bell et al. 2020, section 4. Every site advertises; the coordinator announces the root of a
Merkle tree over all adverts; only then does each site choose, by its own coins, whom it deals
shares to. It sees the keys of those it chose and of those that chose it, each proved to lie under
that root, and of the others only whom they chose. What follows is the round of
:mod:`wardround.secagg.masking` with one more condition: survivors are agreed to only if every
one of them keeps enough of those that it chose (see
:func:`wardround.secagg.graph.failure_to_protect` for what that gives).

*All* choices are shown to every site and stand in the set-up's digest. A site takes part only if
its own is among them as it made it, so the list is true of everybody who takes part, signed or not,
and nobody can be kept in the dark about who chose it: a mask that only one of two sites adds would
protect that one alone, and let the coordinator open a sum without it.

We depart from the paper in the consistency check. There, neighbours confirm each other; here, as
in small cohorts, a majority of *all* sites signs one survivor set, so that no two honest sites
ever act on different ones.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wardround.errors import WardroundError
from wardround.ids import BatchId, Digest, RunId, SiteName
from wardround.secagg.graph import SECURITY_BITS, GraphRule
from wardround.secagg.masking import RoundMember, Stage, there
from wardround.secagg.messages import BriefVote, Choice, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.setup import check_adverts, open_adverts, open_signed
from wardround.secagg.votes import bad_survivors
from wardround.trust.canonical import JSON, canonical, digest, digest_json
from wardround.trust.dsse import Envelope, pre_authentication
from wardround.trust.keys import SigningKey, VerifyKey
from wardround.trust.merkle import MerkleTree, leaf_hash, verify_inclusion

Proof = tuple[bytes, ...]
"""An audit path of RFC 6962, lowest first."""


@dataclass(frozen=True)
class Proved:
    """A signed statement and its place in a tree over the statements of many sites."""

    envelope: Envelope
    proof: Proof


@dataclass(frozen=True)
class Tree:
    """The statements of ``sites``, in ascending order, under one Merkle root."""

    sites: tuple[SiteName, ...]
    root: bytes

    def require(self, site: SiteName, proved: Proved) -> None:
        """Return if ``site``'s statement stands in the tree; raises WR-SECAGG-061 otherwise."""
        try:
            place = self._places[site]
            hashed = _leaf(site, proved.envelope)
            verify_inclusion(hashed, place, len(self.sites), proved.proof, self.root)
        except (KeyError, WardroundError):
            raise WardroundError(
                "WR-SECAGG-061",
                f"A statement of {site} is not among those that the set-up is over.",
                "Start a fresh set-up. If it happens again the coordinator shows the sites "
                "different things: compare the roots that they were told.",
                path=site,
            ) from None

    def covers(self, sites: Iterable[SiteName]) -> bool:
        """Whether each of ``sites`` has a statement in the tree."""
        return self._places.keys() >= set(sites)

    @cached_property
    def _places(self) -> dict[SiteName, int]:
        return {site: place for place, site in enumerate(self.sites)}

    @cached_property
    def digest(self) -> Digest:
        """What stands for the whole tree, its sites included."""
        return digest_json({"sites": list(self.sites), "root": self.root.hex()})


def plant(statements: Mapping[SiteName, Envelope]) -> tuple[Tree, dict[SiteName, Proved]]:
    """The tree over all ``statements`` and every one's place in it: the coordinator's part."""
    sites = tuple(sorted(statements))
    tree = MerkleTree()
    for site in sites:
        tree.append(_leaf(site, statements[site]))
    proved = {
        site: Proved(statements[site], tree.inclusion_proof(place))
        for place, site in enumerate(sites)
    }
    return Tree(sites, tree.root()), proved


class Choices:
    """Whom each site of a roster chose among ``sites``, all that advertised, in ascending order.

    One bit for each pair: at a thousand sites the whole graph is 125 kB.
    """

    def __init__(self, sites: Sequence[SiteName], bits: Mapping[SiteName, bytes]) -> None:
        self.sites, self.bits = tuple(sites), dict(sorted(bits.items()))
        self._rows = {site: place for place, site in enumerate(self.bits)}
        self._columns = {site: place for place, site in enumerate(self.sites)}
        width = -(-len(self.sites) // 8)
        if not width or any(len(row) != width for row in self.bits.values()):
            raise _bad_deal("The choices are of another cohort.")
        packed = np.frombuffer(b"".join(self.bits.values()), np.uint8).reshape(-1, width)
        table = np.unpackbits(packed, axis=1)
        if table[:, len(self.sites) :].any():
            raise _bad_deal("The choices are of another cohort.")
        self._table = table[:, : len(self.sites)]

    @classmethod
    def among(
        cls, sites: Sequence[SiteName], chosen: Mapping[SiteName, Iterable[SiteName]]
    ) -> Choices:
        """From names; raises WR-SECAGG-008 for one that is not among ``sites``."""
        columns = {site: place for place, site in enumerate(sites)}
        bits = {}
        for site, others in chosen.items():
            row = np.zeros(len(sites), np.uint8)
            try:
                row[[columns[other] for other in others]] = 1
            except KeyError:
                raise _bad_deal(f"{site} chose a site that advertised no keys.", site) from None
            bits[site] = np.packbits(row).tobytes()
        return cls(sites, bits)

    @property
    def digest(self) -> Digest:
        """What stands for all of them."""
        rows = [f"{site} {row.hex()}" for site, row in self.bits.items()]
        return digest_json({"sites": list(self.sites), "chosen": rows})

    def require(self, sites: Sequence[SiteName], roster: Sequence[SiteName], degree: int) -> None:
        """Return if each of ``roster`` chose ``degree`` others of ``sites``; else WR-SECAGG-008."""
        mine = (self.sites, tuple(self.bits)) == (tuple(sites), tuple(roster))
        if not mine or not bool((self._table.sum(axis=1) == degree).all()):
            raise _bad_deal("The choices are of another cohort, or of another number.")
        if any(self._table[row, self._columns[site]] for site, row in self._rows.items()):
            raise _bad_deal("A site is said to have chosen itself.")

    def of(self, site: SiteName) -> tuple[SiteName, ...]:
        """Whom ``site`` chose, in ascending order."""
        return tuple(self.sites[place] for place in np.flatnonzero(self._table[self._rows[site]]))

    def choosers(self, site: SiteName) -> tuple[SiteName, ...]:
        """Who in the roster chose ``site``."""
        column = self._table[:, self._columns[site]]
        return tuple(one for one, row in self._rows.items() if column[row])

    def cut_off(self, survivors: Sequence[SiteName], least: int) -> tuple[SiteName, ...]:
        """Which of ``survivors`` are left with fewer than ``least`` of those that they chose."""
        alive = np.zeros(self._table.shape[1], np.int64)
        alive[[self._columns[site] for site in survivors]] = 1
        kept = self._table @ alive
        return tuple(site for site in survivors if kept[self._rows[site]] < least)


def setup_digest(adverts: Tree, deals: Tree, choices: Choices) -> Digest:
    """One digest for every advertised key, choice and sealed share of a large cohort's set-up."""
    parts: dict[str, JSON] = {
        "adverts": adverts.digest,
        "deals": deals.digest,
        "choices": choices.digest,
    }
    return digest_json(parts)


def _leaf(site: SiteName, envelope: Envelope) -> bytes:
    # No name holds a line break, so no two leaves have one text.
    return leaf_hash(f"{site}\n{digest(envelope.payload)}".encode())


class SparseMember(RoundMember):
    """One site of a large cohort. ``advert``, ``choose``, ``deal_chosen``, ``accept_chosen``;
    then for each round index ``mask``, ``vote``, ``recover_signed``, ``forget``.

    ``keys`` are the signing keys of the study, all of whose sites are invited; ``rule_for`` gives
    the graph's rule for a cohort of n. Raises WR-SECAGG-007 if the study does not list this
    site's key.
    """

    def __init__(
        self,
        study: Digest,
        run: RunId,
        batch: BatchId,
        me: SiteName,
        signing_key: SigningKey,
        keys: Mapping[SiteName, VerifyKey],
        rule_for: Callable[[int], GraphRule],
        rounds: int,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        super().__init__(
            study, run, batch, (), me, signing_key, keys, rounds, random_bytes=random_bytes
        )
        self._rule_for = rule_for
        self._own_choice: tuple[SiteName, ...] = ()
        self._choices: Choices | None = None
        self._tree: Tree | None = None

    @property
    def advertised(self) -> tuple[SiteName, ...]:
        """All that advertised, in ascending order; none before :meth:`choose`."""
        return () if self._tree is None else self._tree.sites

    def choose(self, tree: Tree, mine: Proved) -> Choice:
        """Whom this site deals to, drawn now and by itself among all that advertised.

        Once only: a second draw, over other adverts, would let the coordinator wait for one that
        suits it. Raises WR-SECAGG-001 or -002 for a cohort that is too small, -007 for sites that
        the study does not list, -061 unless this site's own advert is in the tree.
        """
        self._require(Stage.ADVERTISED)
        if list(tree.sites) != sorted(set(tree.sites)) or not set(tree.sites) <= self._keys.keys():
            raise WardroundError(
                "WR-SECAGG-007",
                "The cohort is not made of distinct sites of this study.",
                "The agent refuses; tell the study's coordinator.",
            )
        if mine.envelope.payload != self._own_advert.payload:
            raise WardroundError(
                "WR-SECAGG-007",
                "The advertised keys of the cohort don't include this site's own.",
                "Start a fresh set-up.",
                path=self._me,
            )
        tree.require(self._me, mine)
        rule = self._rule_for(len(tree.sites))
        self._rule, self._tree, self._stage = rule, tree, Stage.CHOSEN
        others = [site for site in tree.sites if site != self._me]
        self._own_choice = tuple(sorted(_drawn(others, rule.degree, self._random_bytes)))
        own = self._own
        return Choice(own.study, own.run, own.batch, self._me, tree.digest, self._own_choice)

    def deal_chosen(
        self, adverts: Mapping[SiteName, Proved]
    ) -> tuple[Envelope, dict[SiteName, bytes]]:
        """Share this site's secrets among those that it chose; otherwise as ``deal``.

        Raises WR-SECAGG-007 for other adverts than theirs, -061 for one that is not in the tree.
        """
        self._require(Stage.CHOSEN)
        if adverts.keys() != set(self._own_choice):
            raise WardroundError(
                "WR-SECAGG-007",
                "The adverts are not those of the sites that this one chose.",
                "Fetch the adverts of exactly these sites.",
                path=self._me,
            )
        self._learn(adverts)
        self._stage = Stage.DEALT
        return self._deal_to(self._own_choice, there(self._tree).digest)

    def accept_chosen(
        self,
        deals: Mapping[SiteName, Proved],
        adverts: Mapping[SiteName, Proved],
        sealed_to_me: Mapping[SiteName, bytes],
        dealt: Tree,
        choices: Choices,
    ) -> Digest:
        """Take the shares of every site that chose this one; gives the digest of the set-up.

        ``dealt`` is the tree over all deals, whose sites are the roster, and ``choices`` say whom
        each of them chose; ``deals`` are those of this site and of all that chose it, ``adverts``
        the ones that it has not seen. Raises WR-SECAGG-008 for choices that are not its own or
        have another number, for a deal that is missing, to others or over other keys, -009 for a
        blob that was altered or holds no shares, -061 for a statement that is not in its tree.
        """
        self._require(Stage.DEALT)
        if (
            list(dealt.sites) != sorted(set(dealt.sites))
            or not there(self._tree).covers(dealt.sites)
            or len(dealt.sites) < self.adversary.minimum_survivors
            or self._me not in deals
            or deals[self._me].envelope.payload != there(self._own_deal).payload
        ):
            raise _bad_deal("The roster is too small, has strangers, or not this site's deal.")
        tree = there(self._tree)
        choices.require(tree.sites, dealt.sites, there(self._rule).degree)
        if choices.of(self._me) != self._own_choice:
            raise _bad_deal("The choices are not what this site chose.", self._me)
        if deals.keys() != {self._me, *choices.choosers(self._me)}:
            raise _bad_deal("The deals are not those of the sites that chose this one.")
        self._learn(adverts)
        opened = {
            site: self._open_deal(site, deals[site], dealt, choices) for site in sorted(deals)
        }
        self._take(opened, sealed_to_me, tree.digest)
        self._roster, self._choices = dealt.sites, choices
        inside = frozenset(dealt.sites) & {*self._own_choice, *opened}
        self._adverts = {site: self._adverts[site] for site in sorted(inside)}
        self._setup = setup_digest(tree, dealt, choices)
        self._stage = Stage.READY
        return self._setup

    def recover_signed(
        self,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        signatures: Mapping[SiteName, bytes],
    ) -> RecoveryShares:
        """As ``recover``, with brief votes as bare signatures: what they sign is known here.

        The more votes are shown beyond the threshold, the fewer are checked: see
        :func:`require_signatures`. One that is false ends the round for this site, so that nobody
        can try his luck twice.
        """
        own_vote = self._repeated_vote(index, manifest, survivors)
        try:
            require_signatures(
                signatures,
                self._keys,
                own_vote,
                self.adversary.threshold,
                random_bytes=self._random_bytes,
            )
        except _FalseVoteError:
            self.forget(index)
            raise
        return self._recovery_shares(own_vote)

    def _learn(self, adverts: Mapping[SiteName, Proved]) -> None:
        """Open the adverts, each proved to be in the tree, beside those that are known."""
        for site, proved in adverts.items():
            there(self._tree).require(site, proved)
        envelopes = {site: proved.envelope for site, proved in adverts.items()}
        opened = open_adverts(envelopes, self._keys)
        known = {self._me: self._own, **self._adverts, **opened}
        check_adverts(known)
        self._advert_envelopes |= {self._me: self._own_advert, **envelopes}
        self._adverts = known

    def _open_deal(self, site: SiteName, proved: Proved, dealt: Tree, choices: Choices) -> Deal:
        dealt.require(site, proved)
        deal = open_signed(Deal, proved.envelope, site, self._keys, "WR-SECAGG-008")
        own = self._own
        if (
            (deal.study, deal.run, deal.batch) != (own.study, own.run, own.batch)
            or deal.adverts != there(self._tree).digest
            or tuple(sorted(deal.sealed)) != choices.of(site)
            or site not in self._adverts
        ):
            raise _bad_deal(f"{site} dealt shares for another cohort, or to others.", site)
        return deal

    def _check_neighbourhoods(self, agreed: tuple[SiteName, ...]) -> None:
        """Every survivor keeps enough of those that it chose."""
        if there(self._rule).is_complete:
            return
        least = there(self._rule).share_threshold
        alone = there(self._choices).cut_off(agreed, least)
        if alone:
            raise bad_survivors(
                f"Of those that {alone[0]} chose to hold its shares fewer than {least} survived."
            )


class _FalseVoteError(WardroundError):
    """A vote that its alleged voter did not sign."""


def require_signatures(
    signatures: Mapping[SiteName, bytes],
    keys: Mapping[SiteName, VerifyKey],
    agreed: SurvivorVote,
    threshold: int,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """As :func:`wardround.secagg.votes.require_votes`, of the signatures of brief votes.

    They are checked in an order that is drawn here and now, and only as many as :func:`to_check`
    asks for.
    """
    if len(signatures) < threshold:
        raise WardroundError(
            "WR-SECAGG-015",
            f"Only {len(signatures)} sites voted for this set of survivors; {threshold} must.",
            "Wait for more votes, or give up the round: nothing of it has been opened.",
        )
    inside = frozenset(agreed.survivors)
    brief = BriefVote.of(agreed)
    # All say the same but for who says it: the name is spliced in.
    before, after = canonical(brief.to_wire()).split(f'"site":"{brief.site}"'.encode())
    sample = to_check(len(signatures), threshold, len(keys))
    for site in _drawn(sorted(signatures), sample, random_bytes):
        payload = before + f'"site":"{site}"'.encode() + after
        try:
            if site not in inside:
                raise KeyError(site)
            keys[site].verify(signatures[site], pre_authentication(brief.payload_type, payload))
        except (KeyError, WardroundError):
            raise _FalseVoteError(
                "WR-SECAGG-015",
                f"The vote of {site} is not about this round and this set of survivors.",
                "Give up the round. If it happens again, compare the signed votes.",
                path=site,
            ) from None


def to_check(shown: int, threshold: int, sites: int) -> int:
    """How many of ``shown`` votes, drawn at random, a helper checks; all if few are to spare.

    If fewer than ``threshold`` of them are true, all of a sample of q are so with a probability of
    at most ((threshold - 1) / shown)^q. That is kept below 2^-`SECURITY_BITS` for all ``sites``
    together, each of which is shown votes once.
    """
    if threshold < 2 or shown < threshold:
        return shown
    bits = SECURITY_BITS + math.log2(sites)
    return min(shown, math.ceil(bits / math.log2(shown / (threshold - 1))))


def _drawn(
    sites: Sequence[SiteName], count: int, random_bytes: Callable[[int], bytes]
) -> list[SiteName]:
    """``count`` of ``sites``, uniformly: those with the smallest of independent 128-bit numbers."""
    coins = random_bytes(16 * len(sites))
    places = sorted(range(len(sites)), key=lambda place: coins[16 * place : 16 * place + 16])
    return [sites[place] for place in places[:count]]


def _bad_deal(problem: str, site: SiteName | None = None) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-008", problem, "Start a fresh set-up; no round was lost.", path=site
    )
