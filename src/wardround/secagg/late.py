"""A site's part in one late cohort: ready, sign, deal, accept, and then a round like any other.

Everything from dealing onwards is a :class:`Member` with a set-up of one round. What is added here
comes before it: the member's keys belong to one ready statement, the statement is bound to the
first manifest that its owner signs, and shares are dealt only once every site of the cohort has
signed that same manifest. A coordinator that shows two halves of a cohort two manifests gets both
halves' signatures and no share.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wardround.errors import WardroundError
from wardround.ids import Digest, RunId, SiteName
from wardround.secagg.adversary import Adversary
from wardround.secagg.cohort import (
    CohortManifest,
    CohortTerms,
    Offer,
    Ready,
    adverts_of,
    bad_cohort,
    binding,
    check_cohort,
    late_batch,
    require_signatures,
)
from wardround.secagg.complaint import Complaint
from wardround.secagg.encoding import RingArray
from wardround.secagg.masking import Member
from wardround.secagg.messages import RecoveryShares, SurvivorVote
from wardround.secagg.votes import bad_survivors
from wardround.trust.canonical import digest
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey, VerifyKey


@dataclass(frozen=True)
class Bond:
    """That a ready statement is used up by a manifest: what a site records before it signs."""

    study: Digest
    run: RunId
    sequence: int
    ready: Digest
    manifest: Digest
    task: Digest
    model: Digest


class LateMember:
    """One site with one contribution and keys for one sum over it.

    Call ``offer``; then ``sign``, ``deal``, ``accept``, ``mask``, ``vote``, ``recover`` in this
    order. When a cohort comes to nothing after this site signed, ``abandon`` it and say ready with
    a new one: its keys stay bound to the dead manifest. Everything lives in memory, so a site that
    is restarted does the same.

    ``keys`` are those of all sites of the study, ``own_minimum`` the hospital's own floor under
    the survivors of a total. ``record`` is called with the `Bond` before a signature leaves, and
    must have made it durable when it returns; it raises if that ready statement or sequence is
    bound already (``site.cohorts`` does this in the hospital's database).
    """

    def __init__(
        self,
        study: Digest,
        run: RunId,
        me: SiteName,
        signing_key: SigningKey,
        keys: Mapping[SiteName, VerifyKey],
        terms: CohortTerms,
        task: Digest,
        model: Digest,
        expires: int,
        record: Callable[[Bond], None],
        *,
        own_minimum: int = 0,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._member = Member(
            study,
            run,
            late_batch(run),
            tuple(sorted(keys)),
            me,
            signing_key,
            keys,
            lambda sites: Adversary(sites, terms.corrupt),
            rounds=1,
            random_bytes=random_bytes,
        )
        self._me = me
        self._keys = dict(keys)
        self._terms = terms
        self._own_minimum = own_minimum
        self._record = record
        self._signing_key = signing_key
        advert = self._member.advert()
        self._ready = Ready(study, run, me, task, model, expires, digest(advert.payload))
        self._offer = Offer(self._ready.sign(signing_key), advert)
        self._manifest: CohortManifest | None = None
        self._signed: Envelope | None = None
        self._offers: dict[SiteName, Offer] = {}
        self._bound: Digest | None = None
        self._round: Digest | None = None
        self._gone = False

    @property
    def manifest(self) -> CohortManifest | None:
        """The one manifest that this site signed for its ready statement, if it did."""
        return self._manifest

    @property
    def bound(self) -> Digest:
        """What the manifest of the cohort's round must name as its set-up; see `cohort.binding`."""
        if self._bound is None:
            raise _not_now("This cohort's set-up is not complete.")
        return self._bound

    def offer(self) -> Offer:
        """That this site is ready, and its keys; the same every time."""
        return self._offer

    def sign(self, manifest: CohortManifest, offers: Mapping[SiteName, Offer]) -> Envelope:
        """Join the cohort: this site's signature under ``manifest``, one for its ready statement.

        Asked again for the same manifest it gives the same signature. Raises WR-SECAGG-051 for a
        cohort that the study, the hospital or the contribution does not fit, -052 for a second
        manifest, and whatever ``record`` raises; nothing is signed then.
        """
        if self._manifest is not None:
            if manifest.to_payload() != self._manifest.to_payload():
                raise WardroundError(
                    "WR-SECAGG-052",
                    "This ready statement is bound to another manifest, which this site signed.",
                    "Ask the site to say ready again: it will, with new keys.",
                    path=self._me,
                )
            assert self._signed is not None
            return self._signed
        if self._gone:
            raise _not_now("This site gave up what it was ready with.")
        check_cohort(manifest, offers, self._ready.study, self._ready.run, self._keys, self._terms)
        mine = offers.get(self._me)
        # The very statement and keys of this object, not merely ones that I signed.
        if mine is None or (mine.ready.payload, mine.advert.payload) != (
            self._offer.ready.payload,
            self._offer.advert.payload,
        ):
            raise bad_cohort("The cohort does not hold what this site is ready with.", self._me)
        if manifest.minimum_survivors < self._own_minimum:
            raise bad_cohort(
                f"The cohort may be opened over {manifest.minimum_survivors} sites; this hospital "
                f"asks for {self._own_minimum}.",
                self._me,
            )
        self._record(
            Bond(
                study=manifest.study,
                run=manifest.run,
                sequence=manifest.sequence,
                ready=manifest.ready[self._me],
                manifest=manifest.digest,
                task=self._ready.task,
                model=self._ready.model,
            )
        )
        self._manifest, self._offers = manifest, dict(offers)
        self._signed = manifest.sign(self._signing_key)
        return self._signed

    def deal(
        self, signatures: Mapping[SiteName, Envelope]
    ) -> tuple[Envelope, dict[SiteName, bytes]]:
        """Share this site's secrets among the cohort, once all of it signed the manifest.

        Raises WR-SECAGG-053 unless every site of the cohort signed this site's manifest, -010
        before this site did or when called again.
        """
        manifest = self._joined()
        require_signatures(manifest, signatures, self._keys)
        return self._member.deal(adverts_of(self._offers, manifest.cohort))

    def accept(
        self, deals: Mapping[SiteName, Envelope], sealed_to_me: Mapping[SiteName, bytes]
    ) -> Digest:
        """Take the shares dealt to this site; gives what the round is bound to (:attr:`bound`).

        Raises as `Member.accept`.
        """
        manifest = self._joined()
        self._bound = binding(manifest.digest, self._member.accept(deals, sealed_to_me))
        return self._bound

    def complain(
        self,
        accused: SiteName,
        deals: Mapping[SiteName, Envelope],
        sealed_to_me: Mapping[SiteName, bytes],
    ) -> Complaint:
        """The proof that ``accused`` dealt no shares; raises as `Member.complain`."""
        return self._member.complain(accused, deals, sealed_to_me)

    def mask(self, values: RingArray, manifest: Digest, setup: Digest) -> None:
        """Hide ``values``, shape (length,), in place; raises as `Member.mask`.

        ``manifest`` is the digest of the coordinator's manifest of the round, ``setup`` what it
        names as its set-up: WR-SECAGG-051 unless that is :attr:`bound`. Masks that were made under
        different manifests don't cancel, so all members saw one model as the newest, one journal,
        and one set of deals.
        """
        if setup != self.bound:
            raise bad_cohort("The round's manifest is over another cohort or set-up.", self._me)
        self._member.mask(0, manifest, values, round_id=self._joined().round)
        self._round = manifest

    def vote(self, survivors: Sequence[SiteName]) -> SurvivorVote:
        """Agree to open the cohort over ``survivors``, no fewer than the manifest promised.

        Raises as `Member.vote`. The caller records the vote durably before it sends it.
        """
        least = self._joined().minimum_survivors
        if len(survivors) < least:
            raise bad_survivors(f"Only {len(survivors)} sites survived; {least} must.")
        return self._member.vote(0, self._masked(), survivors)

    def recover(
        self, survivors: Sequence[SiteName], votes: Mapping[SiteName, Envelope]
    ) -> RecoveryShares:
        """The shares that open the cohort over ``survivors``; raises as `Member.recover`.

        The caller records durably, before it sends them, that the contribution is used up.
        """
        return self._member.recover(0, self._masked(), survivors, votes)

    def abandon(self) -> None:
        """Destroy all keys; nothing but ``offer`` and the signature already given can follow."""
        self._gone = True
        self._member.abandon()

    def _masked(self) -> Digest:
        if self._round is None:
            _ = self.bound  # raises where even the set-up is not complete
            raise WardroundError(
                "WR-SECAGG-012",
                "This site gave no contribution in this cohort.",
                "Open the round over the manifest that the sites masked under, or give it up.",
            )
        return self._round

    def _joined(self) -> CohortManifest:
        if self._manifest is None:
            raise _not_now("This site has not signed a cohort's manifest.")
        return self._manifest


def _not_now(problem: str) -> WardroundError:
    return WardroundError("WR-SECAGG-010", problem, "Form the cohort first, step by step.")
