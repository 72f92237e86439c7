"""The site's seat in late cohorts: what it is ready with in memory, what it signed on disk.

Training is at this site's own pace; only the sum is a cohort's. What was trained waits here, in
memory alone, until enough others are ready. When a cohort comes to nothing before this site masked,
the site says ready again with new keys and need not train again; once masked, a contribution goes
into no other cohort (`site.cohorts`). An agent that restarts has lost both, and starts anew.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from wardround.errors import WardroundError
from wardround.federation.messages import Instruction, Manifest, ModelVersion, malformed
from wardround.federation.packet import Status, StatusKind
from wardround.ids import Digest, SiteName
from wardround.sandbox.interface import Vector
from wardround.secagg.cohort import MAXIMUM_SEQUENCE, CohortManifest, Offer, late_batch
from wardround.secagg.encoding import RingArray
from wardround.secagg.late import LateMember
from wardround.site import cohorts, records
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study, Task
from wardround.trust.canonical import digest
from wardround.trust.keys import SigningKey

Patients: TypeAlias = frozenset[bytes]


@dataclass(frozen=True, eq=False)
class Held:
    """A contribution that was computed and is held until a cohort comes together.

    ``task`` is the question at the ``version`` that it was trained from; ``values`` are clipped and
    not yet scaled; ``patients`` are those whose records are in it.
    """

    task: Task
    version: ModelVersion
    values: Vector = field(repr=False)
    patients: Patients = field(repr=False)


@dataclass(frozen=True, eq=False)
class Late:
    """What a late cohort's order is over: a held contribution, and the newest version by now."""

    held: Held
    newest: ModelVersion

    @property
    def staleness(self) -> int:
        """How many versions the contribution is behind."""
        return self.newest.number - self.held.version.number


class LateSeat:
    """One site's part in one late cohort after another."""

    def __init__(
        self, study: Study, me: SiteName, key: SigningKey, state: JournalledDatabase
    ) -> None:
        self.held: Held | None = None
        self._study = study
        self._me = me
        self._key = key
        self._state = state
        self._member: LateMember | None = None
        self._ready: Digest | None = None
        self._dealt: Status | None = None
        self._bound: Digest | None = None
        self._masked: Manifest | None = None

    def still_good(self, newest: ModelVersion, patients: Patients | None = None) -> bool:
        """Whether what is held answers this stream and is not too stale."""
        if self.held is None:
            return False
        version = self.held.version
        late = newest.number - version.number
        asynchronous = self._study.cohort.asynchronous
        return (
            asynchronous is not None
            and (version.run, version.task) == (newest.run, newest.task)
            and 0 <= late <= asynchronous.maximum_staleness
            and patients in (None, self.held.patients)
        )

    def say_ready(self, newest: ModelVersion, sequence: int) -> Status:
        """Fresh keys for one sum over what is held, and until when they may be used.

        No manifest may name them once the contribution might be staler than the study allows: each
        cohort makes at most one version. Raises WR-SITE-133 when nothing is held.
        """
        held, agreed = self.require_held(), self._study.cohort.asynchronous
        assert agreed is not None
        self._leave_cohort()
        left = agreed.maximum_staleness - (newest.number - held.version.number)
        version = held.version
        self._member = LateMember(
            self._study.digest,
            version.run,
            self._me,
            self._key,
            self._study.site_keys,
            self._study.late_terms,
            version.task,
            version.model,
            min(sequence + left, MAXIMUM_SEQUENCE),
            cohorts.recorder(self._state),
        )
        offer = self._member.offer()
        self._ready = digest(offer.ready.payload)
        with self._state.transaction() as transaction:
            transaction.record("ready", run=version.run, statement=self._ready)
        return Status(StatusKind.READY, offer.ready, offer.advert.to_json())

    def sign(self, ask: Instruction) -> Status:
        """This site's signature under a cohort's manifest, written down before it leaves."""
        if ask.cohort is None or ask.envelopes.keys() != ask.keys.keys():
            raise malformed("instruction")
        manifest = CohortManifest.from_payload(ask.cohort)
        offers = {site: Offer(one, ask.keys[site]) for site, one in ask.envelopes.items()}
        return Status(StatusKind.COHORT, self._at().sign(manifest, offers))

    def share(self, ask: Instruction) -> Status:
        """Sealed shares of the sum's secrets, once everybody in the cohort has signed."""
        member = self._at()
        self._require_round(ask)
        if self._dealt is None:
            envelope, sealed = member.deal(ask.envelopes)
            blobs = {site: base64.b64encode(blob).decode() for site, blob in sealed.items()}
            with self._state.transaction() as transaction:
                transaction.record("deal", batch=ask.round, statement=digest(envelope.payload))
            self._dealt = Status(StatusKind.DEAL, envelope, orjson.dumps(blobs))
        return self._dealt

    def take_shares(self, ask: Instruction, manifest: Manifest) -> None:
        """Take the shares dealt to this site, and hold the coordinator's manifest to the cohort's.

        Raises WR-SITE-031 when it is over another cohort or set-up.
        """
        member = self._at()
        self._require_round(ask)
        if self._bound is None:
            self._bound = member.accept(ask.envelopes, ask.blobs)
        joined = member.manifest
        assert joined is not None
        same = (
            manifest.run == joined.run
            and manifest.batch == late_batch(joined.run)
            and (manifest.step, manifest.attempt, manifest.index) == (joined.sequence, 0, 0)
            and manifest.round == joined.round
            and manifest.task == joined.task
            and manifest.roster == joined.cohort
            and manifest.minimum_survivors == joined.minimum_survivors
            and manifest.setup == self._bound
        )
        if not same:
            raise WardroundError(
                "WR-SITE-031",
                "The manifest is over another set-up or roster than the one this site took part "
                "in.",
                "The agent refuses; the coordinator shows different sites different things.",
            )

    def mask(self, manifest: Manifest, name: Digest, values: RingArray) -> None:
        """Hide ``values`` in place, under the manifest of that digest; destroys the sum's keys."""
        self._at().mask(values, name, manifest.setup)
        self._masked = manifest

    @property
    def ready(self) -> Digest:
        """The ready statement of the cohort that this site is in; raises WR-SITE-033 without."""
        if self._ready is None:
            raise _not_here()
        return self._ready

    def given(self) -> None:
        """The contribution is recorded as masked: it is in this cohort, and in no other one."""
        self.held = None

    def vote(self, ask: Instruction) -> Status:
        """Sign the survivor set, once per cohort, recorded durably before it leaves."""
        member, manifest = self._in(ask)
        vote = member.vote(ask.survivors)
        envelope = vote.sign(self._key)
        with self._state.transaction() as transaction:
            cohorts.record_vote(transaction.connection, self.ready, vote.survivors)
            records.record_vote(transaction.connection, manifest.round, vote.survivors)
            transaction.record("vote", round=manifest.round, survivors=list(vote.survivors))
        return Status(StatusKind.VOTE, envelope)

    def recover(self, ask: Instruction) -> Status:
        """The shares that open the cohort's total, against enough signed votes."""
        member, manifest = self._in(ask)
        shares = member.recover(ask.survivors, ask.envelopes)
        envelope = shares.sign(self._key)
        with self._state.transaction() as transaction:
            records.record_recovery(transaction.connection, manifest.round)
            transaction.record("shares", round=manifest.round, statement=digest(envelope.payload))
        return Status(StatusKind.SHARES, envelope)

    def leave(self) -> None:
        """Destroy the keys, and forget what is held."""
        self._leave_cohort()
        self.held = None

    def _leave_cohort(self) -> None:
        if self._member is not None:
            self._member.abandon()
        self._member = self._ready = self._dealt = self._bound = self._masked = None

    def _require_round(self, ask: Instruction) -> None:
        joined = self._at().manifest
        if joined is None or joined.round != ask.round:
            raise _not_here()

    def require_held(self) -> Held:
        """What is held; raises WR-SITE-133 when nothing is."""
        if self.held is None:
            raise WardroundError(
                "WR-SITE-133",
                "This agent holds no contribution that could go into a cohort.",
                "It was restarted, or gave it already; it trains again when it is asked.",
            )
        return self.held

    def _at(self) -> LateMember:
        if self._member is None:
            raise _not_here()
        return self._member

    def _in(self, ask: Instruction) -> tuple[LateMember, Manifest]:
        if self._masked is None or self._masked.round != ask.round:
            raise WardroundError(
                "WR-SITE-034",
                "This agent gave no contribution in the round that it is asked about.",
                "It was restarted, or the coordinator is confused; the round goes on without it.",
            )
        return self._at(), self._masked


def _not_here() -> WardroundError:
    return WardroundError(
        "WR-SITE-033",
        "This agent holds no masking keys for the batch that it is asked about.",
        "It was restarted, or came late; it takes part again from the next set-up on.",
    )
