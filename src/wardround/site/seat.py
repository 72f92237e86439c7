"""The site's seat in the secure sum: its masking keys in memory, its answers on disk.

Keys never touch the disk: an agent that restarts has lost them and counts as dropped, while what
it has already signed is remembered and never contradicted.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

import orjson
from sqlalchemy import Connection

from wardround.errors import WardroundError
from wardround.federation.messages import Instruction, Manifest, Placed, TreeHead, malformed
from wardround.federation.packet import Status, StatusKind
from wardround.ids import BatchId, Digest, SiteName
from wardround.secagg.cohort import late_batch
from wardround.secagg.encoding import RingArray
from wardround.secagg.graph import COMPLETE_UP_TO
from wardround.secagg.masking import Member, RoundMember
from wardround.secagg.sparse import Choices, Proved, SparseMember, Tree
from wardround.site import records
from wardround.site.grouping import Grouping, other_group
from wardround.site.late import LateSeat
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey


class Seat:
    """Takes part in one batch after another; refuses what the study's own list does not name."""

    def __init__(
        self, study: Study, me: SiteName, key: SigningKey, state: JournalledDatabase
    ) -> None:
        self.grouping = Grouping(study, me, key, state)
        self.late = LateSeat(study, me, key, state)
        """Its part in late cohorts, whose keys are others."""
        self._study = study
        self._me = me
        self._key = key
        self._state = state
        self._member: Member | SparseMember | None = None
        self._batch: BatchId | None = None
        self._accepted = False
        self._partition = 0
        """Of which partition, from 0, this batch's pool is a group."""
        self._choice: Status | None = None
        self._dealt: Status | None = None
        self._masked: tuple[Manifest, Digest] | None = None
        self.on_vote: Callable[[Connection, Manifest, tuple[SiteName, ...]], None] | None = None
        """What else is to be remembered of a vote for survivors, in the same transaction."""

    def advertise(self, ask: Instruction) -> Status:
        """Fresh keys for a batch among a pool of the study's sites."""
        pool = ask.pool
        batch = _batch(ask)
        if batch != self._batch:
            known = set(self._study.site_keys)
            late = batch == late_batch(ask.run)  # whose keys are for `LateMember` alone
            beyond = ask.rounds > self._study.rounds_per_setup
            proper = len(set(pool)) == len(pool) > 0 and set(pool) <= known
            if late or beyond or not proper:
                raise WardroundError(
                    "WR-SITE-030",
                    "The coordinator asks for a set-up with sites or rounds outside the study.",
                    "The agent refuses; tell the study's coordinator.",
                )
            self.grouping.require_together(pool, ask.partition)
            self.leave()
            self._member = self._new_member(ask, batch)
            self._batch = batch
            self._partition = ask.partition
        envelope = self._at(batch).advert()
        self._journal("advert", batch=batch, statement=digest(envelope.payload))
        return Status(StatusKind.ADVERT, envelope)

    def _new_member(self, ask: Instruction, batch: BatchId) -> Member | SparseMember:
        study, keys = self._study, self._study.site_keys
        whole = self.grouping.whole(ask.partition)
        if len(ask.pool) <= COMPLETE_UP_TO:
            return Member(
                study.digest,
                ask.run,
                batch,
                ask.pool,
                self._me,
                self._key,
                keys,
                lambda sites: study.adversary(sites, whole),
                ask.rounds,
            )
        invited = {site: keys[site] for site in ask.pool}
        return SparseMember(
            study.digest,
            ask.run,
            batch,
            self._me,
            self._key,
            invited,
            lambda sites: study.graph_rule(sites, whole),
            ask.rounds,
        )

    def choose(self, ask: Instruction) -> Status:
        """Whom this site deals to, in a large cohort: drawn once, told as often as asked."""
        if self._choice is None or ask.batch != self._batch:
            member = self._sparse_at(_batch(ask))
            if self._me not in ask.placed:
                raise malformed("instruction")
            choice = member.choose(_tree(ask.tree), _proved(ask.placed)[self._me])
            envelope = choice.sign(self._key)
            self._journal("choice", batch=choice.batch, statement=digest(envelope.payload))
            self._choice = Status(StatusKind.CHOICE, envelope)
        return self._choice

    def deal(self, ask: Instruction) -> Status:
        """Sealed shares of this site's round secrets for everyone who advertised, or was chosen."""
        if self._dealt is not None and ask.batch == self._batch:
            return self._dealt
        member = self._at(_batch(ask))
        if isinstance(member, SparseMember):
            envelope, sealed = member.deal_chosen(_proved(ask.placed))
        else:
            envelope, sealed = member.deal(ask.envelopes)
        blobs = {site: base64.b64encode(blob).decode() for site, blob in sealed.items()}
        self._journal("deal", batch=_batch(ask), statement=digest(envelope.payload))
        self._dealt = Status(StatusKind.DEAL, envelope, orjson.dumps(blobs))
        return self._dealt

    def take_shares(self, ask: Instruction, manifest: Manifest) -> None:
        """Take the shares dealt to this site and hold the manifest to this very set-up."""
        member = self._at(manifest.batch)
        if not self._accepted:
            if isinstance(member, SparseMember):
                deals, adverts = _proved(ask.placed), _proved(ask.adverts)
                choices = Choices(member.advertised, ask.choices)
                member.accept_chosen(deals, adverts, ask.blobs, _tree(ask.tree), choices)
            else:
                member.accept(ask.envelopes, ask.blobs)
            self._accepted = True
        self._require_setup(member, manifest)
        number = self._study.partition_number(manifest.step)
        if number != self._partition:
            raise other_group()
        self.grouping.require_together(manifest.roster, number)
        if self._masked is not None:
            # The coordinator names any index it likes: no further than there can be rounds.
            end = min(manifest.index, self._study.rounds_per_setup)
            for index in range(self._masked[0].index, end):
                member.forget(index)

    def mask(self, manifest: Manifest, manifest_digest: Digest, values: RingArray) -> None:
        """Hide ``values`` in place; the round's keys are destroyed by it."""
        member = self._at(manifest.batch)
        self._require_setup(member, manifest)
        member.mask(manifest.index, manifest_digest, values, round_id=manifest.round)
        self._masked = (manifest, manifest_digest)

    def vote(self, ask: Instruction) -> Status:
        """Sign the survivor set, once per round, recorded durably before it leaves.

        The adversary statement alone would allow smaller sets than the study and the hospitals
        may ask for: the door let the manifest pass for its own minimum, so that one is kept.
        """
        manifest, manifest_digest = self._in(ask)
        survivors = ask.survivors
        if len(survivors) < manifest.minimum_survivors:
            raise WardroundError(
                "WR-SITE-032",
                f"Only {len(survivors)} sites answered; the manifest promised at least "
                f"{manifest.minimum_survivors}.",
                "Nothing is opened; the round is tried again.",
            )
        vote = self._at(_batch(ask)).vote(manifest.index, manifest_digest, survivors)
        envelope = vote.sign(self._key)
        with self._state.transaction() as transaction:
            records.record_vote(transaction.connection, manifest.round, vote.survivors)
            if self.on_vote is not None:
                self.on_vote(transaction.connection, manifest, vote.survivors)
            if isinstance(self._member, SparseMember):
                # Few holders suffice to open this one, so whoever agrees to it is done with the
                # task; with all pairs those who give shares are as many as must agree.
                records.record_recovery(transaction.connection, manifest.round)
            transaction.record("vote", round=manifest.round, survivors=list(vote.survivors))
        return Status(StatusKind.VOTE, envelope)

    def recover(self, ask: Instruction) -> Status:
        """The shares that open the total, against enough signed votes; this closes the task."""
        manifest, manifest_digest = self._in(ask)
        member = self._at(_batch(ask))
        shares = member.recover(manifest.index, manifest_digest, ask.survivors, ask.envelopes)
        envelope = shares.sign(self._key)
        with self._state.transaction() as transaction:
            records.record_recovery(transaction.connection, manifest.round)
            transaction.record("shares", round=manifest.round, statement=digest(envelope.payload))
        return Status(StatusKind.SHARES, envelope)

    def leave(self) -> None:
        """Destroy the keys of the current batch."""
        if self._member is not None:
            self._member.abandon()
        self._member = self._batch = self._choice = self._dealt = self._masked = None
        self._accepted = False
        self.late.leave()

    @staticmethod
    def _require_setup(member: RoundMember, manifest: Manifest) -> None:
        if manifest.setup != member.setup or tuple(manifest.roster) != member.roster:
            raise WardroundError(
                "WR-SITE-031",
                "The manifest is over another set-up or roster than the one this site took part "
                "in.",
                "The agent refuses; the coordinator shows different sites different things.",
            )

    def _sparse_at(self, batch: BatchId) -> SparseMember:
        member = self._at(batch)
        if not isinstance(member, SparseMember):
            raise malformed("instruction")
        return member

    def _at(self, batch: BatchId) -> Member | SparseMember:
        if self._member is None or batch != self._batch:
            raise WardroundError(
                "WR-SITE-033",
                "This agent holds no masking keys for the batch that it is asked about.",
                "It was restarted, or came late; it takes part again from the next set-up on.",
            )
        return self._member

    def _in(self, ask: Instruction) -> tuple[Manifest, Digest]:
        if self._masked is None or self._masked[0].round != ask.round:
            raise WardroundError(
                "WR-SITE-034",
                "This agent gave no contribution in the round that it is asked about.",
                "It was restarted, or the coordinator is confused; the round goes on without it.",
            )
        return self._masked

    def _journal(self, kind: str, **facts: str) -> None:
        with self._state.transaction() as transaction:
            transaction.record(kind, **facts)


def _tree(head: TreeHead | None) -> Tree:
    if head is None:
        raise malformed("instruction")
    return Tree(head.sites, bytes.fromhex(head.root))


def _proved(placed: Mapping[SiteName, Placed]) -> dict[SiteName, Proved]:
    return {
        site: Proved(one.envelope, tuple(bytes.fromhex(step) for step in one.proof))
        for site, one in placed.items()
    }


def _batch(ask: Instruction) -> BatchId:
    return BatchId(ask.batch or "")
