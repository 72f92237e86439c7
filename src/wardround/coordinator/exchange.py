"""The exchange with the sites: what each is asked next, and what is done with its answers.

Every accepted statement is one transaction: the statement, the next state of its set-up or round
(compare-and-set) and a journal leaf. Whatever is refused is journalled too. Instructions are
worked out from the state, so asking twice is harmless and a restart loses nothing.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import orjson

from wardround.coordinator import records
from wardround.coordinator.changed import Changed
from wardround.coordinator.records import Sent, Versioned
from wardround.coordinator.spool import Spool
from wardround.errors import WardroundError
from wardround.federation.messages import (
    INLINE_BYTES,
    PART_BYTES,
    Ask,
    Document,
    Instruction,
    JournalHead,
    Manifest,
    PacketHeader,
    Refused,
    Witness,
    frame,
)
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.secagg import Advert, Deal, FixedPoint, RecoveryShares, SurvivorVote
from wardround.secagg.setup import adverts_digest, setup_digest
from wardround.store.blobs import Blobs
from wardround.store.journalled import JournalledDatabase, Transaction
from wardround.study import Study, Task
from wardround.trust.canonical import canonical, digest
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Checkpoint, sign_checkpoint
from wardround.trust.keys import SigningKey, VerifyKey

_ENOUGH_SHARES = (RoundPhase.OPENING, RoundPhase.DONE)


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
    ) -> None:
        self.study = study
        self.run = run
        self.state = state
        self.blobs = blobs
        self.spool = spool
        self.keys: dict[SiteName, VerifyKey] = study.site_keys
        self.setup: Versioned[Setup] | None = None
        self.round: Versioned[Round] | None = None
        self.manifest: Manifest | None = None
        self.manifest_envelope: Envelope | None = None
        self.task: bytes = b""
        self.ending: tuple[Instruction, bytes] | None = None
        self._key = key
        self._now = now
        self._said: dict[str, dict[tuple[str, SiteName], Sent]] = {}
        self.changed = Changed()
        self._restore()

    def _restore(self) -> None:
        with self.state.database.begin() as connection:
            self.setup = records.latest_setup(connection, self.run)
            latest = records.latest_round(connection, self.run)
            if latest is not None:
                self.round, self.manifest_envelope, self.task = latest
                self.manifest = Manifest.from_payload(self.manifest_envelope.payload)
            for scope in self._scopes():
                self._said[scope] = records.load_statements(connection, scope)
        self.witnesses = set(self.said(self.run, "witness"))

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

    def start_setup(self, pool: tuple[SiteName, ...]) -> None:
        """Begin a new batch among ``pool``."""
        number = 0 if self.setup is None else int(self.setup.state.batch.rsplit(".", 1)[1]) + 1
        setup = Setup(
            batch=BatchId(f"{self.run}.b.{number:06d}"),
            run=self.run,
            pool=tuple(sorted(pool)),
            rounds=self.study.cohort.rounds_per_setup,
            minimum=self.study.minimum_survivors(len(pool)),
        )
        if self.setup is not None:
            self._said.pop(self.setup.state.batch, None)
        with self.state.transaction() as transaction:
            transaction.record("setup", batch=setup.batch, run=self.run, pool=list(setup.pool))
            self.setup = records.insert_setup(transaction.connection, setup)
        self._said[setup.batch] = {}
        self.changed.notify()

    def start_round(self, task: Task, step: int, attempt: int) -> None:
        """Fix and sign the manifest of a round over the current set-up's roster."""
        assert self.setup is not None
        setup = self.setup.state
        adversary = self.study.adversary(len(setup.roster))
        encoding = FixedPoint.fit(task.bound, len(setup.roster), task.ring_bits)
        if task.model is not None:
            self.blobs.put(task.model.tobytes())
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
            length=task.length,
            ring_bits=task.ring_bits,
            fractional_bits=encoding.fractional_bits,
            roster=setup.roster,
            setup=self._setup_digest(setup.batch),
            corrupt=adversary.corrupt,
            threshold=adversary.threshold,
            minimum_survivors=self.study.minimum_survivors(len(setup.roster)),
            journal=self.journal_head(),
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
        )
        with self.state.transaction() as transaction:
            connection = transaction.connection
            self._save_checkpoint(transaction)
            transaction.record(
                "manifest", round=round_.round, manifest=digest(envelope.payload), task=task.hash
            )
            used = setup.on_used(manifest.index)
            new_setup = records.replace_setup(connection, self.setup, used)
            wire = canonical(task.to_wire())
            new_round = records.insert_round(connection, round_, envelope, wire, self._now())
        if self.round is not None:
            self._said.pop(self.round.state.round, None)
        self.setup, self.round, self.task = new_setup, new_round, wire
        self.manifest, self.manifest_envelope = manifest, envelope
        self._said[round_.round] = {}
        self.changed.notify()

    def journal_head(self) -> JournalHead:
        """The journal as it stands."""
        checkpoint = self.state.journal.checkpoint()
        return JournalHead(size=checkpoint.size, root=checkpoint.root.hex())

    def finish(self, documents: Document, body: bytes) -> None:
        """From now on, offer every site the finished model and ask for its countersignature."""
        self._end(Ask.FINISH)
        head = self.journal_head().model_dump()
        ending = {**documents, "journal": head}
        self.ending = Instruction(ask=Ask.FINISH, run=self.run, documents=ending), body
        self.changed.notify()

    def stop(self, reason: str) -> None:
        """From now on, tell every site that the run has been stopped, and why."""
        self._end(Ask.STOP)
        self.ending = Instruction(ask=Ask.STOP, run=self.run, reason=reason), b""
        self.changed.notify()

    def _end(self, how: Ask) -> None:
        with self.state.transaction() as transaction:
            finished = self._now().isoformat()
            transaction.record("ended", run=self.run, how=how.value, finished=finished)
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Sign the journal as it stands and keep the signature."""
        with self.state.transaction() as transaction:
            self._save_checkpoint(transaction)

    def _save_checkpoint(self, transaction: Transaction) -> None:
        checkpoint: Checkpoint = self.state.journal.checkpoint()
        if checkpoint.size:
            envelope = sign_checkpoint(checkpoint, self._key)
            records.save_checkpoint(transaction.connection, checkpoint.size, envelope)

    def _setup_digest(self, batch: BatchId) -> Digest:
        return setup_digest(
            {site: sent.envelope for site, sent in self.said(batch, "advert").items()},
            {site: sent.envelope for site, sent in self.said(batch, "deal").items()},
        )

    # What a site is asked next

    def instruction(self, site: SiteName, seen: int) -> bytes | None:
        """What ``site`` should do next as a framed message, or None for nothing.

        ``seen`` is the size of the journal that the site saw last; the instruction proves that
        the journal it is shown now is an extension of that one.
        """
        if self.ending is not None:
            return self._ending(site, seen)
        if self.round is not None and self.round.state.waits_for(site):
            return self._round_instruction(self.round.state, site, seen)
        if self.setup is not None and self.setup.state.waits_for(site):
            return self._setup_instruction(self.setup.state, site)
        return None

    def _setup_instruction(self, setup: Setup, site: SiteName) -> bytes:
        if setup.phase is SetupPhase.ADVERTISE:
            ask = Instruction(
                ask=Ask.ADVERTISE,
                run=self.run,
                batch=setup.batch,
                pool=setup.pool,
                rounds=setup.rounds,
            )
        else:
            adverts = self.said(setup.batch, "advert")
            ask = Instruction(
                ask=Ask.DEAL,
                run=self.run,
                batch=setup.batch,
                envelopes={name: sent.envelope for name, sent in adverts.items()},
            )
        return _framed(ask)

    def _round_instruction(self, round_: Round, site: SiteName, seen: int) -> bytes:
        if round_.phase is RoundPhase.COLLECT:
            return self._contribute(round_, site, seen)
        asks_vote = round_.asks_vote_of(site)
        votes = {} if asks_vote else self.said(round_.round, "vote")
        return _framed(
            Instruction(
                ask=Ask.VOTE if asks_vote else Ask.RECOVER,
                run=self.run,
                round=round_.round,
                batch=round_.batch,
                survivors=round_.survivors,
                envelopes={name: sent.envelope for name, sent in votes.items()},
            )
        )

    def _contribute(self, round_: Round, site: SiteName, seen: int) -> bytes:
        assert self.manifest is not None and self.manifest_envelope is not None
        envelopes: dict[SiteName, Envelope] = {}
        blobs: dict[SiteName, bytes] = {}
        if self.manifest.index == 0:
            for name, sent in self.said(round_.batch, "deal").items():
                envelopes[name] = sent.envelope
                if name != site:
                    blobs[name] = b64decode(orjson.loads(sent.attachment)[site])
        body, size = b"", 0
        if self.manifest.model is not None:
            size = self.blobs.path(self.manifest.model).stat().st_size
            if size <= INLINE_BYTES:
                body = self.blobs.get(self.manifest.model)
        ask = Instruction(
            ask=Ask.CONTRIBUTE,
            run=self.run,
            round=round_.round,
            batch=round_.batch,
            manifest=self.manifest_envelope,
            task=orjson.loads(self.task),
            model=self.manifest.model,
            model_bytes=size,
            envelopes=envelopes,
            blobs=blobs,
            consistency=self._consistency(seen, self.manifest.journal.size),
        )
        return _framed(ask, body)

    def _ending(self, site: SiteName, seen: int) -> bytes | None:
        assert self.ending is not None
        ask, body = self.ending
        if ask.ask is Ask.STOP:
            return _framed(ask)
        if site in self.witnesses:
            return None
        size = JournalHead.model_validate(ask.documents["journal"]).size
        proof = self._consistency(seen, size)
        return _framed(ask.model_copy(update={"consistency": proof}), body)

    def _consistency(self, seen: int, size: int) -> tuple[str, ...]:
        if not 0 < seen < size:
            return ()
        proof = self.state.journal.prove_consistency(seen, size)
        return tuple(step.hex() for step in proof)

    # What is done with an answer

    def accept(self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes) -> None:
        """Take a signed statement of ``site``.

        The same statement twice is fine; another one in its place, one for a round that is not
        open, or one that does not verify is refused and journalled.
        """
        handlers: Mapping[str, Callable[[SiteName, Envelope, bytes], None]] = {
            "advert": self._on_advert,
            "deal": self._on_deal,
            "packet": self._on_packet,
            "vote": self._on_vote,
            "shares": self._on_shares,
            "refusal": self._on_refusal,
            "witness": self._on_witness,
        }
        handler = handlers.get(kind)
        try:
            if handler is None:
                raise _refused("WR-COORD-020", f"There is no statement of kind {kind[:20]!r}.")
            handler(site, envelope, attachment)
        except WardroundError as error:
            if error.code != "WR-COORD-001":
                with self.state.transaction() as transaction:
                    transaction.record(
                        "refused",
                        site=site,
                        statement=digest(envelope.payload),
                        code=error.code,
                    )
            raise

    def _repeated(self, scope: str, kind: str, site: SiteName, sent: Sent) -> bool:
        if scope not in self._said:
            raise _refused("WR-COORD-021", "The statement belongs to no open round or set-up.")
        known = self._said[scope].get((kind, site))
        if known is None:
            return False
        if known.envelope.payload != sent.envelope.payload or known.attachment != sent.attachment:
            raise _refused("WR-COORD-022", "Another statement stands in this one's place already.")
        return True

    def _keep(
        self,
        transaction: Transaction,
        scope: BatchId | RoundId | RunId,
        kind: str,
        site: SiteName,
        sent: Sent,
    ) -> None:
        records.save_statement(transaction.connection, scope, kind, site, sent)
        transaction.record(kind, scope=scope, site=site, statement=digest(sent.envelope.payload))

    def _on_setup(
        self,
        kind: str,
        site: SiteName,
        batch: BatchId,
        sent: Sent,
        follow: Callable[[Setup], Setup],
    ) -> None:
        if self._repeated(batch, kind, site, sent):
            return
        old = self.setup
        if old is None or batch != old.state.batch or (new := follow(old.state)) is old.state:
            raise _refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        with self.state.transaction() as transaction:
            self._keep(transaction, batch, kind, site, sent)
            replaced = records.replace_setup(transaction.connection, old, new)
        self._said[batch][kind, site] = sent
        self.setup = replaced
        self.changed.notify()

    def _on_round(
        self,
        kind: str,
        site: SiteName,
        round_: str,
        sent: Sent,
        follow: Callable[[Round], Round],
    ) -> None:
        if self._repeated(round_, kind, site, sent):
            return
        old = self.round
        if old is None or round_ != old.state.round or (new := follow(old.state)) is old.state:
            raise _refused("WR-COORD-023", "The statement comes too late, or was not asked for.")
        with self.state.transaction() as transaction:
            self._keep(transaction, new.round, kind, site, sent)
            replaced = records.replace_round(transaction.connection, old, new)
        self._said[new.round][kind, site] = sent
        self.round = replaced
        self.changed.notify()

    def _on_advert(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        advert = Advert.open(envelope, self.keys[site])
        _same(advert.site, site, advert.study, self.study.digest, advert.run, self.run)
        setup = self.setup.state if self.setup else None
        asked = (setup.batch, setup.pool, setup.rounds) if setup else None
        if asked != (advert.batch, advert.pool, advert.rounds):
            raise _refused("WR-COORD-025", "The advert is for another set-up or pool.")
        sent = Sent(envelope, b"")
        self._on_setup("advert", site, advert.batch, sent, lambda setup: setup.on_advert(site))

    def _on_deal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        deal = Deal.open(envelope, self.keys[site])
        _same(deal.site, site, deal.study, self.study.digest, deal.run, self.run)
        named = {name: digest(blob) for name, blob in _sealed_blobs(attachment).items()}
        if named != dict(deal.sealed):
            raise _refused("WR-COORD-024", "The sealed shares are not the ones that were signed.")
        adverts = {name: one.envelope for name, one in self.said(deal.batch, "advert").items()}
        if deal.adverts != adverts_digest(adverts) or {*deal.sealed, site} != set(adverts):
            raise _refused("WR-COORD-025", "The deal is for another roster.")
        sent = Sent(envelope, attachment)
        self._on_setup("deal", site, deal.batch, sent, lambda setup: setup.on_deal(site))

    def _on_packet(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        header = PacketHeader.open(envelope, self.keys[site])
        _same(header.site, site, header.study, self.study.digest, header.run, self.run)
        sent = Sent(envelope, b"")
        if self._repeated(header.round, "packet", site, sent):
            return
        round_ = RoundId(header.round)
        self.check_open(site, round_)
        assert self.manifest is not None
        size = self.payload_bytes()
        answers = (header.manifest, header.task, header.step, header.size_bytes, header.part_bytes)
        manifest, task, step = self._manifest_digest(), self.manifest.task, self.manifest.step
        if answers != (manifest, task, step, size, PART_BYTES):
            raise _refused("WR-COORD-025", "The packet answers another manifest or task.")
        if attachment:
            self.spool.put(round_, site, 0, attachment, size)
        arrived = self.spool.payload_digest(round_, site, size)
        if arrived != header.payload:
            if arrived is not None:  # whole, but wrong: let all of it be sent again
                self.spool.discard(round_, site)
            raise _refused("WR-COORD-026", "The payload is not the one that was signed.")
        self._on_round("packet", site, header.round, sent, lambda one: one.on_packet(site))

    def _on_vote(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        vote = SurvivorVote.open(envelope, self.keys[site])
        _same(vote.site, site, vote.study, self.study.digest, vote.run, self.run)
        sent = Sent(envelope, b"")
        self._require_own_question(vote)
        self._on_round("vote", site, vote.round, sent, lambda one: one.on_vote(site))

    def _on_shares(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        shares = RecoveryShares.open(envelope, self.keys[site])
        _same(shares.site, site, shares.study, self.study.digest, shares.run, self.run)
        sent = Sent(envelope, b"")
        self._require_own_question(shares)
        enough = self.round is not None and self.round.state.phase in _ENOUGH_SHARES
        if not self._repeated(shares.round, "shares", site, sent) and enough:
            return
        self._on_round("shares", site, shares.round, sent, lambda one: one.on_shares(site))

    def _require_own_question(self, said: SurvivorVote | RecoveryShares) -> None:
        """Refuse a voice about anything but the present round's manifest and survivors.

        The sites refuse a pile with one stray statement in it, so none may get into the pile.
        """
        state = self.round.state if self.round else None
        if state is None or said.round != state.round:
            raise _refused("WR-COORD-021", "The statement belongs to no open round or set-up.")
        asked = (state.batch, state.index, self._manifest_digest(), state.survivors)
        if (said.batch, said.index, said.manifest, said.survivors) != asked:
            raise _refused("WR-COORD-025", "The statement is over another manifest or survivors.")

    def _manifest_digest(self) -> Digest:
        assert self.manifest_envelope is not None
        return digest(self.manifest_envelope.payload)

    def _on_refusal(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        refusal = Refused.open(envelope, self.keys[site])
        _same(refusal.site, site, refusal.study, self.study.digest, refusal.run, self.run)
        sent = Sent(envelope, b"")
        if self.setup is not None and refusal.scope == self.setup.state.batch:
            batch = self.setup.state.batch
            self._on_setup("refusal", site, batch, sent, lambda one: one.on_lost(site))
        else:
            self._on_round("refusal", site, refusal.scope, sent, lambda one: one.on_refused(site))

    def _on_witness(self, site: SiteName, envelope: Envelope, attachment: bytes) -> None:
        witness = Witness.open(envelope, self.keys[site])
        _same(witness.site, site, witness.study, self.study.digest, witness.run, self.run)
        sent = Sent(envelope, b"")
        if not self._repeated(self.run, "witness", site, sent):
            with self.state.transaction() as transaction:
                self._keep(transaction, self.run, "witness", site, sent)
            self._said[self.run]["witness", site] = sent
        self.witnesses.add(site)
        self.changed.notify()

    def check_open(self, site: SiteName, round_: RoundId) -> None:
        """Refuse parts of a payload that this round does not wait for."""
        state = self.round
        if (
            state is None
            or state.state.round != round_
            or state.state.phase is not RoundPhase.COLLECT
            or not state.state.waits_for(site)
        ):
            raise _refused("WR-COORD-023", "The statement comes too late, or was not asked for.")

    def check_blob(self, name: Digest) -> None:
        """Sites may fetch the model of the current task, and no other blob."""
        if self.manifest is None or name != self.manifest.model:
            raise _refused("WR-COORD-027", "There is no such model in the current round.")

    def payload_bytes(self) -> int:
        """How large every payload of the current round is."""
        assert self.manifest is not None
        return self.manifest.length * self.manifest.ring_bits // 8

    def deadline_passed(self) -> None:
        """Time is up for whatever is waited for."""
        with self.state.transaction() as transaction:
            if self.round is not None and not self.round.state.over:
                new = self.round.state.on_deadline()
                transaction.record("deadline", round=new.round, phase=new.phase.value)
                self.round = records.replace_round(transaction.connection, self.round, new)
            elif self.setup is not None:
                setup = self.setup.state.on_deadline()
                transaction.record("deadline", batch=setup.batch, phase=setup.phase.value)
                self.setup = records.replace_setup(transaction.connection, self.setup, setup)
        self.changed.notify()


def new_run() -> RunId:
    """A name for a run that sorts by time and can't be guessed."""
    return RunId(f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}")


def _framed(instruction: Instruction, body: bytes = b"") -> bytes:
    return frame(instruction.model_dump(mode="json", exclude_defaults=True), body)


def _sealed_blobs(attachment: bytes) -> dict[str, bytes]:
    """What comes beside a deal: base64 by site; anything else is refused."""
    try:
        blobs = orjson.loads(attachment)
        if isinstance(blobs, dict):
            return {name: b64decode(blob, validate=True) for name, blob in blobs.items()}
    except (ValueError, TypeError):
        pass
    raise _refused("WR-COORD-024", "The sealed shares are not the ones that were signed.")


def _same(*pairs: str) -> None:
    if any(one != other for one, other in zip(pairs[::2], pairs[1::2], strict=True)):
        raise _refused("WR-COORD-025", "The statement is of another site, study or run.")


def _refused(code: str, problem: str) -> WardroundError:
    return WardroundError(
        code, problem, "Run `wardround explain` with this code; the coordinator's journal has it."
    )
