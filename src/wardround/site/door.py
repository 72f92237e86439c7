"""The one door. Everything computed from records leaves through it, or does not leave.

`Door.answer` reads as the checklist that a steward signs for; each line refuses by raising, any
doubt closes the door, and the outside hears only *refused*. The attacker is the coordinator (and
whoever colludes with it): it chooses which task is asked, over which manifest, how often and in
which order, and it may restart, repeat and contradict itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from wardround.clinical.quality import verdict
from wardround.errors import WardroundError
from wardround.federation.causes import new_incident
from wardround.federation.messages import (
    PART_BYTES,
    JournalHead,
    Manifest,
    ModelVersion,
    PacketHeader,
    Refused,
)
from wardround.federation.packet import Packet, Refusal
from wardround.ids import Digest, RoundId, RunId
from wardround.learning.buffered import scaled
from wardround.learning.registry import STREAMED_KINDS
from wardround.privacy.disclosure import check_cohort
from wardround.privacy.shares import noise_share
from wardround.sandbox.interface import Vector, Worker
from wardround.secagg import LANES, Checksum
from wardround.secagg.encoding import RingArray
from wardround.secagg.quantised import Quantised
from wardround.site import cohorts, opened, records, spool
from wardround.site.carried import Carried
from wardround.site.custody import Custody, computable
from wardround.site.entry import LedgerEntry
from wardround.site.halt import halt, refuse_halted, stopped
from wardround.site.late import Held, Late
from wardround.site.ledger import PrivacyLedger
from wardround.site.order import Order
from wardround.site.outward import cause_of
from wardround.site.patients import NoisyUpdate, Patients, PatientSum
from wardround.site.seat import Seat
from wardround.site.witness import Witnesses
from wardround.store.journalled import JournalledDatabase
from wardround.store.room import wants_room
from wardround.study import Study, Task, check_approval, load_exclusions
from wardround.study.hospital import Terms, combine
from wardround.study.plan import carriers, headroom, line_of
from wardround.study.profiles import Profile, refuse_if_incomplete
from wardround.trust.canonical import digest, digest_json
from wardround.trust.dsse import Envelope
from wardround.trust.merkle import verify_consistency


class Door:
    """The fixed sequence. ``check_task`` says whether the study gives rise to a task."""

    def __init__(
        self,
        custody: Custody,
        worker: Worker,
        seat: Seat,
        state: JournalledDatabase,
        check_task: Callable[[Study, Task], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._custody = custody
        self._study = custody.study
        self._worker = worker
        self._seat = seat
        self._state = state
        self._check_task = check_task
        self._now = now
        self._clipped = Patients(self._study, worker)
        self.carried = Carried(self._study, custody.site)
        """What was computed here and not sent yet, in a study that sends it bit by bit."""
        self._checked_on: date | None = None
        self._terms: Terms | None = None
        self._list: bytes | None = None
        self._patients: frozenset[bytes] = frozenset()
        self._content: Digest | None = None
        """What the worker holds the records of, and a digest of them."""
        self.computed = False
        """Whether the last answer had come to computing on records."""
        self.reason: WardroundError | None = None
        """Why the last refusal was one: for the hospital's own eyes."""
        self.stopped: WardroundError | None = None
        """Why this agent must not say anything more; see `_compute_in_private`."""
        self._ledger = PrivacyLedger(
            custody.study, custody.site, custody.key.public, custody.hospital
        )
        self.witnesses = Witnesses(custody.study, custody.site, self._ledger)
        """The other hospitals' ledgers as this one remembers them."""
        if self._study.privacy is not None:
            seat.on_vote = self.witnesses.expect
        with state.database.begin() as connection:
            if self._study.privacy is not None:
                self._ledger.verify(connection)
                self._ledger.admit(connection, now())
                opened.refuse_after_exact(connection, self._study)
                refuse_halted(connection, self._study)
            self.seen = records.last_head(connection, self._study.coordinator.signing_key)

    async def answer(self, order: Order) -> Packet | Refusal:
        """The packet that answers ``order``, or a refusal; the packet is spooled and recorded.

        Raises WR-STORE-004 when the disk is full.
        """
        path: Path | None = None
        looked = self.computed = False
        try:
            self._approved()
            terms = self._policy(order)
            looked = True
            patients = await self._consent(order, terms)
            self._quality()
            self._budget(order.task, terms)
            path = self._room(order)
            self.computed = True
            values = await self._compute(order, terms)
            self._bound(order.task, values)
            values = self._carry(order, values)
            ring = self._encode(order, values)
            self._noise(order, values, ring)
            self._protect(order, ring)
            charge = self._charge(order)
            packet = self._sign(order, ring, charge, path)
            self._journal(order, packet, patients, charge)
        except WardroundError as reason:
            # Not a matter of the records, unless they are why: answered when there is room.
            if wants_room(reason) and reason is not self.stopped:
                raise
            if path is not None:
                path.unlink(missing_ok=True)
            return self.refuse(order.manifest.run, order.manifest.round, reason, looked=looked)
        return packet

    async def train(self, task: Task, version: ModelVersion, scope: str) -> Held | Refusal:
        """Compute what a stream asks for at one version of its model, and hold it: nothing leaves.

        The same checks as for an answer; they are all made again when a cohort has come together.
        One more is that this was not given out before (WR-SITE-029). A refusal is for ``scope``.
        """
        looked = self.computed = False
        try:
            self._approved()
            terms = self._terms_for(task, late=True)
            with self._state.database.begin() as connection:
                cohorts.check_apart(connection, version.run, version.task, late=True)
                cohorts.check_unused(connection, version.run, version.task, version.model)
            looked = True
            patients = await self._patients_now()
            with self._state.database.begin() as connection:
                self._require_enough(connection, task, terms, patients)
            self._quality()
            self._budget(task, terms)
            self.computed = True
            values = await self._run(task, terms)
            self._bound(task, values)
        except WardroundError as reason:
            return self.refuse(version.run, scope, reason, looked=looked)
        return Held(task, version, values, patients)

    async def still_good(self, newest: ModelVersion) -> bool:
        """Whether what is held can go into the stream's next cohort, as consent stands now."""
        late = self._seat.late
        if not late.still_good(newest):
            return False
        try:
            return late.still_good(newest, await self._patients_now())
        except WardroundError:  # whoever trains anew is told why, and no more than that
            return False

    def already_sent(self, round_: RoundId) -> Packet | None:
        """The packet that this round was answered with, to be sent again byte for byte.

        Raises WR-SITE-016 when the spool does not hold these bytes any more.
        """
        with self._state.database.begin() as connection:
            row = records.packet_row(connection, round_)
        if row is None:
            return None
        envelope = Envelope.from_json(row.envelope)
        header = PacketHeader.open(envelope, self._custody.key.public)
        path = Path(row.spooled)
        if spool.payload_digest(path) != header.payload:
            raise _refused("WR-SITE-016", "The spooled packet of this round is gone or altered.")
        return Packet(header, envelope, path)

    def refuse(
        self, run: RunId, scope: str, reason: WardroundError, *, looked: bool = False
    ) -> Refusal:
        """A signed no. The reason is journalled and told here, and goes nowhere else.

        What little may be said of it is `cause_of`; ``looked`` is whether the refusal was decided
        after the records had been looked at. The incident's number stands on both sides.
        """
        self.reason = reason
        incident = new_incident(secrets.choice)
        at = self._now().isoformat(timespec="seconds")
        with self._state.transaction() as transaction:
            transaction.record(
                "refused", run=run, scope=scope, code=reason.code, at=at, incident=incident
            )
        refused = Refused(
            study=self._study.digest,
            run=run,
            scope=scope,
            site=self._custody.site,
            cause=cause_of(reason, self._study, looked=looked),
            incident=incident,
        )
        return Refusal(refused, refused.sign(self._custody.key))

    def follow(self, head: JournalHead, proof: tuple[bytes, ...]) -> None:
        """The coordinator's journal only ever grows: what it shows now extends what it showed."""
        if self.seen is not None:
            old = self.seen
            verify_consistency(
                old.size, bytes.fromhex(old.root), head.size, bytes.fromhex(head.root), list(proof)
            )
        self.seen = head

    def _approved(self) -> None:
        """The steward's signed approval holds today."""
        custody = self._custody
        today = self._now().date()
        if today != self._checked_on:  # nothing else that it depends on can change
            key = custody.key.public
            check_approval(custody.approval, self._study, custody.site, key, today)
            self._checked_on = today

    def _policy(self, order: Order) -> Terms:
        """Profile, manifest and task are what the signed study and the hospital's policy allow."""
        manifest, task = order.manifest, order.task
        terms = self._terms_for(task, late=order.late is not None)
        whole = self._whole(manifest)
        if order.late is None:
            adversary = self._study.adversary(len(manifest.roster), whole)
            least = self._study.minimum_survivors(len(manifest.roster), whole)
        else:
            adversary = self._study.late_terms.adversary
            least = self._study.late_terms.minimum_survivors
        encoding = headroom(self._study, task, len(manifest.roster), whole).encoding
        as_derived = (
            manifest.study == self._study.digest
            and manifest.study_id == self._study.id
            and manifest.task == order.asked
            and manifest.kind == task.kind
            and manifest.model == order.model
            and manifest.version == order.version
            and (manifest.length, manifest.ring_bits) == (task.elements, task.ring_bits)
            and manifest.fractional_bits == encoding.fractional_bits
            and manifest.corrupt == adversary.corrupt
            and manifest.threshold == adversary.threshold
            and manifest.minimum_survivors >= max(least, terms.minimum_sites)
        )
        if not as_derived:
            raise _refused("WR-SITE-011", "The manifest is not what the study's own rules make it.")
        self.follow(manifest.journal, order.consistency)
        with self._state.database.begin() as connection:
            if order.late is None:  # else the cohort's own row binds its keys (`cohorts`)
                records.check_index(connection, manifest, order.manifest_digest)
            if self._study.privacy is not None:
                self.witnesses.check(connection, manifest)
        return terms

    def _terms_for(self, task: Task, *, late: bool) -> Terms:
        """What holds for a task that study and hospital allow, in a round or in a late cohort."""
        terms = self._terms
        if terms is None:  # study and policy are fixed: what they make together is worked out once
            refuse_if_incomplete(self._study)
            terms = self._terms = combine(self._study, self._custody.hospital)
        if not terms.allows(task.kind):
            raise _refused("WR-SITE-010", "The hospital's policy does not allow this task.")
        if (task.kind in STREAMED_KINDS) != late:
            raise _refused("WR-SITE-131", "This kind of task is for other sums than this one.")
        self._check_task(self._study, task)
        return terms

    async def _consent(self, order: Order, terms: Terms) -> frozenset[bytes]:
        """Who is on the steward's signed exclusion list is left out; without one, nobody is in."""
        patients, manifest = await self._patients_now(), order.manifest
        with self._state.database.begin() as connection:
            if self._study.privacy is not None:
                # Noise hides the few, and every answer has its own and is paid for.
                records.check_same_task(connection, manifest)
                return patients
            cohorts.check_apart(
                connection, manifest.run, manifest.task, late=order.late is not None
            )
            # What a site carries on may be gone by now, and another answer would come of it.
            repeatable = order.late is None and order.task.turns is None
            records.check_task(connection, manifest, patients, self._content, repeatable=repeatable)
            self._require_enough(connection, order.task, terms, patients)
        return patients

    def _require_enough(
        self, connection: Connection, task: Task, terms: Terms, patients: frozenset[bytes]
    ) -> None:
        """There are enough patients, and they are the same as before or clearly others."""
        check_cohort(len(patients), terms.minimum_cohort)
        least = max(terms.minimum_cell, records.LEAST_DIFFERENCE)
        records.check_patients(connection, self._question(task), patients, least)

    async def _patients_now(self) -> frozenset[bytes]:
        """Who may be computed on now; the worker holds exactly their records.

        The list is read at every answer, so that a withdrawal counts at once.
        """
        custody = self._custody
        same = self._list is not None and _content(custody.exclusions) == self._list
        if not same or self._worker.is_old:
            content = _content(custody.exclusions)
            exclusions = load_exclusions(
                custody.exclusions, self._study.id, custody.site, custody.key.public
            )
            table = custody.table.excluding(exclusions.patients)
            self._list = None
            columns = computable(self._study, table)
            await self._load(columns)
            self._patients = records.patient_set(table.patient_ids, custody.patient_key)
            self._content = records.content_digest(columns, custody.patient_key)
            self._list = content
        return self._patients

    def _held(self, late: Late) -> Vector:
        """What was computed before, scaled by how many versions the model has moved on since.

        It holds only for the patients who consent now, and for so many versions.
        """
        if not self._seat.late.still_good(late.newest, self._patients):
            self._seat.late.leave()
            raise _refused("WR-SITE-134", "What was trained here is too old for this cohort.")
        return scaled(late.held.values, late.staleness)

    def _quality(self) -> None:
        """No check of the records blocks, but what the steward has signed for."""
        verdict(self._custody.findings)
        end = self._custody.let_pass_until
        if end is not None and self._now().date() > end:
            raise _refused("WR-SITE-018", "A signed override of a check of the records has ended.")

    async def _load(self, columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Hand the columns to the worker; an old one, or one that has ended, is started anew."""
        if self._worker.is_old:  # it would be ended in a later task, when its time is spent
            await self._worker.start()
        try:
            await self._worker.load(columns)
        except WardroundError as error:
            if error.code == "WR-SANDBOX-007":
                await self._worker.start()
                await self._worker.load(columns)
            elif self._study.privacy is not None:  # how many they are may be why
                raise self._stop(f"{error.code}: {error.problem.rstrip('.')}") from error
            else:
                raise

    def _question(self, task: Task) -> Digest:
        """What counts as the same question: a kind of task, whatever its parameters.

        Two Newton steps near the optimum, or two histograms with edges a hair apart, differ as
        tasks and say the same; after a withdrawal their difference would be about one patient.
        """
        return digest_json({"study": self._study.digest, "kind": task.kind})

    def _budget(self, task: Task, terms: Terms) -> None:
        """One more answer fits into what the study, and this hospital, may still give out.

        With noise that is the ledger's to say; without, the opened numbers are counted.
        """
        with self._state.database.begin() as connection:
            if self._study.privacy is not None:
                line = line_of(self._study, task.kind)
                self._ledger.check(connection, line, self._now())
                return
            opened.check(connection, self._study.digest, self._opened(task), terms.opened_numbers)

    def _whole(self, manifest: Manifest) -> int:
        """How many sites may be in a round's roster: the study's, or this one's group."""
        return self._seat.grouping.whole(self._study.partition_number(manifest.step))

    def _opened(self, task: Task) -> int:
        """Numbers that the study opens with this task: in each group, whichever is this site's."""
        return task.numbers * self._study.totals_per_step

    async def _compute(self, order: Order, terms: Terms) -> Vector | PatientSum | NoisyUpdate:
        """The task is computed now, or was before, for whoever is ready."""
        if order.late is not None:
            return self._held(order.late)
        if self._study.privacy is not None:
            return await self._compute_in_private(order)
        left = self.carried.left(order.manifest.run, order.task, self._patients)
        return await self._run(order.task, terms, left)

    async def _run(self, task: Task, terms: Terms, left: Vector | None = None) -> Vector:
        """The task runs in the sandbox, beside the records, and beside what is ``left``."""
        request, array = self._request(task, terms), task.model
        if left is not None and array is not None:
            request["carried"] = len(left)
            array = np.concatenate([array, left])
        try:
            return await self._worker.call(request, array)
        except WardroundError as error:
            if error.code.startswith("WR-SANDBOX"):  # it may have ended: the next has a new one
                self._list = None
            raise

    async def _compute_in_private(self, order: Order) -> PatientSum | NoisyUpdate:
        """Each patient's vector, clipped outside of the sandbox and summed.

        Whether a computation fails may depend on one patient, and no noise is over a refusal. So
        the agent says nothing of it, and nothing more until the steward has signed again.
        """
        try:
            return await self._clipped.answer(order.task, len(self._patients))
        except WardroundError as error:
            raise self._stop(f"{error.code}: {error.problem.rstrip('.')}") from error
        except Exception as error:  # noqa: BLE001 - of whatever kind
            raise self._stop(type(error).__name__) from None

    def _stop(self, why: str) -> WardroundError:
        """Halt the study here, durably, and return what this agent ends with."""
        with self._state.transaction() as transaction:
            halt(transaction, self._study, why, self._now())
        self.stopped = stopped(why)
        return self.stopped

    @staticmethod
    def _request(task: Task, terms: Terms) -> dict[str, object]:
        return {
            "kind": task.kind,
            "parameters": dict(task.parameters),
            "length": task.length,
            "limits": {
                "minimum_cell": terms.minimum_cell,
                "minimum_cohort": terms.minimum_cohort,
            },
        }

    def _bound(self, task: Task, values: Vector | PatientSum | NoisyUpdate) -> None:
        """The contribution has the task's shape; its range is checked where it is encoded.

        A private one is a sum over patients none of whom is longer than the agreed sensitivity.
        """
        found = values.shape if isinstance(values, np.ndarray) else values.steps.shape
        if found != (task.length,):
            raise _refused("WR-SITE-012", "The computation returned another shape than agreed.")

    def _carry(
        self, order: Order, values: Vector | PatientSum | NoisyUpdate
    ) -> Vector | PatientSum | NoisyUpdate:
        """In a task of several steps: what has its turn; the rest stays here, in memory alone."""
        if order.task.turns is None or not isinstance(values, np.ndarray):
            return values
        return self.carried.answer(order.manifest.run, order.task, self._patients, values)

    def _encode(self, order: Order, values: Vector | PatientSum | NoisyUpdate) -> RingArray:
        """Fixed point in the ring, with head-room for the whole roster; out of range is refused.

        Where the study compresses, most of it is rotated and rounded at random, afresh each time.

        Behind the values there is room for the lanes by which a total that is garbage is found.
        """
        task, roster = order.task, order.manifest.roster
        whole = self._whole(order.manifest)
        encoding = headroom(self._study, task, len(roster), whole).encoding
        ring: RingArray = np.empty(task.elements + LANES, encoding.dtype)
        if isinstance(values, np.ndarray):
            if isinstance(encoding, Quantised):
                encoding.encode(values, secrets.token_bytes(32), out=ring[:-LANES])
            else:
                encoding.encode(values, out=ring[:-LANES])
        else:
            ring[:-LANES] = values.steps.view(np.uint64)
        return ring

    def _noise(
        self, order: Order, values: Vector | PatientSum | NoisyUpdate, ring: RingArray
    ) -> None:
        """Every private sum gets this site's noise; `secure-sum` has none, and its pages say so."""
        if self._study.profile is Profile.SECURE_SUM and isinstance(values, np.ndarray):
            return
        if isinstance(values, PatientSum):
            whole = self._whole(order.manifest)
            shared = carriers(self._study, len(order.manifest.roster), whole)
            size, source = len(values.steps), self._clipped.source()
            ring[:-LANES] += noise_share(values.line.event, shared, source, size).view(np.uint64)
        elif not isinstance(values, NoisyUpdate):
            raise _refused("WR-SITE-013", "The profile promises noise, and there is none.")

    def _protect(self, order: Order, ring: RingArray) -> None:
        """The vector gets its lanes and is masked in place; then it says nothing on its own.

        The lanes come after the noise: lanes of the exact values would open what the noise hides.
        """
        manifest = order.manifest
        Checksum(manifest.study, manifest.run, manifest.step, manifest.task).seal(ring)
        if order.late is None:
            self._seat.mask(manifest, order.manifest_digest, ring)
        else:
            self._seat.late.mask(manifest, order.manifest_digest, ring)

    def _charge(self, order: Order) -> LedgerEntry | None:
        """The ledger's entry for this answer, in a study with noise; its head is signed with it."""
        if self._study.privacy is None:
            return None
        line = line_of(self._study, order.task.kind)
        with self._state.database.begin() as connection:
            return self._ledger.propose(connection, line, order.manifest, self._now())

    def _room(self, order: Order) -> Path:
        """Where the packet will lie, with room for it: its keys are good for one answer only."""
        manifest = order.manifest
        return spool.room(self._custody.spool, manifest.round, manifest.payload_bytes)

    def _sign(
        self, order: Order, ring: RingArray, charge: LedgerEntry | None, path: Path
    ) -> Packet:
        """The masked vector is durably spooled, and its digest signed with what it answers.

        Its keys are gone when it leaves: a coordinator that loses what it took in needs it again.
        """
        manifest = order.manifest
        data = ring.view(np.uint8).data
        parts = spool.write(path, data)
        header = PacketHeader(
            study=self._study.digest,
            run=manifest.run,
            step=manifest.step,
            round=manifest.round,
            task=manifest.task,
            manifest=order.manifest_digest,
            site=self._custody.site,
            payload=digest(b"".join(parts)),
            size_bytes=len(data),
            part_bytes=PART_BYTES,
            ledger=None if charge is None else charge.head,
        )
        return Packet(header, header.sign(self._custody.key), path, parts)

    def _journal(
        self,
        order: Order,
        packet: Packet,
        patients: frozenset[bytes],
        charge: LedgerEntry | None,
    ) -> None:
        """Binding, charge and journal leaf, durable together before anything is sent."""
        manifest = order.manifest
        with self._state.transaction() as transaction:
            connection = transaction.connection
            question = self._question(order.task)
            records.bind(connection, manifest, packet, question, patients, self._content)
            records.save_head(connection, self._study.coordinator.signing_key, manifest.journal)
            if order.late is not None:
                cohorts.record_packet(connection, self._seat.late.ready)
            if charge is not None:
                self._ledger.charge(transaction, charge)
                self.witnesses.remember(connection, manifest)
            else:
                opened.note_exact(connection, self._study, self._now())
            opened.charge(
                connection,
                self._study.digest,
                packet.round,
                self._opened(order.task),
                self._now(),
            )
            transaction.record(
                "packet",
                round=manifest.round,
                task=manifest.task,
                asks=manifest.kind,
                manifest=order.manifest_digest,
                packet=packet.header.digest,
                payload=packet.header.payload,
                opened=self._opened(order.task),
                at=self._now().isoformat(timespec="seconds"),
            )
        if order.late is not None:
            self._seat.late.given()


def _content(path: Path) -> bytes:
    """A file's bytes; none for one that can't be read, which then is no list either."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _refused(code: str, problem: str) -> WardroundError:
    return WardroundError(
        code, problem, "The agent refuses; nothing is lost. Tell the study's coordinator."
    )
