"""The driver: it runs a study's algorithm over the exchange, and carries on after a restart.

The algorithm is an ordinary coroutine. Its steps are numbered and bound to their task's hash; a
finished step's total is stored, so after a restart the coroutine is replayed to where it stood,
and a task that differs from the recorded one stops the run.

A site that certainly dealt or sent false shares (`secagg.blame`) is journalled as a culprit and
left out of every further set-up under this study, in this run and in later ones. False shares that
may be either side's doing are journalled as suspicions, with all names, and leave nobody out: a
corrupt site could otherwise push out honest ones. Either way, when shares that were given did not
open a total, the step is lost, since the hospitals answer a task only once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wardround.coordinator import audit, records
from wardround.coordinator.connecting import Connecting, Wanted, names
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.live_stream import LiveStream
from wardround.coordinator.muster import Again, Muster, Pool
from wardround.coordinator.opening import Garbage, Suspects, open_total, payload_lost
from wardround.coordinator.streaming import Streaming
from wardround.errors import WardroundError
from wardround.federation.federation import Total
from wardround.federation.messages import Manifest, PacketHeader
from wardround.federation.round import Round, RoundPhase
from wardround.federation.setup import SetupPhase
from wardround.ids import Digest, RoundId, SiteName
from wardround.secagg import Adversary, Advert, RecoveryShares
from wardround.secagg.blame import culprits, is_dealer_guilty
from wardround.secagg.encoding import RingArray
from wardround.secagg.headroom import Headroom
from wardround.store.journalled import Transaction
from wardround.study import Study, Task
from wardround.study.checks import not_asynchronous
from wardround.study.plan import headroom, noise_deviation

PATIENCE_S = 2.0
"""How long the first helpers may take before every survivor is asked for recovery shares."""

_LOOK_S = 0.2
"""How often to look whether enough hospitals have connected."""

Say = Callable[[str, dict[str, str | int | float]], None]


class Driver:
    """The coordinator's `Federation`: every `sum` is a round, or as many as it takes.

    ``present`` names the sites that may be asked: approved, and heard of lately. ``open_stream``
    opens what serves the sites during a stream, of which there is one at a time. ``deadline_s``
    is the study's, unless another one holds; ``step`` is the first one's number.
    """

    def __init__(
        self,
        exchange: Exchange,
        present: Callable[[], tuple[SiteName, ...]],
        say: Say = lambda _event, _facts: None,
        open_stream: Callable[[Task, int], Streaming] | None = None,
        *,
        deadline_s: float | None = None,
        step: int = 0,
    ) -> None:
        self.exchange = exchange
        self._present = present
        self._muster = Muster(exchange, present)
        self._say = say
        self._step = step
        self._streams = 0
        self.replays = False
        """Whether the total that was given last had been stored before."""
        self._sums: Driver = self
        """Who gives the totals now: this one, or that of a stream's cohorts."""
        self._open_stream = open_stream
        self._deadline_s = deadline_s or exchange.study.cohort.deadline_s
        self._closing = self._muster.closing if deadline_s is None else None
        self._asked_again: set[tuple[RoundId, SiteName]] = set()
        exchange.on_refusal = self._on_refusal
        exchange.connections.on_begin = self._on_wait
        self._adverts: tuple[str | None, dict[SiteName, Advert]] = (None, {})
        self._culprits = {
            SiteName(str(one.facts["site"]))
            for one in exchange.state.journal.entries()
            if one.kind == "culprit" and one.facts["study"] == self.study.digest
        }

    @property
    def study(self) -> Study:
        """The signed agreement that this run keeps."""
        return self.exchange.study

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on.

        Not what it said before a restart already, when the last total it was given is a stored one.
        """
        if not self._sums.replays:
            self._say(event, facts)

    def _on_refusal(self, site: SiteName, told: dict[str, str]) -> None:
        """What a hospital let be said; its own log has the reason under the incident's number."""
        self._say("refusal", {"site": site, **told})

    def _on_wait(self, wait: Connecting) -> None:
        """Hospitals are missing without whom the run can't go on."""
        self._say("waiting", wait.facts)

    async def sum(self, task: Task) -> Total:
        """The total of ``task`` over the survivors of a round; see `Federation.sum`."""
        step = self._step
        self._step += 1
        self._sums = self
        recorded = self.recorded(task, step)
        if recorded is not None:
            return recorded
        audit.stop_at_garbage(self.exchange, step)
        for attempt in range(self._next_attempt(step), self.study.cohort.attempts):
            if not self._in_flight(step):
                over = await self._same_again(task, step) if attempt else None
                whole = await self._set_up(task.kind, over)
                self.exchange.start_round(task, step, attempt, whole=whole)
            total = await self.conduct(task, step)
            if total is not None:
                return total
            audit.stop_at_garbage(self.exchange, step)
        reason = self.exchange.round.state.reason if self.exchange.round else None
        raise WardroundError(
            "WR-ROUND-002",
            f"Step {step} ({task.kind}) got no total in {self.study.cohort.attempts} attempts: "
            f"{reason}.",
            "See which hospitals were missing in the journal; start another run when enough of "
            "them are connected.",
        )

    def stream(self, task: Task) -> LiveStream:
        """Totals of ``task`` over whoever is ready; see `Federation.stream`."""
        number = self._streams
        self._streams += 1
        if self._open_stream is None or self.study.cohort.asynchronous is None:
            raise not_asynchronous()
        streaming = self._open_stream(task, number)
        deadline_s = self.study.cohort.asynchronous.sum_deadline_s
        rounds = Driver(streaming, self._present, self._say, deadline_s=deadline_s)
        self._sums = rounds
        return LiveStream(streaming, rounds, task)

    def recorded(self, task: Task, step: int) -> Total | None:
        """The total that ``task`` has got at ``step`` already, read from what was stored."""
        exchange = self.exchange
        with exchange.state.database.begin() as connection:
            opened = records.load_total(connection, exchange.run, step)
        self.replays = opened is not None
        if opened is None:
            if self._in_flight(step):
                self._same_task(exchange.manifest.task if exchange.manifest else None, task, step)
                exchange.restore_model(task)
            return None
        self._same_task(opened.task, task, step)
        exchange.restore_model(task)
        data = exchange.blobs.get(opened.total)
        ring: RingArray = (
            np.frombuffer(data, np.uint64)
            if task.ring_bits == 64
            else np.frombuffer(data, np.uint32)
        )
        with exchange.state.database.begin() as connection:
            round_, manifest = records.load_round(connection, opened.round)
        encoding = self._headroom(task, manifest).encoding
        return self._total(task, manifest, encoding.decode(ring), round_.survivors)

    def _headroom(self, task: Task, manifest: Manifest) -> Headroom:
        return headroom(self.study, task, len(manifest.roster), len(self.exchange.sites))

    def _total(
        self,
        task: Task,
        manifest: Manifest,
        values: NDArray[np.float64],
        survivors: tuple[SiteName, ...],
    ) -> Total:
        sizes = len(survivors), len(manifest.roster), len(self.exchange.sites)
        noise = noise_deviation(self.study, task.kind, *sizes)
        return Total(values, survivors, RoundId(manifest.round), noise=noise)

    @staticmethod
    def _same_task(recorded: Digest | None, task: Task, step: int) -> None:
        if recorded != task.hash:
            raise WardroundError(
                "WR-ROUND-003",
                f"Step {step} asked for another task when this run was here before.",
                "The program or the study was changed in mid-run: go back to the version that "
                "started the run, or start a new run.",
            )

    def _in_flight(self, step: int) -> bool:
        latest = self.exchange.round
        return latest is not None and latest.state.step == step and not latest.state.over

    def _next_attempt(self, step: int) -> int:
        latest = self.exchange.round
        if latest is None or latest.state.step != step:
            return 0
        return latest.state.attempt + (1 if latest.state.over else 0)

    async def _same_again(self, task: Task, step: int) -> tuple[SiteName, ...] | None:
        """Over whom alone a step is to be repeated: some have closed it for everybody else.

        They are waited for, as long as for any answer, where the others are too few. None when
        whoever is there shall do: those who have closed it will refuse.
        """
        exchange, clock = self.exchange, self.exchange.stopwatch.clock
        before = self._muster.closed(task, step)
        if before is None:
            return None
        closing = self._ceiling(clock())
        with exchange.connections:
            while (again := self._muster.whole_again(before, self._culprits)) is Again.LATER:
                if (left := closing - clock()) <= 0:
                    return None
                there = self._muster.there(before.packets, self._culprits)
                needed = len(before.packets)
                exchange.connections.wait(Wanted.SAME, before.packets, there, needed, left)
                await exchange.changed.wait_for(min(left, _LOOK_S))
        return before.survivors if again is Again.NOW else None

    async def _set_up(self, kind: str, over: tuple[SiteName, ...] | None) -> bool:
        """Have a usable batch: the current one, or a fresh one among those who take part.

        ``kind`` is that of the task to come, by which some may be faster than others. With ``over``
        the batch is to be among these and nobody else; returns whether it is.
        """
        exchange, muster = self.exchange, self._muster
        setup = exchange.setup
        if muster.serves(self._culprits):
            assert setup is not None
            if over in (None, setup.state.roster):
                return over is not None
        pool = muster.pool(self._culprits, kind) if over is None else Pool(over)
        last = self.study.cohort.attempts - 1
        for attempt in range(last + 1):
            if setup is None or setup.state.phase in (SetupPhase.READY, SetupPhase.FAILED):
                if len(pool.sites) < self._least:
                    pool = await self._gather(kind)
                whole = over is not None
                exchange.start_setup(pool.sites, pool.turns, pool.why, whole=whole)
            closing = muster.setup_closing if attempt < last else self._ceiling
            for phase in (SetupPhase.ADVERTISE, SetupPhase.CHOOSE, SetupPhase.DEAL):
                await self._settle(partial(self._setup_past, phase), closing)
            setup = exchange.setup
            assert setup is not None
            if setup.state.phase is SetupPhase.READY and over in (None, setup.state.roster):
                return over is not None
            willing = self._without_culprits(setup.state.willing)
            if over is None:
                pool = Pool(willing, tuple(site for site in setup.state.turns if site in willing))
            elif attempt == last - 1 or not muster.are_there(over, self._culprits):
                over, pool = None, muster.pool(self._culprits, kind)
            missing = names(setup.state.lacked)
            self._say("setup-repeated", {"left": len(willing), **_named("missing", missing)})
        raise WardroundError(
            "WR-ROUND-005",
            f"No set-up of masking keys was completed in {self.study.cohort.attempts} attempts.",
            "Some hospitals answer but do not finish: look at their agents' logs.",
        )

    @property
    def _least(self) -> int:
        return self.exchange.minimum_survivors(len(self.exchange.sites))

    async def _gather(self, kind: str) -> Pool:
        """Whom to ask, as soon as they are enough; waited for as long as for any answer.

        A hospital whose agent is being started again has no keys for the set-up that it left, and
        may not be connected yet: no reason to end a run.
        """
        exchange, clock = self.exchange, self.exchange.stopwatch.clock
        closing = self._ceiling(clock())
        with exchange.connections:
            while len((pool := self._muster.pool(self._culprits, kind)).sites) < self._least:
                left = closing - clock()
                if len(self._without_culprits(exchange.sites)) < self._least:
                    raise WardroundError(
                        "WR-COORD-083",
                        "Too few hospitals are left that have sent no false shares.",
                        "See in the journal who is a culprit; the others need a new study.",
                    )
                if left <= 0:
                    raise WardroundError(
                        "WR-ROUND-004",
                        f"{len(pool.sites)} hospitals are connected, too few for this study.",
                        "When more agents are connected, start `wardround coordinator serve` "
                        "again: the run goes on.",
                    )
                sites = self._without_culprits(exchange.sites)
                exchange.connections.wait(Wanted.ENOUGH, sites, pool.sites, self._least, left)
                await exchange.changed.wait_for(min(left, _LOOK_S))
        return pool

    def _without_culprits(self, sites: tuple[SiteName, ...]) -> tuple[SiteName, ...]:
        return tuple(site for site in sites if site not in self._culprits)

    def _blame(self, transaction: Transaction, culprits: Iterable[SiteName], round_: str) -> None:
        """Journal who is left out from now on, and be the first to do so."""
        for site in sorted(set(culprits) - self._culprits):
            transaction.record("culprit", study=self.study.digest, site=site, round=round_)
            self._culprits.add(site)
            self._say("culprit", {"site": site})

    @property
    def culprits(self) -> frozenset[SiteName]:
        """Who is left out of every further sum of the study."""
        return frozenset(self._culprits)

    def _can_blame(self) -> bool:
        """The numbers that convict are those of all pairs; a sparse graph has too few holders."""
        return not self.exchange.sparse

    def _setup_past(self, phase: SetupPhase) -> bool:
        assert self.exchange.setup is not None
        return self.exchange.setup.state.phase is not phase

    def _past(self, phase: RoundPhase) -> bool:
        return self._phase() is not phase

    def _phase(self) -> RoundPhase:
        assert self.exchange.round is not None
        return self.exchange.round.state.phase

    def _has_payloads(self) -> bool:
        """Whether what the power took since it was accepted has been sent again, or never is."""
        assert self.exchange.round is not None
        state = self.exchange.round.state
        return state.phase is not RoundPhase.OPENING or self.exchange.lost <= state.refused

    async def conduct(self, task: Task, step: int) -> Total | None:
        """See the round in flight through; None when it failed."""
        await self._settle(partial(self._past, RoundPhase.COLLECT), self._closing)
        for phase in (RoundPhase.VOTE, RoundPhase.RECOVER):
            await self._settle(partial(self._past, phase))
        while self._phase() is RoundPhase.OPENING:
            await self._settle(self._has_payloads)
            total = await self._open(task, step)
            if total is not None:
                return total
            await self._settle(lambda: self._phase() is not RoundPhase.RECOVER)
        if self._phase() is RoundPhase.AUDIT:
            await self._settle(partial(audit.answered, self.exchange))
            await audit.conclude(self.exchange)
        latest = self.exchange.round
        assert latest is not None
        self.exchange.spool.drop(latest.state.round)
        self.exchange.spool.clear()
        missing = _named("missing", names(latest.state.lacked))
        reason = latest.state.reason or ""
        self._say("round-failed", {"step": step, "reason": reason, **missing})
        return None

    async def _open(self, task: Task, step: int) -> Total | None:
        exchange = self.exchange
        exchange.flush()
        assert exchange.round is not None and exchange.manifest is not None
        state, manifest = exchange.round.state, exchange.manifest
        adversary = Adversary(len(manifest.roster), manifest.corrupt, manifest.threshold)
        room = self._headroom(task, manifest)
        more = state.on_bad_shares(len(state.shares) - state.threshold + 1)
        if not exchange.graph().can_open(state.shares):  # nobody's fault: too few came yet
            with exchange.state.transaction() as transaction:
                exchange.round = records.replace_round(transaction.connection, exchange.round, more)
            exchange.changed.notify()
            return None
        try:
            ring, suspects = await self._add_up(state, room)
        except Garbage as garbage:
            audit.begin(exchange, garbage)
            return None
        except WardroundError as error:
            if error.code == "WR-COORD-012" and self._asks_again(state):
                return None
            if not error.code.startswith("WR-SECAGG"):
                raise
            with exchange.state.transaction() as transaction:
                named = error.path if error.code == "WR-SECAGG-017" else None
                transaction.record(
                    "bad-shares",
                    round=state.round,
                    code=error.code,
                    dealer=named,
                    helpers=sorted(state.shares),
                )
                blamed = self._can_blame() and is_dealer_guilty(len(state.shares), adversary)
                if named is not None and blamed:
                    self._blame(transaction, [SiteName(named)], state.round)
                exchange.round = records.replace_round(transaction.connection, exchange.round, more)
            exchange.changed.notify()
            return None
        # Packets are dropped next and the hospitals have closed the task: it is the only copy.
        stored = asyncio.to_thread(partial(exchange.blobs.put, ring.data, durable=True))
        values, name = await asyncio.gather(asyncio.to_thread(room.encoding.decode, ring), stored)
        with exchange.state.transaction() as transaction:
            connection = transaction.connection
            opened = records.Opened(task.hash, state.round, name)
            records.save_total(connection, exchange.run, step, opened)
            transaction.record("total", round=state.round, total=name, opened=task.numbers)
            if suspects and self._can_blame():
                transaction.record("suspects", round=state.round, helpers=dict(suspects.items()))
                false = culprits(suspects, state.survivors, len(state.shares), adversary)
                self._blame(transaction, false, state.round)
            exchange.round = records.replace_round(connection, exchange.round, state.on_opened())
            seconds = records.round_lasted_s(connection, state.round)
        exchange.spool.drop(state.round)
        exchange.changed.notify()
        self._say(
            "round",
            {
                "step": step,
                "kind": task.kind,
                "survivors": len(state.survivors),
                "roster": len(state.roster),
                "seconds": seconds,
            },
        )
        return self._total(task, manifest, values, state.survivors)

    async def _add_up(self, state: Round, room: Headroom) -> tuple[RingArray, Suspects]:
        """Open the total; what is garbage is added up once more.

        It is the same sum of the same packets, so nothing more is opened, and a fault of this
        machine's memory that passes does not cost the hospitals a task.
        """
        try:
            return await asyncio.to_thread(self._open_ring, state, room)
        except Garbage:
            self._say("added-again", {"step": state.step})
            return await asyncio.to_thread(self._open_ring, state, room)

    def _open_ring(self, state: Round, room: Headroom) -> tuple[RingArray, Suspects]:
        exchange = self.exchange
        assert exchange.manifest is not None
        keys = exchange.keys
        scope = exchange.keys_scope
        if self._adverts[0] != scope:
            adverts = {
                site: Advert.open(sent.envelope, keys[site])
                for site, sent in exchange.said(scope, "advert").items()
            }
            self._adverts = scope, adverts
        self._require_payloads(state)
        shares = {
            site: RecoveryShares.open(sent.envelope, keys[site])
            for site, sent in exchange.said(state.round, "shares").items()
        }
        return open_total(
            exchange.manifest,
            exchange.manifest_digest(),
            state.survivors,
            self._adverts[1],
            shares,
            exchange.spool,
            room,
            exchange.graph(),
        )

    def _require_payloads(self, state: Round) -> None:
        """Every payload is still the one that its site signed.

        What arrived since this process started was hashed as it came. What lay there already may
        have lost bytes with the power, and a sum over it would be wrong without a word.
        """
        exchange = self.exchange
        for site, sent in exchange.said(state.round, "packet").items():
            header = PacketHeader.from_payload(sent.envelope.payload)
            found = exchange.spool.payload_digest(RoundId(state.round), site, header.size_bytes)
            if site in state.survivors and found != header.payload:
                raise payload_lost()

    def _asks_again(self, state: Round) -> bool:
        """Have what is gone from the disk sent again, once by each site; False if nothing is."""
        exchange = self.exchange
        gone = []
        for site, sent in exchange.said(state.round, "packet").items():
            header = PacketHeader.from_payload(sent.envelope.payload)
            round_ = RoundId(state.round)
            found = exchange.spool.digest_on_disk(round_, site, header.size_bytes)
            if site in state.survivors and found != header.payload:
                gone.append((round_, site))
        if not gone or self._asked_again & {*gone}:
            return False
        self._asked_again |= {*gone}
        for _, site in gone:
            exchange.lose(site)
        return True

    def _ceiling(self, began: float) -> float:
        """When nobody is waited for any more, whoever it is."""
        return began + self._deadline_s

    async def _settle(
        self, done: Callable[[], bool], closing: Callable[[float], float] | None = None
    ) -> None:
        """Wait until ``done``; when the deadline passes first, say so to the state.

        ``closing`` says when that is, given when it began, and is asked again at every change;
        left out, it is the ceiling. After a part of that time everyone is asked for what
        so far only some were asked.
        """
        clock = self.exchange.stopwatch.clock
        began = clock()
        patience = began + min(PATIENCE_S, self._deadline_s / 4)
        while not done():
            now = clock()
            deadline = (closing or self._ceiling)(began)
            if now >= deadline:
                self.exchange.flush()
                if not done():
                    self.exchange.deadline_passed()
                return
            if now >= patience:
                self.exchange.ask_everyone()
                patience = self._ceiling(began)
            await self.exchange.changed.wait_for(min(patience, deadline) - now)


def _named(name: str, value: str) -> dict[str, str]:
    """A fact, or none where it says nothing."""
    return {name: value} if value else {}
