"""One hospital's door for tests, with the other sites and a coordinator moved by hand.

The coordinator here may lie: every field of a manifest, a task or a proof is a test's to choose.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from private_federation import whole_windows
from ward import SECURE_SUM, SITES, custody, entries, plan
from wardround.errors import WardroundError
from wardround.federation.messages import Ask, Instruction, JournalHead, Manifest
from wardround.federation.packet import Packet, Refusal
from wardround.ids import BatchId, RoundId, RunId, SiteName
from wardround.learning.specify import check_task, specify
from wardround.sandbox import InlineWorker
from wardround.secagg import Member
from wardround.secagg.setup import setup_digest
from wardround.simulation.inprocess import ENTRY, Keys
from wardround.site import opened, tables
from wardround.site.door import Custody, Door
from wardround.site.order import Order
from wardround.site.outward import BEFORE_THE_RECORDS
from wardround.site.seat import Seat
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.study import Study, Task, sign_exclusions
from wardround.study.plan import headroom
from wardround.trust.canonical import JSON
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Entry, Journal, MemoryLeafStore

ME, *PEERS = SITES
RUN = RunId("run")


class Watched(InlineWorker):
    """A worker that tells what it was given and can be made to answer something else."""

    def __init__(self) -> None:
        super().__init__(ENTRY)
        self.records: list[int] = []
        self.calls: list[str] = []
        self.instead: Callable[[], np.ndarray] | None = None

    async def load(self, columns: Mapping[str, np.ndarray]) -> None:
        await self.start()
        self.records.append(len(next(iter(columns.values()))))
        await super().load(columns)

    async def call(self, request: Mapping[str, object], array: object = None) -> np.ndarray:
        self.calls.append(str(request["kind"]))
        if self.instead is not None:
            return self.instead()
        return await super().call(request, array)


class Bedside:
    """A door over a folder. ``paper`` changes what the hospital holds, before it is opened."""

    make_worker: Callable[[], Watched] = Watched

    def __init__(
        self,
        folder: Path,
        paper: Callable[[Bedside, Custody], Custody] = lambda _bedside, papers: papers,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hospital: object = SECURE_SUM,
        **changes: JSON,
    ) -> None:
        self.keys = Keys.generate(SITES)
        self.study: Study = self.keys.seal(plan(**changes))
        self.folder = folder
        papers = custody(self.study, ME, self.keys.sites[ME], folder, hospital=hospital)
        self.papers = paper(self, papers)
        self.now = now
        self.coordinator = Journal(MemoryLeafStore(), "coordinator")
        self.grow()
        self.check_task = check_task
        self.open()
        self.batch = BatchId("")
        self.batches = 0

    def open(self) -> None:
        """Start the agent's part over what the folder remembers; keys in memory are gone."""
        self.worker = self.make_worker()
        database = Database.file(self.folder / "state.db", tables.MIGRATIONS)
        self.state = JournalledDatabase(database, tables.journal, "here")
        self.seat = Seat(self.study, ME, self.keys.sites[ME], self.state)
        self.door = Door(self.papers, self.worker, self.seat, self.state, self.check_task, self.now)

    def restart(self) -> None:
        """As after a power cut."""
        self.state.close()
        self.open()

    def grow(self, by: int = 1) -> None:
        """The coordinator writes into its journal."""
        for _ in range(by):
            self.coordinator.record(Entry("something", {"size": self.coordinator.size}))

    @property
    def head(self) -> JournalHead:
        checkpoint = self.coordinator.checkpoint()
        return JournalHead(size=checkpoint.size, root=checkpoint.root.hex())

    def set_up(self, rounds: int = 4) -> None:
        """A set-up of all four sites, honestly carried."""
        self.batch = BatchId(f"batch-{self.batches}")
        self.batches += 1
        ask = Instruction(ask=Ask.ADVERTISE, run=RUN, batch=self.batch, pool=SITES, rounds=rounds)
        mine = self.seat.advertise(ask)
        self.members = {
            site: Member(
                self.study.digest,
                RUN,
                self.batch,
                SITES,
                site,
                self.keys.sites[site],
                self.study.site_keys,
                self.study.adversary,
                rounds,
            )
            for site in PEERS
        }
        self.adverts = {ME: mine.envelope}
        self.adverts |= {site: one.advert() for site, one in self.members.items()}
        dealt = self.seat.deal(self.ask(Ask.DEAL, envelopes=self.adverts))
        self.deals: dict[SiteName, Envelope] = {ME: dealt.envelope}
        sealed: dict[SiteName, Mapping[SiteName, bytes]] = {}
        for site, one in self.members.items():
            self.deals[site], sealed[site] = one.deal(self.adverts)
        self.to_me = {site: blobs[ME] for site, blobs in sealed.items()}
        mine_to = orjson.loads(dealt.attachment)
        for site, one in self.members.items():
            given = {peer: blobs[site] for peer, blobs in sealed.items() if peer != site}
            one.accept(self.deals, {**given, ME: base64.b64decode(mine_to[site])})

    def ask(self, what: Ask, **more: object) -> Instruction:
        return Instruction(ask=what, run=RUN, batch=self.batch, **more)

    def task(self, kind: str = "outcome_counts", **parameters: JSON) -> Task:
        if kind == "private_moments":
            parameters.setdefault("windows", whole_windows(self.study))
        return specify(self.study, kind, parameters)

    def manifest(self, task: Task, index: int = 0, step: int = 0, attempt: int = 0) -> Manifest:
        """What an honest coordinator would sign."""
        adversary = self.study.adversary(len(SITES))
        encoding = headroom(self.study, task, len(SITES)).encoding
        return Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=RUN,
            step=step,
            attempt=attempt,
            round=RoundId(f"round.{step}.{attempt}"),
            batch=self.batch,
            index=index,
            task=task.hash,
            kind=task.kind,
            model=task.model_digest,
            length=task.elements,
            ring_bits=task.ring_bits,
            fractional_bits=encoding.fractional_bits,
            roster=SITES,
            setup=setup_digest(self.adverts, self.deals),
            corrupt=adversary.corrupt,
            threshold=adversary.threshold,
            minimum_survivors=self.study.minimum_survivors(len(SITES)),
            journal=self.head,
        )

    def order(
        self,
        task: Task | None = None,
        index: int = 0,
        step: int = 0,
        attempt: int = 0,
        **changes: object,
    ) -> Order:
        """An order for the task; ``changes`` are lies in the manifest."""
        task = task or self.task()
        manifest = self.manifest(task, index, step, attempt).model_copy(update=changes)
        return Order(manifest, manifest.digest, task, self.proof())

    def proof(self) -> tuple[bytes, ...]:
        seen = self.door.seen
        if seen is None or seen.size >= self.coordinator.size:
            return ()
        return self.coordinator.prove_consistency(seen.size)

    def give_shares(self, order: Order) -> None:
        ask = self.ask(Ask.CONTRIBUTE, envelopes=self.deals, blobs=self.to_me)
        self.seat.take_shares(ask, order.manifest)

    async def ready(self) -> Bedside:
        """Set up and in possession of the shares: an honest order will be answered."""
        self.set_up()
        self.give_shares(self.order())
        return self

    async def answered(self, order: Order) -> Packet:
        """The packet; its charge, its journal leaf and its row are there."""
        answer = await self.door.answer(order)
        assert isinstance(answer, Packet), self.codes()
        return answer

    async def refused(self, order: Order) -> str:
        """The code of the refusal, after making sure that nothing left and nothing was charged."""
        before = (self.spent(), self.spooled(), len(self.leaves("packet")))
        refusals = len(self.leaves("refused"))
        answer = await self.door.answer(order)
        assert isinstance(answer, Refusal)
        assert (self.spent(), self.spooled(), len(self.leaves("packet"))) == before
        assert self.door.already_sent(RoundId(order.manifest.round)) is None or before[0]
        return self.heard(answer, refusals)

    def heard(self, answer: Refusal, refusals: int) -> str:
        """The outside hears `refused`, a number, and a cause that says nothing of the records."""
        said = orjson.loads(answer.envelope.payload)
        incident, cause = said.pop("incident"), said.pop("cause", None)
        assert said == {
            "study": self.study.digest,
            "run": answer.refused.run,
            "scope": answer.refused.scope,
            "site": ME,
            "answer": "refused",
        }
        (entry,) = self.leaves("refused")[refusals:]
        code = str(entry.facts["code"])
        assert entry.facts["incident"] == incident
        assert cause is None or cause == BEFORE_THE_RECORDS[code]
        assert code.encode() not in answer.envelope.to_json()
        return code

    def leaves(self, kind: str) -> list[Entry]:
        return [one for one in entries(self.state.database, tables.journal) if one.kind == kind]

    def codes(self) -> list[str]:
        return [str(entry.facts["code"]) for entry in self.leaves("refused")]

    def spent(self) -> int:
        with self.state.database.begin() as connection:
            return opened.spent(connection, self.study.digest)

    def spooled(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.papers.spool.iterdir())}

    def exclude(self, *patients: str) -> None:
        today = self.now().date()
        key = self.keys.sites[ME]
        envelope = sign_exclusions(self.study.id, ME, patients, key, today)
        self.papers.exclusions.write_bytes(envelope.to_json())

    def votes(
        self, order: Order, survivors: tuple[SiteName, ...] = SITES
    ) -> dict[SiteName, Envelope]:
        """The peers' votes; each masks first, as it must."""
        votes = {}
        for site in set(PEERS) & set(survivors):
            one = self.members[site]
            ring = np.zeros(order.manifest.length, np.uint64)
            round_ = order.manifest.round
            one.mask(order.manifest.index, order.manifest_digest, ring, round_id=round_)
            vote = one.vote(order.manifest.index, order.manifest_digest, survivors)
            votes[site] = vote.sign(self.keys.sites[site])
        return votes

    def vote_ask(self, order: Order, survivors: tuple[SiteName, ...] = SITES) -> Instruction:
        return self.ask(Ask.VOTE, round=order.manifest.round, survivors=survivors)

    def recover_ask(
        self,
        order: Order,
        votes: Mapping[SiteName, Envelope],
        survivors: tuple[SiteName, ...] = SITES,
    ) -> Instruction:
        return self.ask(
            Ask.RECOVER, round=order.manifest.round, survivors=survivors, envelopes=dict(votes)
        )


def code(call: Callable[[], object]) -> str | None:
    """The code with which a call is refused."""
    try:
        call()
    except WardroundError as error:
        return error.code
    return None
