"""The state of one run's exchange with the sites, kept so that no crash loses or forks it.

Every accepted statement is stored in one transaction with the next state of its set-up or round
(compare-and-set) and a journal leaf; statements that come close together share a transaction.
What sites are asked (`asks`) follows from committed state alone; what they answer comes in through
`intake`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import orjson

from wardround.coordinator import ledgers, records
from wardround.coordinator.changed import Changed
from wardround.coordinator.connecting import Connections
from wardround.coordinator.lateness import require_in_time
from wardround.coordinator.models import OutgoingModels
from wardround.coordinator.records import Sent, Versioned
from wardround.coordinator.spool import Spool
from wardround.coordinator.stopwatch import Stopwatch
from wardround.coordinator.wiring import Wiring
from wardround.errors import WardroundError
from wardround.federation.messages import (
    Ask,
    Document,
    Instruction,
    JournalHead,
    Manifest,
    PacketHeader,
    Refused,
)
from wardround.federation.pace import Limits
from wardround.federation.round import Round, RoundPhase
from wardround.federation.selection import Selection
from wardround.federation.setup import Setup
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg.graph import Graph, GraphRule
from wardround.secagg.setup import setup_digest
from wardround.store.blobs import Blobs
from wardround.store.journalled import JournalledDatabase, Transaction
from wardround.store.room import NO_ROOM
from wardround.study import Study, Task
from wardround.study.plan import headroom
from wardround.trust.canonical import canonical, digest
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Checkpoint, sign_checkpoint
from wardround.trust.keys import SigningKey, VerifyKey

_NEEDS_PAYLOADS = (
    RoundPhase.COLLECT,
    RoundPhase.VOTE,
    RoundPhase.RECOVER,
    RoundPhase.OPENING,
)


@dataclass(frozen=True)
class _Pending:
    scope: str
    kind: str
    site: SiteName
    sent: Sent
    at: datetime


class Exchange:
    """One run's exchange. Pure protocol lives in `Setup` and `Round`; this keeps and serves it."""

    def __init__(
        self,
        study: Study,
        key: SigningKey,
        state: JournalledDatabase,
        blobs: Blobs,
        spool: Spool,
        run: RunId,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.run = run
        self.state = state
        self.blobs = blobs
        self.spool = spool
        self.keys: dict[SiteName, VerifyKey] = study.site_keys
        self.sites: tuple[SiteName, ...] = study.site_names
        """Whose sums are opened here: every site's, or those of a group (see `groups`)."""
        self.partition = 0
        """Of which partition, from 0, these are a group."""
        self.setup: Versioned[Setup] | None = None
        self.round: Versioned[Round] | None = None
        self.manifest: Manifest | None = None
        self.manifest_envelope: Envelope | None = None
        self.task: bytes = b""
        self.ending: tuple[Instruction, bytes] | None = None
        self.departed: set[SiteName] = set()
        """Who has been told here that the run is over, and will not ask again."""
        ceiling_s = study.cohort.deadline_s
        floor_s = min(study.cohort.deadline_floor_s, ceiling_s)
        self.connections = Connections(run, now)
        """The wait for hospitals that are not connected, while no set-up can begin."""
        self.stopwatch = Stopwatch(Limits(floor_s, ceiling_s), clock)
        self._key = key
        self._now = now
        self._said: dict[str, dict[tuple[str, SiteName], Sent]] = {}
        self.prepared: dict[tuple[RoundId, int], bytes] = {}
        """Instructions of the current round that are the same for every site (see `asks`)."""
        self._wiring: tuple[tuple[object, ...], Wiring] | None = None
        self._pending: list[_Pending] = []
        self._contributed: set[SiteName] = set()
        """Who has sent a packet in the present batch, as far as this process knows."""
        self._setup_ahead: Setup | None = None
        self._round_ahead: Round | None = None
        self.changed = Changed()
        self.on_refusal: Callable[[SiteName, dict[str, str]], None] = lambda _site, _told: None
        """Told of each refusal once it is durable, with what the hospital let be said of it."""
        self.on_dropped: Callable[[Exception], None] = lambda _why: None
        """Told when statements that were taken in could not be committed and are forgotten."""
        self.models = OutgoingModels(study.digest, key, blobs)
        self._restore()
        self.lost: set[SiteName] = self._find_lost()
        """Whose payload was accepted in the current round and is gone since: it is sent again."""

    def _restore(self) -> None:
        """Read everything again: at the start, and when another coordinator was faster."""
        with self.state.database.begin() as connection:
            self.setup = records.latest_setup(connection, self.run)
            latest = records.latest_round(connection, self.run)
            if latest is not None:
                self.round, self.manifest_envelope, self.task = latest
                self.manifest = Manifest.from_payload(self.manifest_envelope.payload)
                self.models.offer(self.manifest.model)
            for scope in self._scopes():
                self._said[scope] = records.load_statements(connection, scope)
            self.stopwatch.restore(connection)
        self.witnesses = set(self.said(self.run, "witness"))

    def _find_lost(self) -> set[SiteName]:
        """After a start: what the power took of the payloads, which are written without a sync.

        Their sites have synced them, and have them until the round is over.
        """
        lost: set[SiteName] = set()
        if self.round is None or self.round.state.phase not in _NEEDS_PAYLOADS:
            return lost
        round_, size = RoundId(self.round.state.round), self.payload_bytes()
        for site, sent in self.said(round_, "packet").items():
            signed = PacketHeader.from_payload(sent.envelope.payload).payload
            if self.spool.payload_digest(round_, site, size) != signed:
                self.spool.discard(round_, site)
                lost.add(site)
        return lost

    def lose(self, site: SiteName) -> None:
        """A payload is not what was accepted any more: ask for it again."""
        assert self.round is not None
        self.spool.discard(RoundId(self.round.state.round), site)
        self.lost.add(site)
        self.changed.notify()

    def found(self, site: SiteName) -> None:
        """A payload that was lost has been sent again, and is what was signed."""
        self.lost.discard(site)
        self.changed.notify()

    def _scopes(self) -> list[str]:
        scopes: list[str] = [self.run]
        if self.setup:
            scopes.append(self.setup.state.batch)
        if self.round:
            scopes.append(self.round.state.round)
        return scopes

    def said(self, scope: str, kind: str) -> dict[SiteName, Sent]:
        """Every site's statement of one kind."""
        return {
            site: sent for (one, site), sent in self._said.get(scope, {}).items() if one == kind
        }

    def heard(self, scope: str, kind: str, site: SiteName) -> Sent | None:
        """A site's statement, committed or about to be; refused where its scope is not open."""
        if scope not in self._said:
            raise refused("WR-COORD-021", "The statement belongs to no open round or set-up.")
        for one in self._pending:
            if (one.scope, one.kind, one.site) == (scope, kind, site):
                return one.sent
        return self._said[scope].get((kind, site))

    def known_refusal(self, scope: str, site: SiteName) -> bool:
        """Whether a site has refused this already."""
        return scope in self._said and self.heard(scope, "refusal", site) is not None

    @property
    def setup_ahead(self) -> Setup | None:
        """The set-up with everything taken in, committed or about to be."""
        return self._setup_ahead or (self.setup.state if self.setup else None)

    @property
    def round_ahead(self) -> Round | None:
        """The round with everything taken in, committed or about to be."""
        return self._round_ahead or (self.round.state if self.round else None)

    @property
    def moves_on(self) -> bool:
        """Whether what has been taken in, once committed, asks something new of the sites."""
        setup, round_ = self._setup_ahead, self._round_ahead
        return (
            setup is not None and self.setup is not None and setup.phase != self.setup.state.phase
        ) or (
            round_ is not None and self.round is not None and round_.phase != self.round.state.phase
        )

    def keep(
        self, scope: str, kind: str, site: SiteName, sent: Sent, new: Setup | Round | None = None
    ) -> None:
        """Take a statement in, and the state that follows from it; `flush` commits both."""
        self._pending.append(_Pending(scope, kind, site, sent, self._now()))
        if isinstance(new, Setup):
            self._setup_ahead = new
        elif isinstance(new, Round):
            self._round_ahead = new

    def flush(self) -> None:
        """Commit everything taken in, in one transaction, and wake whoever waits.

        Whatever calls: where it fails, nobody who waits for what was taken in may hear that it is
        durable.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        setup, self._setup_ahead = self._setup_ahead, None
        round_, self._round_ahead = self._round_ahead, None
        try:
            self._commit(pending, setup, round_)
        except Exception as error:
            if isinstance(error, WardroundError) and error.code == NO_ROOM:
                # Taken in still: committed when there is room.
                self._pending, self._setup_ahead, self._round_ahead = pending, setup, round_
            else:
                self.on_dropped(error)
            raise

    def _commit(self, pending: list[_Pending], setup: Setup | None, round_: Round | None) -> None:
        with self._transaction() as transaction:
            connection = transaction.connection
            for one in pending:
                records.save_statement(connection, one.scope, one.kind, one.site, one.sent, one.at)
                if one.kind == "packet":
                    ledgers.save(connection, one.site, one.sent.envelope)
                statement = digest(one.sent.envelope.payload)
                transaction.record(
                    one.kind,
                    scope=one.scope,
                    site=one.site,
                    statement=statement,
                    **told_outside(one.kind, one.sent.envelope),
                )
                took = self.stopwatch.answered(one.site, one.scope, one.kind)
                if took is not None:
                    self.stopwatch.learn(connection, one.site, *took)
            new_setup, new_round = self.setup, self.round
            if setup is not None and self.setup is not None:
                new_setup = records.replace_setup(connection, self.setup, setup)
            if round_ is not None and self.round is not None:
                new_round = records.replace_round(connection, self.round, round_)
        self.setup, self.round = new_setup, new_round
        for one in pending:
            self._said[one.scope][one.kind, one.site] = one.sent
            if one.kind == "packet":
                self._contributed.add(one.site)
        self.witnesses = set(self.said(self.run, "witness"))
        self.changed.notify()
        for one in pending:
            if one.kind == "refusal":
                self.on_refusal(one.site, told_outside(one.kind, one.sent.envelope))

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction; when another coordinator was faster, the state is read again."""
        try:
            with self.state.transaction() as transaction:
                yield transaction
        except WardroundError as error:
            if error.code == "WR-COORD-001":
                self._restore()
            raise

    def start_setup(
        self,
        pool: tuple[SiteName, ...],
        turns: tuple[SiteName, ...] = (),
        why: Selection | None = None,
        *,
        whole: bool = False,
    ) -> None:
        """Begin a new batch among ``pool``, of whom ``turns`` are in it for their turn alone.

        With ``whole`` nobody of it may be missing.

        The journal says ``why`` these were chosen: the order of their speeds, and no times, since
        those may tell how many records a hospital has.
        """
        self.flush()
        number = 0 if self.setup is None else int(self.setup.state.batch.rsplit(".", 1)[1]) + 1
        setup = Setup(
            batch=BatchId(f"{self.run}.b.{number:06d}"),
            run=self.run,
            pool=tuple(sorted(pool)),
            rounds=self.study.rounds_per_setup,
            minimum=len(pool) if whole else self.minimum_survivors(len(pool)),
            turns=turns,
        )
        self._contributed.clear()
        if self.setup is not None:
            self._said.pop(self.setup.state.batch, None)
        with self._transaction() as transaction:
            transaction.record("setup", batch=setup.batch, run=self.run, pool=list(setup.pool))
            if why is not None:
                order, due = list(why.order), list(why.turns)
                transaction.record("selection", batch=setup.batch, fastest_first=order, turns=due)
            self.setup = records.insert_setup(transaction.connection, setup)
        self._said[setup.batch] = {}
        self.changed.notify()

    def start_round(self, task: Task, step: int, attempt: int, *, whole: bool = False) -> None:
        """Fix and sign the manifest of a round over the current set-up's roster.

        With ``whole`` its total is over all of them, or there is none.
        """
        self.flush()
        assert self.setup is not None
        setup = self.setup.state
        adversary = self.study.adversary(len(setup.roster), len(self.sites))
        encoding = headroom(self.study, task, len(setup.roster), len(self.sites)).encoding
        if task.model is not None:
            self.blobs.put(task.model.view(np.uint8).data, task.model_digest)
        with self.state.database.begin() as connection:
            heads = ledgers.heads(connection, setup.roster)
        manifest = Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=self.run,
            step=step,
            attempt=attempt,
            round=RoundId(f"{self.run}.r.{step:06d}.{attempt}"),
            batch=setup.batch,
            index=setup.used,
            task=task.hash,
            kind=task.kind,
            model=task.model_digest,
            length=task.elements,
            ring_bits=task.ring_bits,
            fractional_bits=encoding.fractional_bits,
            roster=setup.roster,
            setup=self._setup_digest(setup.batch),
            corrupt=adversary.corrupt,
            threshold=adversary.threshold,
            minimum_survivors=(
                len(setup.roster) if whole else self.minimum_survivors(len(setup.roster))
            ),
            journal=self.journal_head(),
            ledgers=heads,
        )
        envelope = manifest.sign(self._key)
        round_ = Round(
            round=manifest.round,
            run=self.run,
            step=step,
            attempt=attempt,
            batch=setup.batch,
            index=manifest.index,
            roster=setup.roster,
            threshold=manifest.threshold,
            minimum=manifest.minimum_survivors,
            needed=manifest.threshold,
            widened=setup.sparse,
        )
        with self._transaction() as transaction:
            connection = transaction.connection
            self._save_checkpoint(transaction)
            transaction.record(
                "manifest", round=round_.round, manifest=digest(envelope.payload), task=task.hash
            )
            used = setup.on_used(manifest.index)
            new_setup = records.replace_setup(connection, self.setup, used)
            wire = canonical(task.to_wire())
            new_round = records.insert_round(connection, round_, envelope, wire, self._now())
            ledgers.named(connection, heads, round_.round)
        if self.round is not None:
            self._said.pop(self.round.state.round, None)
        self.setup, self.round, self.task = new_setup, new_round, wire
        self.manifest, self.manifest_envelope = manifest, envelope
        self.models.offer(manifest.model)
        self._said[round_.round] = {}
        self.lost.clear()
        self.prepared.clear()
        self.changed.notify()

    def restore_model(self, task: Task) -> None:
        """Have the model of an earlier step, which is in the evidence, though the power went.

        It is not synced when its round starts: the algorithm that is replayed has it again.
        """
        if task.model is not None and task.model_digest is not None:
            self.blobs.put(task.model.view(np.uint8).data, task.model_digest)
            self.changed.notify()

    def journal_head(self) -> JournalHead:
        """The journal as it stands."""
        checkpoint = self.state.journal.checkpoint()
        return JournalHead(size=checkpoint.size, root=checkpoint.root.hex())

    def finish(self, documents: Document, body: bytes) -> None:
        """From now on, offer every site the finished model and ask for its countersignature."""
        self._end(Ask.FINISH)
        # Signed, as all else that a hospital acts on: where a proxy opens TLS, anybody may answer.
        checkpoint = sign_checkpoint(self.state.journal.checkpoint(), self._key)
        ending = {
            **documents,
            "journal": self.journal_head().model_dump(),
            "checkpoint": orjson.loads(checkpoint.to_json()),
        }
        self.ending = Instruction(ask=Ask.FINISH, run=self.run, documents=ending), body
        self.spool.clear()
        self.changed.notify()

    def take_leave(self, site: SiteName) -> None:
        """A hospital's agent knows that the run is over."""
        self.departed.add(site)
        self.changed.notify()

    def stop(self, reason: str) -> None:
        """From now on, tell every site that the run has been stopped, and why."""
        self._end(Ask.STOP)
        self.ending = Instruction(ask=Ask.STOP, run=self.run, reason=reason), b""
        self.spool.clear()
        self.changed.notify()

    def _end(self, how: Ask) -> None:
        self.flush()
        said = {"run": self.run, "how": how.value}
        before = (one.facts for one in self.state.journal.entries() if one.kind == "ended")
        if not any(said.items() <= dict(facts).items() for facts in before):  # else: a restart
            with self._transaction() as transaction:
                records.ending_run(transaction.connection, self.run, self._now())
                transaction.record("ended", **said, finished=self._now().isoformat())
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Sign the journal as it stands and keep the signature."""
        with self._transaction() as transaction:
            self._save_checkpoint(transaction)

    def _save_checkpoint(self, transaction: Transaction) -> None:
        checkpoint: Checkpoint = self.state.journal.checkpoint()
        if checkpoint.size:
            envelope = sign_checkpoint(checkpoint, self._key)
            records.save_checkpoint(transaction.connection, checkpoint.size, envelope)

    def minimum_survivors(self, sites: int) -> int:
        """The smallest cohort whose total is opened, of so many of this run's sites."""
        return self.study.minimum_survivors(sites, len(self.sites))

    def graph_rule(self, sites: int) -> GraphRule:
        """Who masks with whom among so many of this run's sites."""
        return self.study.graph_rule(sites, len(self.sites))

    def wiring(self, batch: BatchId) -> Wiring:
        """The trees and the graph of a large cohort's set-up, as far as it has come."""
        kinds = ("advert", "choice", "deal")
        said = [self.said(batch, kind) for kind in kinds]
        so_far = (batch, *(len(one) for one in said))
        if self._wiring is None or self._wiring[0] != so_far:
            self._wiring = so_far, Wiring(*said)
        return self._wiring[1]

    def graph(self) -> Graph:
        """Who of the current round's roster holds whose shares."""
        assert self.round is not None and self.setup is not None
        roster = self.round.state.roster
        if not self.setup.state.sparse:
            return Graph(roster, self.round.state.threshold)
        threshold = self.graph_rule(len(roster)).share_threshold
        return self.wiring(self.setup.state.batch).graph(threshold)

    def _setup_digest(self, batch: BatchId) -> Digest:
        if self.setup is not None and self.setup.state.sparse:
            return self.wiring(batch).setup_digest()
        return setup_digest(
            {site: sent.envelope for site, sent in self.said(batch, "advert").items()},
            {site: sent.envelope for site, sent in self.said(batch, "deal").items()},
        )

    @property
    def sparse(self) -> bool:
        """Whether each site of the current round shares keys with some of the others only."""
        return self.setup is not None and self.setup.state.sparse

    @property
    def keys_scope(self) -> str:
        """Under which scope the adverts and deals of the current round are kept."""
        assert self.round is not None
        return self.round.state.batch

    def manifest_digest(self) -> Digest:
        """What masks, packets, votes and shares of the current round are bound to."""
        assert self.manifest_envelope is not None
        return digest(self.manifest_envelope.payload)

    def is_first(self, site: SiteName) -> bool:
        """Whether ``site`` may not have been shown yet what was dealt to it in this batch."""
        assert self.manifest is not None
        return self.manifest.index == 0 or site not in self._contributed

    def check_open(self, site: SiteName, round_: RoundId) -> None:
        """Refuse parts of a payload that this round does not wait for."""
        require_in_time(self, site, round_)
        state = self.round_ahead
        if state is not None and state.round == round_ and site in self.lost:
            return
        if (
            state is None
            or state.round != round_
            or state.phase is not RoundPhase.COLLECT
            or not state.waits_for(site)
        ):
            raise refused("WR-COORD-023", "The statement comes too late, or was not asked for.")

    def scope_of(self, _site: SiteName) -> str:
        """For what a site's bytes count: the latest round or set-up, or the run outside of both."""
        if self.setup is None or self.ending:
            return self.run
        setup, round_ = self.setup.state, self.round
        newer = round_ is None or round_.state.batch != setup.batch
        return setup.batch if round_ is None or newer else round_.state.round

    def payload_bytes(self) -> int:
        """How large every payload of the current round is."""
        assert self.manifest is not None
        return self.manifest.payload_bytes

    def ask_everyone(self) -> None:
        """The first helpers take their time: let every survivor help to open the total."""
        self.flush()
        if self.round is None or (new := self.round.state.on_waiting()) is self.round.state:
            return
        with self._transaction() as transaction:
            self.round = records.replace_round(transaction.connection, self.round, new)
        self.changed.notify()

    def deadline_passed(self) -> None:
        """Time is up for whatever is waited for; who was missing is absent until it is heard of."""
        self.flush()
        with self._transaction() as transaction:
            if self.round is not None and not self.round.state.over:
                old = self.round.state
                missing = [site for site in old.roster if old.waits_for(site)]
                new = old.on_deadline()
                transaction.record(
                    "deadline",
                    round=new.round,
                    phase=new.phase.value,
                    missing=list(missing),
                    at=self._now().isoformat(),
                )
                self.round = records.replace_round(transaction.connection, self.round, new)
            elif self.setup is not None:
                before = self.setup.state
                missing = [site for site in before.pool if before.waits_for(site)]
                setup = before.on_deadline()
                transaction.record(
                    "deadline",
                    batch=setup.batch,
                    phase=setup.phase.value,
                    missing=list(missing),
                    at=self._now().isoformat(),
                )
                self.setup = records.replace_setup(transaction.connection, self.setup, setup)
            else:
                return
        self.stopwatch.give_up(missing)
        self.changed.notify()


def told_outside(kind: str, envelope: Envelope) -> dict[str, str]:
    """What a refusal says beside *refused*: its cause and its incident's number, where given."""
    if kind != "refusal":
        return {}
    refused = Refused.from_payload(envelope.payload)
    told = {"cause": refused.cause and refused.cause.value, "incident": refused.incident}
    return {name: value for name, value in told.items() if value}


def refused(code: str, problem: str) -> WardroundError:
    """A statement or request that is not taken."""
    return WardroundError(
        code, problem, "Run `wardround explain` with this code; the coordinator's journal has it."
    )
