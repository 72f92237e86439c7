"""One study's coordinator: its register of sites, its exchange, and who has been heard of."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from wardround.coordinator import ledgers, records, tables
from wardround.coordinator.asks import asks, instruction
from wardround.coordinator.changed import Changed
from wardround.coordinator.connecting import Connecting, Connections, Wanted
from wardround.coordinator.drawing import Drawing
from wardround.coordinator.enrolment import Enrolment, Peer, trust_domain
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.groups import Groups
from wardround.coordinator.history import History
from wardround.coordinator.intake import Intake
from wardround.coordinator.late_asks import late_asks, late_instruction
from wardround.coordinator.late_intake import LateIntake
from wardround.coordinator.presence import Presence
from wardround.coordinator.refusals import Refusals
from wardround.coordinator.rows import ABSENT_AFTER_S, Hindered
from wardround.coordinator.spool import Spool
from wardround.coordinator.streaming import Streaming
from wardround.coordinator.timeline import Timeline, timeline
from wardround.coordinator.traffic import MOST_UNWRITTEN_BYTES, Traffic
from wardround.errors import WardroundError
from wardround.federation.causes import Hindrance
from wardround.federation.messages import LedgerReport, Present, malformed, stream_run
from wardround.ids import RoundId, RunId, SiteName
from wardround.store import Blobs, Database
from wardround.store.journalled import JournalledDatabase
from wardround.store.room import no_room, wants_room
from wardround.study import Study, Task, refuse_if_incomplete
from wardround.trust.authority import AGENT_LIFETIME, CertificateAuthority
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey

TWIN_WITHIN_S = 2.0
"""An agent that asked this recently, or is waiting for work, is running: another is its twin."""

HINDRANCE_EVERY_S = 60.0
"""A site's own words fill nobody's log: so often at most it is told that one has to wait."""


class Coordinator:
    """What the routes act on. Everything durable is in ``state``, ``blobs`` and ``spool``."""

    def __init__(
        self,
        study: Study,
        key: SigningKey,
        authority: CertificateAuthority,
        folder: Path,
        *,
        database: Database | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        agent_lifetime: timedelta = AGENT_LIFETIME,
        inspected: frozenset[SiteName] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``inspected`` are the sites behind a proxy that takes the client certificate away."""
        refuse_if_incomplete(study)
        if key.public.text != study.coordinator.signing_key:
            raise WardroundError(
                "WR-COORD-002",
                "The study names another coordinator's signing key.",
                "Put this coordinator's key into the study before the hospitals sign it, or run "
                "the coordinator that it names.",
                path="coordinator.signing_key",
            )
        self.study = study
        self.key = key
        self.traffic = Traffic()
        self.state = JournalledDatabase(
            database or Database.file(folder / "state.db", tables.MIGRATIONS),
            tables.journal,
            f"wardround/{trust_domain(study)}/{study.id}",
            beside=self.traffic,
        )
        self.blobs = Blobs(folder / "blobs")
        self.spool = Spool(folder / "spool")
        self.enrolment = Enrolment(
            study, authority, self.state, now, lifetime=agent_lifetime, inspected=inspected
        )
        self.inspected = inspected
        self.refusals = Refusals(self.state, frozenset(study.site_keys), now)
        self.exchange: Exchange | None = None
        self.groups: Groups | None = None
        """In a study with groups: where its sums are opened; ``exchange`` then opens none."""
        self.stream: Streaming | None = None
        """While the algorithm asks for a stream: what the sites are served from."""
        self._late: LateIntake | None = None
        self._folder = folder
        self._intake: Intake | None = None
        self._now = now
        self._clock = clock
        self._heard: dict[SiteName, tuple[str, float]] = {}
        self._waiting: Counter[tuple[SiteName, str]] = Counter()
        self._hindered: dict[SiteName, Hindered] = {}
        self._hindered_told: dict[SiteName, float] = {}
        self.on_hindrance: Callable[[SiteName, Hindrance], None] = lambda _site, _said: None
        """Told when a site says that it has to wait."""
        self._changed = Changed()
        self._connections = Connections(None, now)
        """The wait for hospitals before a run is opened."""
        self._closing = False
        self._history = History()

    @property
    def state_name(self) -> str:
        """``waiting``, ``running`` or ``ended``, for health checks."""
        if self.exchange is None:
            return "waiting"
        return "running" if self.exchange.ending is None else "ended"

    def open_run(self) -> Exchange:
        """The exchange of the run that was interrupted, or of a new one.

        Where one is open it is given up and read anew, as after a restart.
        """
        with self.state.transaction() as transaction:
            run: RunId | None = records.running(transaction.connection)
            if run is None:
                run = _new_run()
                records.start_run(transaction.connection, run, self._now())
                transaction.record(
                    "run", run=run, study=self.study.digest, started=self._now().isoformat()
                )
            else:
                records.resume_run(transaction.connection, run, self._now())
                transaction.record("resumed", run=run, at=self._now().isoformat())
        return self._open(run)

    def latest_run(self) -> records.Run | None:
        """The run that was started last, if there was any."""
        with self.state.database.begin() as connection:
            return records.latest_run(connection)

    @property
    def steps_opened(self) -> int:
        """How many steps of the run that is open have their total, and are not repeated."""
        assert self.exchange is not None
        with self.state.database.begin() as connection:
            return records.steps_opened(connection, self.exchange.run)

    def reopen(self, run: RunId) -> Exchange:
        """The exchange of a run that has ended, for hospitals that have not heard so yet."""
        return self._open(run)

    def _open(self, run: RunId) -> Exchange:
        self.traffic.open_run(run)
        before = self.exchange
        if self._intake is not None:
            self._intake.close(no_room())
        if self.groups is not None:
            self.groups.close()
        self._serve_stream(None)
        self._sweep_spools(run)
        self.exchange = Exchange(
            self.study, self.key, self.state, self.blobs, self.spool, run, self._now, self._clock
        )
        self._intake = Intake(self.exchange)
        if self.study.cohort.groups is not None:
            drawing = Drawing(self.study, self.state, self._now)
            self.groups = Groups(self.exchange, self._intake, drawing, self._open_group)
        self._changed.wake_all()  # from here on they wait for the exchange
        if before is not None:
            before.changed.wake_all()
        return self.exchange

    def _sweep_spools(self, run: RunId) -> None:
        """Delete the payloads of rounds that are over, or of a run that is, wherever they lie."""
        with self.state.database.begin() as connection:

            def under_way(round_: RoundId) -> bool:
                found = records.find_round(connection, round_)
                mine = found is not None and f"{found.run}.".startswith(f"{run}.")
                return mine and found is not None and not found.over

            self.spool.sweep(under_way)
            for folder in self._folder.glob("spool-*"):  # of groups, maybe of an earlier partition
                Spool(folder).sweep(under_way)

    @property
    def runs(self) -> tuple[RunId, ...]:
        """Under which names the run's rounds go: its own, or one for each group."""
        assert self.exchange is not None
        return (self.exchange.run,) if self.groups is None else tuple(self.groups.cohorts)

    def _open_group(self, run: RunId, number: int) -> Exchange:
        """A group's own exchange; its payloads lie beside those of the other groups."""
        spool = Spool(self._folder / f"spool-g{number}")
        return Exchange(
            self.study, self.key, self.state, self.blobs, spool, run, self._now, self._clock
        )

    def open_stream(self, task: Task, number: int) -> Streaming:
        """The exchange of the run's stream of that number (from 0), as far as it has come."""
        assert self.exchange is not None
        streaming = Streaming(
            self.study,
            self.key,
            self.state,
            self.blobs,
            self.spool,
            stream_run(self.exchange.run, number),
            self._now,
            task,
            self._serve_stream,
        )
        streaming.changed = self.exchange.changed
        return streaming

    def _serve_stream(self, streaming: Streaming | None) -> None:
        if streaming is not self.stream:
            if self._late is not None:
                self._late.close()
            self.stream = streaming
            self._late = None if streaming is None else LateIntake(streaming)

    def approve(self, peer: Peer, envelope: Envelope) -> None:
        """Keep a hospital's approval and tell whoever waits for it.

        An agent hands it in whenever it starts, and has lost its keys then.
        """
        self.enrolment.approve(peer, envelope)
        if self.stream is not None:
            self.stream.on_restart(peer.site)
        self._changed.notify()

    async def wait_for_sites(
        self,
        least: int,
        timeout_s: float,
        tell: Callable[[Connecting], None] = lambda _wait: None,
    ) -> tuple[SiteName, ...]:
        """Wait until ``least`` approved sites are connected, or for this long.

        ``tell`` hears for whom, at the start and whenever it looks again.
        """
        deadline = time.monotonic() + timeout_s
        sites = self.study.site_names
        with self._connections:
            while len(self.present()) < least and (left := deadline - time.monotonic()) > 0:
                tell(self._connections.wait(Wanted.ALL, sites, self.present(), least, left))
                await self._changed.wait_for(min(left, 0.2))
        return self.present()

    def count(self, site: SiteName, bytes_in: int, bytes_out: int) -> None:
        """Count what a hospital sent and was sent, for what is under way."""
        self.traffic.count(self._scope_of(site), site, bytes_in, bytes_out)
        if self.traffic.unwritten_bytes >= MOST_UNWRITTEN_BYTES:
            self.write_traffic()

    def _scope_of(self, site: SiteName) -> str | None:
        exchange = self.exchange
        if exchange is None:
            return None
        if exchange.ending is None:
            if self.groups is not None and self.groups.exchanges:
                exchange = self.groups.exchange_of(site)
            elif self.stream is not None:
                exchange = self.stream
        return exchange.scope_of(site)

    def write_traffic(self) -> None:
        """Write the counts down by themselves; where there is no room, with what comes next."""
        if not self.traffic.pending:
            return
        try:
            with self.state.transaction():
                pass
        except WardroundError as error:
            if not wants_room(error):
                raise

    def exchange_for(self, peer: Peer) -> Exchange:
        """The running exchange of a site's group, for a site whose approval is at hand."""
        if peer.site not in self.enrolment.approved:
            raise WardroundError(
                "WR-COORD-035",
                f"The approval of {peer.site} is not at the coordinator.",
                "The hospital's steward approves the study with `wardround site approve`.",
            )
        if self.exchange is None:
            raise WardroundError(
                "WR-COORD-036", "No run is under way.", "Ask again when the run has started."
            )
        if self.stream is not None:
            return self.stream
        return self.exchange if self.groups is None else self.groups.exchange_of(peer.site)

    def take_leave(self, site: SiteName) -> None:
        """A hospital's agent knows that the run is over."""
        if self.exchange is not None:
            self.exchange.take_leave(site)

    def ledger_report(self, site: SiteName) -> LedgerReport:
        """What was last heard of a site's privacy ledger, for that site's start."""
        with self.state.database.begin() as connection:
            return ledgers.report(connection, site)

    def intake_for(self, peer: Peer) -> Intake | Groups:
        """Where the statements of an approved site are taken in."""
        if self.groups is not None and peer.site in self.enrolment.approved:
            return self.groups
        self.exchange_for(peer)
        assert self._intake is not None
        return self._late or self._intake

    def heard_of(self, site: SiteName, instance: str) -> None:
        """A request of a site's agent came in; a second agent beside it is refused."""
        now = time.monotonic()
        known, at = self._heard.get(site, (instance, now))
        if known != instance and (self._waiting[site, known] or now - at < TWIN_WITHIN_S):
            raise WardroundError(
                "WR-COORD-037",
                f"Two agents run with the identity of {site}.",
                "Stop one of them; if you know of only one, its keys were copied: tell the "
                "steward and the study's coordinator.",
            )
        self._heard[site] = (instance, now)

    @contextmanager
    def waiting(self, site: SiteName, instance: str) -> Iterator[None]:
        """An agent waits for work during this block: it is certainly running."""
        self._waiting[site, instance] += 1
        try:
            yield
        finally:
            self._waiting[site, instance] -= 1
            if not self._waiting[site, instance]:
                del self._waiting[site, instance]

    def present(self) -> tuple[SiteName, ...]:
        """The sites that have approved and been heard of lately."""
        now = time.monotonic()
        approved = self.enrolment.approved
        return tuple(
            site
            for site, (_, at) in sorted(self._heard.items())
            if site in approved and now - at < ABSENT_AFTER_S
        )

    def present_to(self, site: SiteName, nonce: str) -> Envelope:
        """This coordinator's word to a hospital that it is there; raises WR-ROUND-001."""
        try:
            said = Present(study=self.study.digest, site=site, nonce=nonce)
        except ValidationError as error:
            raise malformed("query") from error
        return said.sign(self.key)

    def heard_ages_s(self) -> dict[SiteName, float]:
        """How many seconds ago each agent was heard of; one that waits for work is heard of now."""
        now = time.monotonic()
        waiting = {site for site, _ in self._waiting}
        return {site: 0.0 if site in waiting else now - at for site, (_, at) in self._heard.items()}

    def hear_hindrance(self, site: SiteName, text: str) -> None:
        """What a poll of ``site`` says that it waits for at its own end, if anything.

        Whoever watches is told when it begins, and at most once a minute. It decides nothing and
        is written into no journal: a site that is late for whatever reason is late.
        """
        said = Hindrance.parse(text)
        before = self._hindered.get(site)
        if said is None:
            self._hindered.pop(site, None)
        elif before is None or before.hindrance != said:
            self._hindered[site] = Hindered(said, self._now())
            now = time.monotonic()
            if now - self._hindered_told.get(site, -HINDRANCE_EVERY_S) >= HINDRANCE_EVERY_S:
                self._hindered_told[site] = now
                self.on_hindrance(site, said)

    def presence(self) -> Presence:
        """Who was heard of when, who has to wait, and for whom is waited, as it is now."""
        exchanges = [] if self.exchange is None else [self.exchange]
        exchanges += [] if self.groups is None else self.groups.exchanges
        waits = [self._connections.current, *(one.connections.current for one in exchanges)]
        connecting = tuple(one for one in waits if one is not None)
        return Presence.of(self.heard_ages_s(), self._now(), self._hindered, connecting)

    def timeline(self, run: RunId | None = None) -> Timeline:
        """Where a run stands (by default the latest), from what is persisted."""
        presence = self.presence()
        with self.state.database.begin() as connection:
            rows = self._history.read(connection, presence, run)
        return timeline(rows, self.study, self._now())

    def instruction_now(self, site: SiteName, seen: int) -> bytes | None:
        """The site's next instruction, if there is one yet."""
        if self.exchange is None or site not in self.enrolment.approved:
            return None
        if self.groups is not None:
            return self.groups.instruction(site, seen)
        if self.stream is not None and self.exchange.ending is None:
            self.exchange.stopwatch.heard(site)
            return late_instruction(self.stream, site, seen)
        return instruction(self.exchange, site, seen)

    async def instruction(self, site: SiteName, seen: int, wait_s: float) -> bytes | None:
        """The site's next instruction, waited for up to ``wait_s`` seconds."""
        deadline = time.monotonic() + wait_s
        while (message := self.instruction_now(site, seen)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or self._closing:
                return None
            changed = self._changed if self.exchange is None else self.exchange.changed
            await changed.wait_until(site, lambda: self._asks(site), left)
        return message

    def _asks(self, site: SiteName) -> bool:
        """Whether there is an instruction for ``site``, without working it out."""
        if self.exchange is None or site not in self.enrolment.approved:
            return False
        if self.groups is not None:
            return self.groups.asks(site)
        if self.stream is not None and self.exchange.ending is None:
            return late_asks(self.stream, site)
        return asks(self.exchange, site)

    def send_home(self) -> None:
        """Answer everyone who waits, at once and from now on: the server is about to stop."""
        self._closing = True
        self._changed.wake_all()
        if self.exchange is not None:
            self.exchange.changed.wake_all()

    def close(self) -> None:
        """Let go of the database."""
        if self._intake is not None:
            self._intake.close()
            self.spool.clear()
        if self._late is not None:
            self._late.close()
        if self.groups is not None:
            self.groups.close()
        self.refusals.close()
        self.write_traffic()
        self.state.close()


def _new_run() -> RunId:
    """A name for a run that sorts by time and can't be guessed."""
    return RunId(f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}")
