"""A site's part in a secure sum: double masking after Bonawitz et al. 2017, with consistency.

The attacker is the coordinator together with a bounded number of other sites (see ``adversary``).
It carries all messages between sites, may drop, repeat, swap and invent them and call any method
here in any order and with any argument. What it must not get is more than one total per round
index, or a total over fewer than the minimum of survivors.

What stops it: a mask covers one vector under one manifest and its keys are gone afterwards; a
member votes for one set of survivors per round, and at that moment destroys, for every peer, the
one of its two shares that this set does not call for; shares leave only against enough signed
votes on that same set. Everything lives in memory: a member that is restarted is one that dropped.

A :class:`Member` masks with every other site of the roster. :mod:`wardround.secagg.sparse` has the
one for large cohorts, which differs in how it is set up and not in how it answers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from wardround.errors import WardroundError
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import derive, shamir
from wardround.secagg.adversary import Adversary
from wardround.secagg.complaint import Complaint, complain, no_complaint
from wardround.secagg.encoding import RingArray
from wardround.secagg.expand import Keystream, apply
from wardround.secagg.graph import GraphRule, complete, holders
from wardround.secagg.messages import Advert, Deal, RecoveryShares, SurvivorVote
from wardround.secagg.sealing import Route
from wardround.secagg.setup import adverts_digest, open_adverts, open_deals, setup_digest
from wardround.secagg.votes import bad_survivors, check_survivors, require_votes
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey

_T = TypeVar("_T")


class Stage(Enum):
    """How far a set-up has come; each step is made once."""

    ADVERTISED = auto()
    CHOSEN = auto()
    DEALT = auto()
    READY = auto()
    GONE = auto()


@dataclass(repr=False)
class _Round:
    """One round's secrets; empty maps and no keys once it is over."""

    masking_key: bytearray | None
    self_mask: bytearray | None
    masking_shares: dict[SiteName, bytearray] = field(default_factory=dict)
    self_mask_shares: dict[SiteName, bytearray] = field(default_factory=dict)
    manifest: Digest | None = None
    round_id: RoundId | None = None
    survivors: tuple[SiteName, ...] | None = None

    def drop_keys(self) -> None:
        for key in (self.masking_key, self.self_mask):
            if key is not None:
                _wipe(key)
        self.masking_key = self.self_mask = None

    @property
    def is_over(self) -> bool:
        return not self.self_mask_shares

    def forget(self) -> None:
        self.drop_keys()
        for shares in (self.masking_shares, self.self_mask_shares):
            for site in tuple(shares):
                _wipe(shares.pop(site))


class RoundMember:
    """What a site does in the rounds of a set-up, however that was made: see the subclasses.

    ``pool`` are the invited sites, none of them for all of the study, ``keys`` the signing keys of
    the study. Raises WR-SECAGG-007 if this site is not invited or the study does not list its key.
    """

    def __init__(
        self,
        study: Digest,
        run: RunId,
        batch: BatchId,
        pool: Sequence[SiteName],
        me: SiteName,
        signing_key: SigningKey,
        keys: Mapping[SiteName, VerifyKey],
        rounds: int,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        invited = pool or tuple(keys)
        if me not in invited or not keys.keys() >= set(invited) or keys[me] != signing_key.public:
            raise WardroundError(
                "WR-SECAGG-007",
                "This site is not invited to the set-up, or the study lists another key for it.",
                "Compare the site's name and the fingerprint of its key with the study.",
                path=me,
            )
        self._batch = derive.Batch(study, run, batch)
        self._me = me
        self._keys = dict(keys)
        self._random_bytes = random_bytes
        self._signing_key = signing_key
        self._sealing_key: bytearray | None = bytearray(random_bytes(32))
        self._rounds = [
            _Round(bytearray(random_bytes(32)), bytearray(random_bytes(32))) for _ in range(rounds)
        ]
        self._own = Advert(
            study=study,
            run=run,
            batch=batch,
            pool=tuple(sorted(pool)),
            rounds=rounds,
            site=me,
            sealing_key=derive.public_key(self._sealing_key),
            masking_keys=tuple(derive.public_key(there(one.masking_key)) for one in self._rounds),
            self_mask_commitments=tuple(
                derive.self_mask_commitment(bytes(there(one.self_mask)), self._batch, index, me)
                for index, one in enumerate(self._rounds)
            ),
        )
        self._own_advert = self._own.sign(signing_key)
        self._stage = Stage.ADVERTISED
        self._advert_envelopes: dict[SiteName, Envelope] = {}
        self._adverts: dict[SiteName, Advert] = {}
        """Of this site and of all that it masks with."""
        self._roster: tuple[SiteName, ...] = ()
        self._rule: GraphRule | None = None
        self._own_deal: Envelope | None = None
        self._setup: Digest | None = None

    @property
    def roster(self) -> tuple[SiteName, ...]:
        """The sites of the sum, in ascending order; empty before :meth:`deal`."""
        return self._roster

    @property
    def adversary(self) -> Adversary:
        """The thresholds of the cohort, which are those of every site that advertised."""
        return there(self._rule).adversary

    def advert(self) -> Envelope:
        """This site's public keys for the batch, signed; the same envelope every time."""
        return self._own_advert

    def _deal_to(
        self, chosen: Sequence[SiteName], seen: Digest
    ) -> tuple[Envelope, dict[SiteName, bytes]]:
        """Shares of this site's secrets for itself and ``chosen``, whose adverts are at hand."""
        mine = holders(self._me, chosen)
        threshold = there(self._rule).share_threshold
        per_site: dict[SiteName, list[bytes]] = {site: [] for site in mine}
        for one in self._rounds:
            for secret in (there(one.masking_key), there(one.self_mask)):
                shares = shamir.deal(bytes(secret), threshold, len(mine), self._random_bytes)
                for site, share in zip(mine, shares, strict=True):
                    per_site[site].append(share)
        self._keep(self._me, tuple(per_site.pop(self._me)))
        sealing_key = derive.private_key(there(self._sealing_key))
        sealed = {
            site: Route(self._batch, seen, self._me, site).seal(
                sealing_key, self._adverts[site].sealing_key, tuple(shares)
            )
            for site, shares in per_site.items()
        }
        self._own_deal = Deal(
            study=self._own.study,
            run=self._own.run,
            batch=self._own.batch,
            site=self._me,
            adverts=seen,
            sealed={site: digest(blob) for site, blob in sealed.items()},
        ).sign(self._signing_key)
        return self._own_deal, sealed

    def _take(
        self, deals: Mapping[SiteName, Deal], sealed_to_me: Mapping[SiteName, bytes], seen: Digest
    ) -> None:
        """Unseal and keep what others dealt to this site: all of it, or nothing."""
        sealing_key = derive.private_key(there(self._sealing_key))
        received: dict[SiteName, tuple[bytes, ...]] = {}
        for site, deal in deals.items():
            if site == self._me:
                continue
            blob = sealed_to_me.get(site)
            if blob is None or digest(blob) != deal.sealed[self._me]:
                raise WardroundError(
                    "WR-SECAGG-009",
                    f"The sealed shares from {site} are not the ones that {site} signed for.",
                    "Fetch them again; if they still differ, the coordinator or its storage "
                    "alters them.",
                    path=site,
                )
            received[site] = Route(self._batch, seen, site, self._me).unseal(
                sealing_key, self._adverts[site].sealing_key, blob, 2 * len(self._rounds)
            )
        for site, shares in received.items():
            self._keep(site, shares)
        self._drop_sealing_key()

    @property
    def setup(self) -> Digest:
        """The set-up's digest. A caller masks only under a manifest that carries it."""
        self._require(Stage.READY)
        return there(self._setup)

    def mask(self, index: int, manifest: Digest, values: RingArray, *, round_id: RoundId) -> None:
        """Hide ``values``, shape (length,), in place, and bind ``index`` to ``manifest``.

        The round's own keys are destroyed whether or not it succeeds, so no other vector can ever
        be masked with them. Raises WR-SECAGG-011 for an index that is used or out of range.
        """
        one = self._round(index)
        if one.manifest is not None or one.masking_key is None or one.self_mask is None:
            raise _index_gone(index)
        one.manifest, one.round_id = manifest, round_id
        masking_key, self_mask = derive.private_key(one.masking_key), bytes(one.self_mask)
        one.drop_keys()
        added = [Keystream(derive.self_mask_key(self_mask, self._batch, index, manifest, self._me))]
        subtracted: list[Keystream] = []
        own_public = self._own.masking_keys[index]
        for peer, advert in self._adverts.items():
            if peer == self._me:
                continue
            public = advert.masking_keys[index]
            shared = derive.exchange(masking_key, public)
            pair = {self._me: own_public, peer: public}
            stream = Keystream(derive.pair_mask_key(shared, self._batch, index, manifest, pair))
            (added if self._me < peer else subtracted).append(stream)
        apply(values, added, subtracted)

    def vote(self, index: int, manifest: Digest, survivors: Sequence[SiteName]) -> SurvivorVote:
        """Agree that the round is opened over ``survivors``: one set per round, repeatable.

        Raises WR-SECAGG-012 unless this site masked under ``manifest``, -013 for a set that is
        too small, not of the roster, or without this site, -014 after a vote for another set.
        The caller records the vote durably before it sends it.
        """
        one = self._round(index)
        self._require_manifest(one, manifest)
        agreed = check_survivors(survivors, self.roster, self.adversary)
        if self._me not in agreed:
            raise bad_survivors("This site's own contribution is not among the survivors.")
        self._check_neighbourhoods(agreed)
        if one.survivors is None:
            one.survivors = agreed
            inside = frozenset(agreed)
            for site in tuple(one.self_mask_shares):
                # What this set does not call for is destroyed, not merely withheld.
                shares = one.masking_shares if site in inside else one.self_mask_shares
                _wipe(shares.pop(site))
        if one.survivors != agreed:
            raise WardroundError(
                "WR-SECAGG-014",
                "This site already agreed to another set of survivors for this round.",
                "Open the round over that set, or give the round up.",
            )
        return SurvivorVote(
            study=self._own.study,
            run=self._own.run,
            batch=self._own.batch,
            round=there(one.round_id),
            index=index,
            manifest=manifest,
            survivors=agreed,
            site=self._me,
        )

    def recover(
        self,
        index: int,
        manifest: Digest,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, Envelope],
    ) -> RecoveryShares:
        """The shares that open the round over ``survivors``, against enough votes for that set.

        Only after this site's own vote (WR-SECAGG-014), only with ``threshold`` valid votes on
        exactly this round and set (-015); the same call gives the same shares until ``forget``.
        """
        own_vote = self._repeated_vote(index, manifest, survivors)
        self._require_votes(votes, own_vote)
        return self._recovery_shares(own_vote)

    def _repeated_vote(
        self, index: int, manifest: Digest, survivors: Sequence[SiteName]
    ) -> SurvivorVote:
        one = self._round(index)
        self._require_manifest(one, manifest)
        if one.survivors is None:
            raise WardroundError(
                "WR-SECAGG-014",
                "This site has not agreed to a set of survivors for this round.",
                "Ask for its vote first.",
            )
        return self.vote(index, manifest, survivors)

    def _recovery_shares(self, own_vote: SurvivorVote) -> RecoveryShares:
        one = self._rounds[own_vote.index]
        return RecoveryShares(
            study=self._own.study,
            run=self._own.run,
            batch=self._own.batch,
            round=own_vote.round,
            index=own_vote.index,
            manifest=own_vote.manifest,
            survivors=own_vote.survivors,
            site=self._me,
            masking_shares={site: bytes(share) for site, share in one.masking_shares.items()},
            self_mask_shares={site: bytes(share) for site, share in one.self_mask_shares.items()},
        )

    def forget(self, index: int) -> None:
        """Destroy what is left of a round's secrets; the index is used up, masked or not."""
        self._require(Stage.READY)
        if 0 <= index < len(self._rounds):
            self._rounds[index].forget()

    def abandon(self) -> None:
        """Destroy everything; every further call but ``advert`` is refused."""
        for one in self._rounds:
            one.forget()
        self._drop_sealing_key()
        self._stage = Stage.GONE

    def _check_neighbourhoods(self, agreed: tuple[SiteName, ...]) -> None:
        """With all pairs, the number of survivors says everything."""

    def _require_votes(self, votes: Mapping[SiteName, Envelope], own_vote: SurvivorVote) -> None:
        require_votes(votes, self._keys, own_vote, self.adversary.threshold)

    def _require(self, stage: Stage) -> None:
        if self._stage is not stage:
            raise WardroundError(
                "WR-SECAGG-010",
                "The set-up is not at the point where this step is possible; each is made once.",
                "Start a fresh set-up.",
            )

    def _round(self, index: int) -> _Round:
        self._require(Stage.READY)
        if not 0 <= index < len(self._rounds) or self._rounds[index].is_over:
            raise _index_gone(index)
        return self._rounds[index]

    def _require_manifest(self, one: _Round, manifest: Digest) -> None:
        if one.manifest is None or one.manifest != manifest:
            raise WardroundError(
                "WR-SECAGG-012",
                "This site gave no contribution under this manifest.",
                "Open the round under the manifest that the sites masked under, or give it up.",
            )

    def _keep(self, dealer: SiteName, shares: tuple[bytes, ...]) -> None:
        pairs = zip(shares[::2], shares[1::2], strict=True)
        for one, (masking, self_mask) in zip(self._rounds, pairs, strict=True):
            one.masking_shares[dealer] = bytearray(masking)
            one.self_mask_shares[dealer] = bytearray(self_mask)

    def _drop_sealing_key(self) -> None:
        if self._sealing_key is not None:
            _wipe(self._sealing_key)
            self._sealing_key = None


class Member(RoundMember):
    """One site in one set-up of ``rounds`` rounds in which all pairs mask together. Call
    ``advert``, ``deal``, ``accept``; then for each round index ``mask``, ``vote``, ``recover``,
    ``forget``.

    ``pool`` are the invited sites, ``keys`` the signing keys of the study, ``adversary_for`` the
    study's adversary statement for a roster of n. Raises WR-SECAGG-007 if this site is not in the
    pool or the study does not list its key.
    """

    def __init__(
        self,
        study: Digest,
        run: RunId,
        batch: BatchId,
        pool: Sequence[SiteName],
        me: SiteName,
        signing_key: SigningKey,
        keys: Mapping[SiteName, VerifyKey],
        adversary_for: Callable[[int], Adversary],
        rounds: int,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        super().__init__(
            study, run, batch, pool, me, signing_key, keys, rounds, random_bytes=random_bytes
        )
        self._adversary_for = adversary_for

    def deal(self, adverts: Mapping[SiteName, Envelope]) -> tuple[Envelope, dict[SiteName, bytes]]:
        """Share this site's round secrets among the sites that advertised: they are the roster.

        Gives the signed deal and one sealed blob per peer. Once only: shares for two rosters
        would be two thresholds for one secret. Raises WR-SECAGG-001 or -002 for a roster that is
        too small, -007 for adverts that don't fit, -010 when called again.
        """
        self._require(Stage.ADVERTISED)
        opened = open_adverts(adverts, self._keys)
        mine = adverts.get(self._me)
        # My own advert, not merely one that I signed: a site that restarted within a batch has
        # two, and the keys of the other are gone. The rest agree with mine among themselves.
        if mine is None or mine.payload != self._own_advert.payload:
            raise WardroundError(
                "WR-SECAGG-007",
                "The advertised keys of the roster don't include this site's own.",
                "Start a fresh set-up.",
                path=self._me,
            )
        self._rule = complete(self._adversary_for(len(opened)))
        self._stage = Stage.DEALT
        self._adverts, self._advert_envelopes = opened, dict(adverts)
        self._roster = tuple(opened)
        return self._deal_to(self._roster, adverts_digest(adverts))

    def accept(
        self, deals: Mapping[SiteName, Envelope], sealed_to_me: Mapping[SiteName, bytes]
    ) -> Digest:
        """Take the shares that every peer dealt to this site; gives the digest of the set-up.

        Raises WR-SECAGG-008 unless every site of the roster dealt to this same roster over these
        same keys, -009 for a blob that was altered or holds no shares, -010 when called again.
        """
        self._require(Stage.DEALT)
        seen = adverts_digest(self._advert_envelopes)
        opened = open_deals(deals, self._keys, self._adverts, seen)
        if deals[self._me].payload != there(self._own_deal).payload:
            raise WardroundError(
                "WR-SECAGG-008",
                "The deals of the roster don't include the one that this site made.",
                "Start a fresh set-up.",
                path=self._me,
            )
        self._take(opened, sealed_to_me, seen)
        self._setup = setup_digest(self._advert_envelopes, deals)
        self._stage = Stage.READY
        return self._setup

    def complain(
        self,
        accused: SiteName,
        deals: Mapping[SiteName, Envelope],
        sealed_to_me: Mapping[SiteName, bytes],
    ) -> Complaint:
        """The proof that ``accused`` dealt no shares, after :meth:`accept` refused its blob (-009).

        The caller signs and sends it, and abandons this member. Raises WR-SECAGG-054 for a blob
        that ``accused`` did not sign for or that opens, -008 as :meth:`accept`.
        """
        self._require(Stage.DEALT)
        seen = adverts_digest(self._advert_envelopes)
        deal = open_deals(deals, self._keys, self._adverts, seen).get(accused)
        blob = sealed_to_me.get(accused)
        if accused == self._me or deal is None or blob is None:
            raise no_complaint(f"{accused} is no dealer to this site.", accused)
        if digest(blob) != deal.sealed.get(self._me):
            raise no_complaint(f"{accused} did not sign for these sealed shares.", accused)
        key, their = there(self._sealing_key), self._adverts[accused]
        try:
            Route(self._batch, seen, accused, self._me).unseal(
                derive.private_key(key), their.sealing_key, blob, 2 * len(self._rounds)
            )
        except WardroundError:
            return complain(key, self._own, their, seen, deals[accused], self._random_bytes)
        raise no_complaint(f"The sealed shares from {accused} open.", accused)


def _index_gone(index: int) -> WardroundError:
    return WardroundError(
        "WR-SECAGG-011",
        f"Round {index} of this set-up was used, forgotten, or never was.",
        "Use the next round of the set-up, or start a fresh one.",
    )


def there(value: _T | None) -> _T:
    """What the stage of the set-up guarantees to be there."""
    if value is None:
        raise AssertionError("a value of an earlier stage is missing")
    return value


def _wipe(secret: bytearray) -> None:
    """Overwrite in place. Best effort: copies inside libraries are out of reach."""
    secret[:] = bytes(len(secret))
