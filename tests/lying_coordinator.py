"""A coordinator that lies, against honest hospitals with the real agent, seat, door and database.

It holds the coordinator's signing key, carries all messages, and colludes with some of the sites:
what they draw, are dealt and hold is its own. Every `ask` is answered by an honest site with a
statement, or refused, and then the reason is read in that hospital's own journal. `openable` says
which sums over honest hospitals it could compute from everything that it ever got: after whatever
it tried, that is the one agreed set, or none.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from secagg import reference
from ward import SECURE_SUM, custody, entries, plan
from wardround.federation.messages import Ask, Instruction, JournalHead, Manifest
from wardround.federation.packet import Packet, Refusal, Status, StatusKind
from wardround.ids import BatchId, Digest, RoundId, RunId, SiteName
from wardround.learning.specify import check_task, specify
from wardround.sandbox import InlineWorker
from wardround.secagg import (
    Advert,
    FixedPoint,
    Member,
    RecoveryShares,
    SurvivorVote,
    adverts_digest,
    setup_digest,
)
from wardround.secagg.derive import Batch, private_key
from wardround.secagg.sealing import Route
from wardround.simulation.inprocess import ENTRY, Keys
from wardround.site import tables
from wardround.site.agent import Agent
from wardround.site.door import Door
from wardround.site.link import Asked
from wardround.site.outward import BEFORE_THE_RECORDS
from wardround.site.seat import Seat
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.study import HospitalPolicy, Study, Task
from wardround.trust.canonical import JSON
from wardround.trust.dsse import Envelope
from wardround.trust.journal import Entry, Journal, MemoryLeafStore
from wardround.trust.keys import SigningKey

FOUR = tuple(SiteName(name) for name in ("harbour", "lakeside", "north-general", "st-anna"))
SEVEN = tuple(sorted((*FOUR, *(SiteName(name) for name in ("ash", "birch", "cedar")))))
RUN = RunId("run")
Answer = Packet | Status | str
"""What an honest site answers; a refusal is the code in its journal."""


class _Line:
    """A site's link, whose other end is the test."""

    bytes_out = 0

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Asked] = asyncio.Queue()
        self.said: asyncio.Queue[Packet | Refusal | Status] = asyncio.Queue()

    async def next(self, _seen: int) -> Asked:
        return await self.asked.get()

    async def send(self, item: Packet | Refusal | Status, _seen: int) -> None:
        if not (isinstance(item, Status) and item.kind is StatusKind.APPROVAL):
            self.said.put_nowait(item)


class _Overheard(InlineWorker):
    """Tells the test, and nobody else, what was computed."""

    last: np.ndarray | None = None

    async def load(self, columns: Mapping[str, np.ndarray]) -> None:
        await self.start()
        await super().load(columns)

    async def call(self, request: Mapping[str, object], array: object = None) -> np.ndarray:
        self.last = await super().call(request, array)
        return self.last


class HonestSite:
    """A hospital's agent over a folder of its own."""

    def __init__(
        self, study: Study, site: SiteName, key: SigningKey, folder: Path, hospital: HospitalPolicy
    ) -> None:
        self.study, self.site, self.key, self.folder = study, site, key, folder
        self.papers = custody(study, site, key, folder, hospital=hospital)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start over what the folder remembers; keys in memory are gone."""
        self.worker = _Overheard(ENTRY)
        database = Database.file(self.folder / "state.db", tables.MIGRATIONS)
        self.state = JournalledDatabase(database, tables.journal, self.site)
        self.seat = Seat(self.study, self.site, self.key, self.state)
        self.door = Door(self.papers, self.worker, self.seat, self.state, check_task)
        self._line = _Line()
        agent = Agent(
            self.papers,
            self._line,  # type: ignore[arg-type]
            self.door,
            self.seat,
            self.state,
            lambda _documents, _model: None,
            lambda _event, **_facts: None,
        )
        self._task = asyncio.create_task(agent.run())

    async def stop(self) -> None:
        """End as when the power goes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self.state.close()

    async def restart(self) -> None:
        await self.stop()
        self.start()

    def snapshot(self) -> bytes:
        """The database as it is now."""
        copy = self.folder / "copy.db"
        now = sqlite3.connect(self.folder / "state.db")
        with closing(now), closing(sqlite3.connect(copy)) as then:
            now.backup(then)
        content = copy.read_bytes()
        copy.unlink()
        return content

    async def roll_back(self, snapshot: bytes) -> None:
        """The machine comes back as it was when the snapshot was taken."""
        await self.stop()
        for path in self.folder.glob("state.db*"):
            path.unlink()
        shutil.rmtree(self.papers.spool)
        self.papers.spool.mkdir()
        (self.folder / "state.db").write_bytes(snapshot)
        self.start()

    def journal(self, kind: str) -> list[Entry]:
        return [one for one in entries(self.state.database, tables.journal) if one.kind == kind]

    async def ask(self, instruction: Instruction, body: bytes = b"") -> Answer:
        """Its answer; of a refusal the outside hears nothing but that it is one."""
        before = len(self.journal("refused"))
        self._line.asked.put_nowait((instruction, memoryview(body)))
        answered = asyncio.ensure_future(self._line.said.get())
        assert self._task is not None
        await asyncio.wait({answered, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            answered.cancel()
            self._task.result()
        answer = await answered
        refusals = self.journal("refused")[before:]
        if not isinstance(answer, Refusal):
            assert refusals == []
            return answer
        (entry,) = refusals
        code = str(entry.facts["code"])
        said = orjson.loads(answer.envelope.payload)
        assert said["answer"] == "refused" and said.keys() <= {
            *("study", "run", "scope", "site", "answer", "incident", "cause")
        }
        assert said.get("cause") in (None, BEFORE_THE_RECORDS.get(code))
        return code


@dataclass
class SetUp:
    """One batch, as the coordinator got it."""

    batch: BatchId
    pool: tuple[SiteName, ...]
    rounds: int
    members: dict[SiteName, Member]
    """The colluders'."""
    drawn: dict[SiteName, list[bytes]]
    adverts: dict[SiteName, Envelope] = field(default_factory=dict)
    deals: dict[SiteName, Envelope] = field(default_factory=dict)
    sealed: dict[SiteName, dict[SiteName, bytes]] = field(default_factory=dict)

    def sealed_to(self, site: SiteName) -> dict[SiteName, bytes]:
        return {peer: blobs[site] for peer, blobs in self.sealed.items() if site in blobs}

    @property
    def roster(self) -> tuple[SiteName, ...]:
        return tuple(sorted(self.adverts))


@dataclass
class Known:
    """What was got in one round of one batch: packets by manifest, and shares by dealer."""

    packets: dict[Digest, dict[SiteName, np.ndarray]] = field(default_factory=dict)
    masking: dict[SiteName, dict[int, int]] = field(default_factory=dict)
    self_masks: dict[SiteName, dict[int, int]] = field(default_factory=dict)


class LyingCoordinator:
    """Build it with `lying`. The first ``colluding`` sites are its own."""

    def __init__(
        self,
        folder: Path,
        sites: tuple[SiteName, ...],
        colluding: int,
        hospital: HospitalPolicy,
        **changes: JSON,
    ) -> None:
        self.keys = Keys.generate(sites)
        self.study = self.keys.seal(plan(**changes))
        self.sites = tuple(sorted(sites))
        self.colluders = self.sites[:colluding]
        self.honest = {
            site: HonestSite(self.study, site, self.keys.sites[site], folder / site, hospital)
            for site in self.sites[colluding:]
        }
        self.journal = Journal(MemoryLeafStore(), "coordinator")
        self.journal.record(Entry("something", {}))
        self.known: dict[tuple[BatchId, int], Known] = {}
        self._setups: dict[BatchId, SetUp] = {}
        self._batches = itertools.count()

    # What it asks

    def ask(self, what: Ask, batch: BatchId, **more: object) -> Instruction:
        return Instruction(ask=what, run=RUN, batch=batch, **more)

    async def advertise(
        self,
        pool: Sequence[SiteName] | None = None,
        rounds: int = 4,
        batch: BatchId | None = None,
    ) -> tuple[SetUp, dict[SiteName, Answer]]:
        """Invite ``pool``; those of its own always come."""
        pool = tuple(sorted(pool or self.sites))
        batch = batch or BatchId(f"batch-{next(self._batches)}")
        setup = SetUp(batch, pool, rounds, {}, {})
        self._setups[batch] = setup
        for site in set(self.colluders) & set(pool):
            setup.drawn[site] = []
            setup.members[site] = self._colluder(setup, site)
            setup.adverts[site] = setup.members[site].advert()
        ask = self.ask(Ask.ADVERTISE, batch, pool=pool, rounds=rounds)
        answers = {}
        for site in set(self.honest) & set(pool):
            answers[site] = await self.honest[site].ask(ask)
            if isinstance(answer := answers[site], Status):
                setup.adverts[site] = answer.envelope
        return setup, answers

    async def deal(
        self, setup: SetUp, shown: Callable[[SiteName], Mapping[SiteName, Envelope]] | None = None
    ) -> dict[SiteName, Answer]:
        """Have everyone deal to the roster, or each site to the one that it is ``shown``."""
        for site, member in setup.members.items():
            setup.deals[site], setup.sealed[site] = member.deal(setup.adverts)
        answers = {}
        for site in set(self.honest) & set(setup.adverts):
            view = shown(site) if shown else setup.adverts
            answers[site] = await self.honest[site].ask(
                self.ask(Ask.DEAL, setup.batch, envelopes=dict(view))
            )
            if isinstance(answer := answers[site], Status):
                setup.deals[site] = answer.envelope
                blobs = orjson.loads(answer.attachment)
                setup.sealed[site] = {SiteName(p): base64.b64decode(b) for p, b in blobs.items()}
        for site, member in setup.members.items():
            if not shown:
                member.accept(setup.deals, setup.sealed_to(site))
        return answers

    async def set_up(
        self, pool: Sequence[SiteName] | None = None, batch: BatchId | None = None
    ) -> SetUp:
        """An honest set-up."""
        setup, _ = await self.advertise(pool, batch=batch)
        await self.deal(setup)
        return setup

    def task(self, kind: str = "outcome_counts", model: object = None, **choices: JSON) -> Task:
        return specify(self.study, kind, choices, model)  # type: ignore[arg-type]

    def manifest(
        self,
        setup: SetUp,
        task: Task,
        /,
        index: int = 0,
        step: int = 0,
        attempt: int = 0,
        **lies: object,
    ) -> Manifest:
        """What an honest coordinator would sign, but for the lies."""
        roster = setup.roster
        adversary = self.study.adversary(len(roster))
        checkpoint = self.journal.checkpoint()
        honest = Manifest(
            study=self.study.digest,
            study_id=self.study.id,
            run=RUN,
            step=step,
            attempt=attempt,
            round=RoundId(f"round.{setup.batch}.{step}.{attempt}"),
            batch=setup.batch,
            index=index,
            task=task.hash,
            kind=task.kind,
            model=task.model_digest,
            length=task.length,
            ring_bits=task.ring_bits,
            fractional_bits=FixedPoint.fit(task.bound, len(roster), task.ring_bits).fractional_bits,
            roster=roster,
            setup=setup_digest(setup.adverts, setup.deals),
            corrupt=adversary.corrupt,
            threshold=adversary.threshold,
            minimum_survivors=self.study.minimum_survivors(len(roster)),
            journal=JournalHead(size=checkpoint.size, root=checkpoint.root.hex()),
        )
        return honest.model_copy(update=lies)

    async def contribute(
        self, site: SiteName, setup: SetUp, task: Task, manifest: Manifest, /, **lies: object
    ) -> Answer:
        """Ask for a packet. What comes is remembered as a packet under this manifest."""
        head: dict[str, object] = {
            "round": manifest.round,
            "manifest": manifest.sign(self.keys.coordinator),
            "task": task.to_wire(),
            "envelopes": setup.deals,
            "blobs": setup.sealed_to(site),
        }
        body = b""
        if task.model is not None:
            body = task.model.tobytes()
            head |= {"model": task.model_digest, "model_bytes": len(body)}
        ask = self.ask(Ask.CONTRIBUTE, setup.batch, **(head | lies))
        answer = await self.honest[site].ask(ask, body)
        if isinstance(answer, Packet):
            ring = np.frombuffer(answer.payload.read_bytes(), np.uint64)
            known = self._known(setup.batch, manifest.index)
            known.packets.setdefault(answer.header.manifest, {})[site] = ring
        return answer

    async def collect(
        self, setup: SetUp, task: Task, manifest: Manifest, sites: Iterable[SiteName] | None = None
    ) -> dict[SiteName, Answer]:
        """Ask every honest site of the roster (or those) for its packet."""
        asked = sorted(set(sites or setup.roster) & set(self.honest))
        return {site: await self.contribute(site, setup, task, manifest) for site in asked}

    async def vote(
        self, site: SiteName, manifest: Manifest, survivors: Sequence[SiteName]
    ) -> Answer:
        """Ask an honest site to sign a set of survivors."""
        ask = self.ask(Ask.VOTE, BatchId(manifest.batch), round=manifest.round, survivors=survivors)
        return await self.honest[site].ask(ask)

    def false_vote(
        self, site: SiteName, manifest: Manifest, survivors: Sequence[SiteName]
    ) -> Envelope:
        """A colluder signs whatever it is told."""
        vote = SurvivorVote(
            study=self.study.digest,
            run=RUN,
            batch=BatchId(manifest.batch),
            round=RoundId(manifest.round),
            index=manifest.index,
            manifest=manifest.digest,
            survivors=tuple(sorted(survivors)),
            site=site,
        )
        return vote.sign(self.keys.sites[site])

    async def votes(
        self,
        manifest: Manifest,
        survivors: Sequence[SiteName],
        honest: Iterable[SiteName] | None = None,
    ) -> dict[SiteName, Envelope]:
        """All votes that it gets for a set: its own sites', and those of ``honest`` who sign."""
        chosen = set(survivors)
        votes = {
            site: self.false_vote(site, manifest, survivors)
            for site in chosen & set(self.colluders)
        }
        for site in sorted(chosen & set(self.honest if honest is None else honest)):
            answer = await self.vote(site, manifest, survivors)
            if isinstance(answer, Status):
                votes[site] = answer.envelope
        return votes

    async def recover(
        self,
        site: SiteName,
        manifest: Manifest,
        survivors: Sequence[SiteName],
        votes: Mapping[SiteName, Envelope],
    ) -> Answer:
        """Ask an honest site for its shares."""
        answer = await self.honest[site].ask(
            self.ask(
                Ask.RECOVER,
                BatchId(manifest.batch),
                round=manifest.round,
                survivors=survivors,
                envelopes=dict(votes),
            )
        )
        if isinstance(answer, Status):
            shares = RecoveryShares.from_wire(orjson.loads(answer.envelope.payload))
            setup = self._setups[BatchId(manifest.batch)]
            number = setup.roster.index(site) + 1
            known = self._known(setup.batch, manifest.index)
            for kind, given in (
                (known.masking, shares.masking_shares),
                (known.self_masks, shares.self_mask_shares),
            ):
                for dealer, share in given.items():
                    kind.setdefault(dealer, {})[number] = int.from_bytes(share, "big")
        return answer

    async def whole_round(
        self,
        setup: SetUp,
        task: Task,
        manifest: Manifest,
        survivors: Sequence[SiteName] | None = None,
    ) -> dict[SiteName, Envelope]:
        """A round to its end, over all or over ``survivors``; gives the votes."""
        survivors = tuple(sorted(survivors or setup.roster))
        await self.collect(setup, task, manifest, survivors)
        votes = await self.votes(manifest, survivors)
        for site in sorted(set(survivors) & set(self.honest)):
            assert isinstance(await self.recover(site, manifest, survivors, votes), Status)
        return votes

    # What it can make of what it got

    def openable(self, setup: SetUp, manifest: Manifest) -> set[frozenset[SiteName]]:
        """The sets of honest sites over whose packets under this manifest it can open a sum."""
        known, mine = self._known(setup.batch, manifest.index), self._held(setup, manifest.index)
        packets = known.packets.get(manifest.digest, {})
        honest = set(setup.roster) & set(self.honest)
        threshold = self.study.adversary(len(setup.roster)).threshold
        bare = {s for s in packets if len(known.self_masks.get(s, {}) | mine[1][s]) >= threshold}
        told = {s for s in honest if len(known.masking.get(s, {}) | mine[0][s]) >= threshold}
        return {
            frozenset(chosen)
            for size in range(1, len(bare) + 1)
            for chosen in itertools.combinations(sorted(bare), size)
            if all(one in told or other in told for one in chosen for other in honest - {*chosen})
        }

    def open(self, setup: SetUp, manifest: Manifest, chosen: Iterable[SiteName]) -> list[int]:
        """The sum over some honest sites, from all it got; the set must be `openable`."""
        chosen = sorted(chosen)
        known, mine = self._known(setup.batch, manifest.index), self._held(setup, manifest.index)
        names = reference.Names(self.study.digest, RUN, setup.batch)
        threshold = self.study.adversary(len(setup.roster)).threshold
        public = {
            site: Advert.open(one, self.keys.sites[site].public).masking_keys[manifest.index]
            for site, one in setup.adverts.items()
        }

        def secret(kind: int, site: SiteName) -> bytes | None:
            if site in setup.drawn:
                return setup.drawn[site][1 + 2 * manifest.index + kind]
            got = (known.masking, known.self_masks)[kind].get(site, {}) | mine[kind][site]
            few = dict(sorted(got.items())[:threshold])
            return reference.secret_of(few) if len(few) == threshold else None

        masks: list[tuple[int, bytes]] = []
        for site in chosen:
            own = secret(1, site)
            assert own is not None
            args = (manifest.index, manifest.digest)
            masks.append((-1, names.self_mask_key(own, *args, site)))
            for other in set(setup.roster) - set(chosen):
                one, private = other, secret(0, other)
                if private is None:
                    one, private = site, secret(0, site)
                assert private is not None
                peer = site if one == other else other
                key = names.pair_mask_key(private, *args, (one, public[one]), (peer, public[peer]))
                masks.append((-1 if site < other else 1, key))
        packets = known.packets[manifest.digest]
        columns = zip(*(packets[site] for site in chosen), strict=True)
        total = [sum(int(word) for word in column) for column in columns]
        return reference.combined(total, masks, 64)[: manifest.length]  # without its lanes

    def truth(self, task: Task, roster: int, chosen: Iterable[SiteName]) -> list[int]:
        """The sum that only the hospitals know."""
        encoding = FixedPoint.fit(task.bound, roster, task.ring_bits)
        total = np.zeros(task.length, np.uint64)
        for site in chosen:
            value = self.honest[site].worker.last
            assert value is not None
            total += encoding.encode(value)
        return [int(word) for word in total]

    # Its own sites

    def _colluder(self, setup: SetUp, site: SiteName) -> Member:
        def overheard(size: int) -> bytes:
            setup.drawn[site].append(secrets.token_bytes(size))
            return setup.drawn[site][-1]

        return Member(
            self.study.digest,
            RUN,
            setup.batch,
            setup.pool,
            site,
            self.keys.sites[site],
            self.study.site_keys,
            self.study.adversary,
            setup.rounds,
            random_bytes=overheard,
        )

    def _held(
        self, setup: SetUp, index: int
    ) -> tuple[dict[SiteName, dict[int, int]], dict[SiteName, dict[int, int]]]:
        """Both kinds of shares that its own sites hold of every honest one: under no oath."""
        batch = Batch(self.study.digest, RUN, setup.batch)
        seen = adverts_digest(setup.adverts)
        masking: dict[SiteName, dict[int, int]] = {site: {} for site in setup.roster}
        self_masks: dict[SiteName, dict[int, int]] = {site: {} for site in setup.roster}
        for me in setup.members:
            number = setup.roster.index(me) + 1
            mine = private_key(setup.drawn[me][0])
            for dealer, blob in setup.sealed_to(me).items():
                if dealer not in self.honest:
                    continue
                theirs = Advert.open(setup.adverts[dealer], self.keys.sites[dealer].public)
                shares = Route(batch, seen, dealer, me).unseal(
                    mine, theirs.sealing_key, blob, 2 * setup.rounds
                )
                masking[dealer][number] = int.from_bytes(shares[2 * index], "big")
                self_masks[dealer][number] = int.from_bytes(shares[2 * index + 1], "big")
        return masking, self_masks

    def _known(self, batch: BatchId, index: int) -> Known:
        return self.known.setdefault((batch, index), Known())


@asynccontextmanager
async def lying(
    folder: Path,
    sites: tuple[SiteName, ...] = FOUR,
    colluding: int = 1,
    hospital: HospitalPolicy = SECURE_SUM,
    **changes: JSON,
) -> AsyncIterator[LyingCoordinator]:
    """A coordinator whose honest sites run."""
    coordinator = LyingCoordinator(folder, sites, colluding, hospital, **changes)
    for site in coordinator.honest.values():
        site.start()
    try:
        yield coordinator
    finally:
        for site in coordinator.honest.values():
            await site.stop()
