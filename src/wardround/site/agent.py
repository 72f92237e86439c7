"""The agent's loop: ask the coordinator what to do, do it if the papers allow, answer, repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from pydantic import ValidationError

from wardround.errors import WardroundError
from wardround.federation.messages import (
    Ask,
    Instruction,
    JournalHead,
    Manifest,
    ModelVersion,
    Witness,
    malformed,
)
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.federation.streaming import at_version
from wardround.ids import Digest, RoundId
from wardround.secagg.cohort import late_batch
from wardround.site import records
from wardround.site.audit import audit
from wardround.site.custody import Custody
from wardround.site.door import Door
from wardround.site.download import Download
from wardround.site.ended import CONFIRMED, COUNTERSIGNED
from wardround.site.hours import OpeningHours
from wardround.site.late import Late
from wardround.site.link import Asked, Link
from wardround.site.order import Order
from wardround.site.outward import hindrance
from wardround.site.say import Say, printable, told
from wardround.site.seat import Seat
from wardround.store.journalled import JournalledDatabase
from wardround.store.room import no_room, once_there_is_room, wants_room
from wardround.study import Study, Task
from wardround.trust.canonical import JSON, digest
from wardround.trust.dsse import Envelope
from wardround.trust.journal import verify_checkpoint

_NOT_OPEN = "WR-COORD-036"
"""The coordinator was restarted and has not gone on yet."""

_PUT_RIGHT_BY_ASKING = (
    "WR-COORD-001",
    "WR-COORD-011",
    "WR-COORD-02",  # too late, say
    "WR-COORD-070",  # it trained for too long
    "WR-COORD-090",  # ready too often: it is asked again for the next version
    "WR-COORD-091",
    _NOT_OPEN,
    "WR-ROUND",
    "WR-SECAGG",
)
"""Refusals of a statement after which the agent asks what to do next, and goes on."""

UNCONFIRMED = "WR-SITE-210"

_LATE = "WR-ROUND-030"
"""The round has gone on without this answer: no trouble, and the next one may be waiting."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 15.0


MAXIMUM_MODEL_BYTES = 1 << 30
"""The largest model that an agent takes in, whatever the coordinator says."""


_Answer = Packet | Refusal | Status | None
"""What an instruction is answered with; None when it went stale, and the agent asks anew."""


class Ending(Protocol):
    """What a hospital does with a finished model: check it, look at it, keep it."""

    def __call__(self, documents: Mapping[str, JSON], model: bytes, /) -> Digest | None:
        """Take the model; return its digest, or raise if it is not the study's."""
        ...


class Agent:
    """One hospital in one study."""

    def __init__(
        self,
        custody: Custody,
        link: Link,
        door: Door,
        seat: Seat,
        state: JournalledDatabase,
        ending: Ending,
        say: Say,
        before_each: Callable[[], None] = lambda: None,
        hours: OpeningHours | None = None,
    ) -> None:
        self._custody = custody
        self._study: Study = custody.study
        self.link = link
        self._door = door
        self._seat = seat
        self._state = state
        self._ending = ending
        self._say = say
        self._before_each = before_each
        self._hours = hours or OpeningHours(None, say)
        self._download = Download(
            link,
            custody.study.digest,
            custody.study.coordinator_key,
            custody.spool,
            custody.patient_key,
            lambda error: say("trouble", **told(error)),
        )

    async def run(self, patience_s: float | None = None) -> None:
        """Take part until the run ends; raises `WardroundError` when it was stopped.

        Raises WR-SITE-210 where the run has ended here before, and the coordinator can't be
        reached within ``patience_s``; None for any other start, which waits as long as it takes.
        """
        try:
            async with asyncio.timeout(patience_s):
                await self._report_for_work()
        except TimeoutError as error:
            raise _unconfirmed() from error
        asked: Asked | None = None
        setbacks = 0
        while True:
            self._before_each()
            if asked is None:
                try:
                    asked = await self.link.next(self._seen)
                except WardroundError as error:  # an instruction that makes no sense, say
                    if not error.code.startswith("WR-ROUND"):
                        raise
                    self._say("trouble", **told(error))
                    await asyncio.sleep(min(setbacks, _LONGEST_PAUSE_S))
                    setbacks += 1
                continue
            ask, body = asked
            if ask.ask is Ask.STOP:
                raise WardroundError(
                    "WR-SITE-050",
                    f"The run was stopped by the coordinator: {printable(ask.reason or '')[:300]}",
                    "Nothing is lost at this hospital; ask the study's coordinator.",
                )
            try:
                answer = await self._answer(ask, body)
                self.link.hindrance = None
            except WardroundError as error:
                if error is self._door.stopped or not wants_room(error):
                    raise
                self._wait_for_room(ask, error)  # asked again, and answered when there is room
                answer = None
                await asyncio.sleep(min(setbacks, _LONGEST_PAUSE_S))
                setbacks += 1
            if answer is None:
                asked = None
                continue
            try:
                asked = await self._deliver(answer, repeat=ask.ask is Ask.FINISH)
                setbacks = 0
            except WardroundError as error:
                self._say("not-accepted", **told(error))
                if not error.code.startswith(_PUT_RIGHT_BY_ASKING):
                    raise
                asked = None
                if error.code != _LATE:
                    await asyncio.sleep(min(setbacks, _LONGEST_PAUSE_S))
                    setbacks += 1
                continue  # nor is a run over whose countersignature was not taken
            if ask.ask is Ask.FINISH and asked is None:
                self._seat.leave()
                self._door.carried.forget()
                await self._note_confirmed(ask)
                return

    def _wait_for_room(self, ask: Instruction, error: WardroundError) -> None:
        """Tell the hospital that its disk is full, and the coordinator as far as it may be said.

        It has one number for as long as it lasts, here and there, and is written down nowhere.
        """
        if self.link.hindrance is None:
            computed = ask.ask in (Ask.CONTRIBUTE, Ask.TRAIN) and self._door.computed
            self.link.hindrance = hindrance(self._study, computed=computed)
        told_outside = self.link.hindrance
        number = {} if told_outside is None else {"incident": told_outside.incident}
        self._say("trouble", **number, **told(error))

    async def _note_confirmed(self, ask: Instruction) -> None:
        """The end is done, and an agent that is started again need not ask for it any more."""
        counted = {"bytes_out": self.bytes_out, "bytes_in": self.link.bytes_in}

        async def noted() -> None:
            with self._state.transaction() as transaction:
                transaction.record(CONFIRMED, run=ask.run, **counted)

        await once_there_is_room(noted, lambda error: self._say("trouble", **told(error)))

    async def _report_for_work(self) -> None:
        if self._study.privacy is not None:
            report = await self.link.ledger_report()
            with self._state.database.begin() as connection:
                self._door.witnesses.check_report(connection, report)
        await self.link.send(Status(StatusKind.APPROVAL, self._custody.approval), self._seen)
        self._say("connected")

    async def _deliver(self, answer: Packet | Refusal | Status, *, repeat: bool) -> Asked | None:
        """Send an answer; the last one again until the run that it is for is open once more.

        If it was taken just before the coordinator was killed, nobody will ask for it again.
        """
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await self.link.send(answer, self._seen)
            except WardroundError as error:
                if not repeat or error.code != _NOT_OPEN:
                    raise
                self._say("not-accepted", **told(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    @property
    def bytes_out(self) -> int:
        """How many bytes of requests have been sent to the coordinator."""
        return self.link.bytes_out

    async def close(self) -> None:
        """Close the connection."""
        await self.link.close()

    @property
    def _seen(self) -> int:
        return self._door.seen.size if self._door.seen else 0

    async def _answer(self, ask: Instruction, body: memoryview) -> _Answer:
        try:
            return await self._carry_out(ask, body)
        except WardroundError as error:
            if wants_room(error) and error is not self._door.stopped:
                raise no_room(error.path) from error
            reason = error
        except Exception as error:
            if wants_room(error):
                raise no_room() from error
            reason = _upset(error)
        if reason is self._door.stopped:
            self._say("stopped", what=ask.ask.value, **told(reason))
            raise reason
        refusal = self._door.refuse(ask.run, ask.scope, reason)
        self._say("refused", what=ask.ask.value, **_incident(refusal), **told(reason))
        if ask.ask is Ask.FINISH:  # there is no round left that could go on without us
            raise reason
        return refusal

    async def _carry_out(self, ask: Instruction, body: memoryview) -> _Answer:
        if ask.batch == late_batch(ask.run):
            return await self._late(ask, body)
        match ask.ask:
            case Ask.ADVERTISE if not self._hours.is_open():
                # Whoever advertises is waited for; without, the others go on by themselves.
                await self._hours.wait()
                return None
            case Ask.ADVERTISE:
                return self._seat.advertise(ask)
            case Ask.CHOOSE:
                return self._seat.choose(ask)
            case Ask.DEAL:
                return self._seat.deal(ask)
            case Ask.CONTRIBUTE:
                return await self._contribute(ask, body)
            case Ask.VOTE:
                return self._seat.vote(ask)
            case Ask.RECOVER:
                return self._seat.recover(ask)
            case Ask.COMMIT:
                return self._seat.grouping.commit(ask)
            case Ask.REVEAL:
                return self._seat.grouping.reveal(ask)
            case Ask.SETTLE:
                return self._settle(ask)
            case Ask.AUDIT:
                return audit(self._custody, self._state, ask)
            case _:
                return self._finish(ask, body)

    async def _late(self, ask: Instruction, body: memoryview) -> _Answer:
        """What is asked in a stream: training at this site's own pace, and late cohorts."""
        late = self._seat.late
        match ask.ask:
            case Ask.TRAIN if not self._hours.is_open():
                await self._hours.wait()
                return None  # by then there may be a newer model: ask again
            case Ask.TRAIN:
                return await self._train(ask, body)
            case Ask.SIGN:
                return late.sign(ask)
            case Ask.SHARE:
                return late.share(ask)
            case Ask.CONTRIBUTE:
                return await self._contribute(ask, body)
            case Ask.VOTE:
                return late.vote(ask)
            case Ask.RECOVER:
                return late.recover(ask)
            case Ask.AUDIT:
                return audit(self._custody, self._state, ask)
            case _:
                raise malformed("instruction")

    async def _train(self, ask: Instruction, body: memoryview) -> Status | Refusal:
        """Train from the newest model, unless what is held is good yet; then say ready."""
        newest = self._version(ask)
        late = self._seat.late
        if not await self._door.still_good(newest):
            late.leave()
            model = await self._model(newest.model, ask.model_bytes, body)
            task = at_version(ask.task, newest, model)
            self._keep(newest.model, task, model)
            trained = await self._door.train(task, newest, ask.scope)
            if isinstance(trained, Refusal):
                reason = self._door.reason
                facts = {} if reason is None else told(reason)
                self._say("refused", what=ask.ask.value, **_incident(trained), **facts)
                return trained
            late.held = trained
            self._say("trained", version=newest.number)
        return late.say_ready(newest, ask.sequence)

    def _version(self, ask: Instruction) -> ModelVersion:
        """The version that the coordinator signed, of this study and stream."""
        if ask.version is None:
            raise malformed("instruction")
        version = ModelVersion.open(ask.version, self._study.coordinator_key)
        if (version.study, version.run) != (self._study.digest, ask.run):
            raise _another_round()
        return version

    async def _model(self, name: Digest, size: int, body: memoryview) -> bytes | memoryview:
        """A model that came along, or is fetched."""
        if size > MAXIMUM_MODEL_BYTES:
            raise malformed("instruction")
        return bytes(body) or await self._download.model(name, size)

    def _keep(self, name: Digest | None, task: Task, model: bytes | memoryview | None) -> None:
        """Remember a model that was fetched and checked: the next may come as a difference."""
        if name is not None and isinstance(model, memoryview) and task.model_digest == name:
            self._download.keep(name, model)

    def _settle(self, ask: Instruction) -> Status:
        """Accept the partition, and tell the hospital with whom it will be summed."""
        status = self._seat.grouping.accept(ask)
        partition = self._seat.grouping.partition()
        if partition is not None:
            group = partition.group_of(self._custody.site)
            self._say("group", of=len(partition.groups), sites=", ".join(group))
        return status

    async def _contribute(self, ask: Instruction, body: memoryview) -> Packet | Refusal | None:
        sent = self._door.already_sent(RoundId(ask.round or ""))
        if sent is not None:
            return sent
        if ask.version is None:
            if not self._hours.is_open():
                # The shares come with a set-up's first round only, and are for the others as well.
                self._seat.take_shares(ask, self._manifest(ask)[0])
                await self._hours.wait()
                return None
            order = await self._order(ask, body)
            self._seat.take_shares(ask, order.manifest)
        else:
            order = self._late_order(ask)
            self._seat.late.take_shares(ask, order.manifest)
        answer = await self._door.answer(order)
        if self._door.stopped is not None:
            raise self._door.stopped
        manifest = order.manifest
        if isinstance(answer, Refusal):
            reason = self._door.reason
            facts = {} if reason is None else told(reason)
            number = _incident(answer)
            self._say("refused", what=manifest.kind, step=manifest.step, **number, **facts)
        else:
            size = answer.header.size_bytes
            self._say("answered", what=manifest.kind, step=manifest.step, bytes=size)
        return answer

    async def _order(self, ask: Instruction, body: memoryview) -> Order:
        """The order that the coordinator signed; the model is fetched if it did not come along."""
        manifest, name = self._manifest(ask)
        model: bytes | memoryview | None = None
        if ask.model is not None:
            model = await self._model(ask.model, ask.model_bytes, body)
        task = Task.from_wire(ask.task, model)  # which checks the model's digest
        self._keep(ask.model, task, model)
        return Order(manifest, name, task, _proof(ask))

    def _late_order(self, ask: Instruction) -> Order:
        """The order to give what is held into a cohort; raises WR-SITE-133 when nothing is."""
        manifest, name = self._manifest(ask)
        held = self._seat.late.require_held()
        return Order(manifest, name, held.task, _proof(ask), Late(held, self._version(ask)))

    def _manifest(self, ask: Instruction) -> tuple[Manifest, Digest]:
        if ask.manifest is None:
            raise malformed("instruction")
        manifest = Manifest.open(ask.manifest, self._study.coordinator_key)
        if (manifest.round, manifest.batch, manifest.run) != (ask.round, ask.batch, ask.run):
            raise _another_round()
        return manifest, digest(ask.manifest.payload)

    def _finish(self, ask: Instruction, body: memoryview) -> Status:
        """Check and keep the model, and countersign the coordinator's last checkpoint."""
        head = self._signed_head(ask.documents)
        self._door.follow(head, tuple(bytes.fromhex(one) for one in ask.consistency))
        model = self._ending({**ask.documents, "run": ask.run}, bytes(body))
        with self._state.database.begin() as connection:
            answered, elsewhere = records.answered(connection, self._study.digest, ask.run)
        witness = Witness(
            study=self._study.digest,
            run=ask.run,
            site=self._custody.site,
            journal=head,
            model=model,
            answered=answered,
            elsewhere=elsewhere,
        )
        with self._state.transaction() as transaction:
            coordinator = self._study.coordinator.signing_key
            records.save_head(transaction.connection, coordinator, head)
            transaction.record(COUNTERSIGNED, run=ask.run, statement=witness.digest)
        self._say("finished")
        return Status(StatusKind.WITNESS, witness.sign(self._custody.key))

    def _signed_head(self, documents: Mapping[str, JSON]) -> JournalHead:
        """The journal's head, if it is under the coordinator's own signature.

        Whoever opens the line could else make one up that extends what was shown before: it would
        be countersigned and remembered, and the coordinator itself would never be believed again.
        """
        try:
            head = JournalHead.model_validate(documents.get("journal"))
        except ValidationError as error:
            raise malformed("instruction") from error
        try:
            signed = documents.get("checkpoint")
            envelope = Envelope.from_json(signed if isinstance(signed, Mapping) else b"")
            checkpoint = verify_checkpoint(envelope, self._study.coordinator_key)
        except WardroundError as error:
            raise _unsigned_ending() from error
        if (checkpoint.size, checkpoint.root.hex()) != (head.size, head.root):
            raise _unsigned_ending()
        return head


def _incident(refusal: Refusal) -> dict[str, str]:
    """The number under which the coordinator has this event too, for the hospital's log."""
    number = refusal.refused.incident
    return {} if number is None else {"incident": number}


def _unsigned_ending() -> WardroundError:
    return WardroundError(
        "WR-SITE-201",
        "The run is said to be over, under a journal that the coordinator did not sign.",
        "Nothing was taken over. Start the agent again; if it happens again, ask the coordinator's "
        "operator, and look for whoever opens the connection in between.",
    )


def _unconfirmed() -> WardroundError:
    return WardroundError(
        UNCONFIRMED,
        "The run is over here, but the coordinator can't be reached, to which the "
        "countersignature of its end may not have got.",
        "The model and the local report are in reports/. Start the agent again when the "
        "coordinator serves, or ask its operator whether the countersignature is there.",
    )


def _another_round() -> WardroundError:
    return WardroundError(
        "WR-SITE-014",
        "An instruction names another round than the manifest that came with it.",
        "The agent refuses; tell the study's coordinator.",
    )


def _proof(ask: Instruction) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(one) for one in ask.consistency)


def _upset(error: Exception) -> WardroundError:
    """What to say of an exception that nobody foresaw: its kind alone, as its text may quote data.

    It is not chained to the error either, which a log might print.
    """
    return WardroundError(
        "WR-SITE-052",
        f"An instruction could not be carried out ({type(error).__name__}); the text is withheld.",
        "The agent refuses and goes on. Report it: an instruction should be refused for a reason.",
    )
