"""A run of a few hospitals in one process, whose parties may die and are started again.

The services are the real ones: routes, driver, publishing, agents, doors, ledgers; only TLS is
stood in for. Each party keeps its state in a folder of files. Who dies loses its memory, its keys
and its connections at once, and the next life finds what its disk still holds.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx
from sqlalchemy import Connection

from faults.disk import Loss
from faults.points import Hooks, Killed, Party
from ward import custody, plan, table
from wardround.coordinator import coordinator as coordinator_module
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.http import create_app
from wardround.coordinator.results import Published
from wardround.coordinator.serve import drive
from wardround.errors import WardroundError
from wardround.ids import Digest, SiteName
from wardround.sandbox import InlineWorker
from wardround.simulation.inprocess import ENTRY, Certified, Keys
from wardround.site import tables as site_tables
from wardround.site.assemble import assemble
from wardround.site.ended import Part, to_the_end
from wardround.site.home import SiteHome
from wardround.site.local import Figures, keep_model, kept_model, write_local_report
from wardround.site.serve import OWN_COMPUTATIONS
from wardround.store import Database
from wardround.store.room import wants_room
from wardround.study import HospitalPolicy, Profile, Study
from wardround.trust.authority import make_csr
from wardround.trust.canonical import JSON
from wardround.trust.identity import SpiffeId
from wardround.trust.keys import SigningKey

SITES = tuple(SiteName(name) for name in ("harbour", "lakeside", "st-anna"))
SIX = (*SITES, *(SiteName(name) for name in ("tower", "valley", "west-side")))
FOUR = SIX[:4]
COORDINATOR = "coordinator"
PATIENCE_S = 120.0
"""A run that takes longer is stuck; most take less than a second."""

POLICY = HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM, Profile.PRIVATE))


@dataclass
class Cast:
    """Everything that stands before a run: study, keys, papers and folders, to be copied."""

    folder: Path
    study: Study
    keys: Keys
    agents: dict[SiteName, tuple[SigningKey, bytes, SpiffeId]]

    @property
    def sites(self) -> tuple[SiteName, ...]:
        """The hospitals."""
        return self.study.site_names


def prepare(folder: Path, sites: tuple[SiteName, ...] = SITES, **changes: JSON) -> Cast:
    """A sealed study, its hospitals enrolled; ``changes`` replace the study's keys."""
    keys = Keys.generate(sites)
    study = keys.seal(plan(**changes))
    home = folder / COORDINATOR
    (home / "results").mkdir(parents=True)
    (home / "coordinator.toml").write_text('url = "https://localhost"\n', "utf-8")
    coordinator = Coordinator(study, keys.coordinator, keys.authority, home)
    agents = {}
    for site in sites:
        (folder / site).mkdir()
        key = SigningKey.generate()
        enrolment = coordinator.enrolment
        certificate = enrolment.enrol(site, enrolment.invite(site), make_csr(key))
        agents[site] = key, certificate, enrolment.identity(site)
    coordinator.close()
    return Cast(folder, study, keys, agents)


class _Line(httpx.AsyncBaseTransport):
    """A hospital's way to the coordinator, as both live now."""

    def __init__(self, trial: Trial, site: SiteName) -> None:
        self._trial = trial
        self._site = site

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trial, site = self._trial, self._site
        app = trial.app
        if app is None or trial.parties[COORDINATOR].dead:
            raise httpx.ConnectError("nobody listens")
        await trial.disturb(site, request)
        _, certificate, _ = trial.cast.agents[site]
        transport = httpx.ASGITransport(Certified(app, certificate), raise_app_exceptions=False)
        call = asyncio.create_task(transport.handle_async_request(request))
        trial.calls.add(call)
        call.add_done_callback(trial.calls.discard)
        try:
            await asyncio.wait({call})
        finally:
            call.cancel()
        broken = call.cancelled() or call.exception() is not None or app is not trial.app
        if broken or trial.parties[COORDINATOR].dead:
            raise httpx.ReadError("the connection broke")
        return call.result()


def home_of(study: Study, site: SiteName, folder: Path) -> SiteHome:
    """As much of a hospital's folder as its end and its own report need."""
    return SimpleNamespace(
        name=site,
        study=study,
        reports=folder / "reports",
        mapping=SimpleNamespace(sources=()),
        records=SimpleNamespace(findings=()),
    )


@dataclass
class _Site:
    task: asyncio.Task[None]
    database: Database
    client: httpx.AsyncClient


@dataclass
class Trial:
    """One run in ``folder``; see `run`."""

    cast: Cast
    folder: Path
    disturb: Callable[[SiteName, httpx.Request], object] = None  # type: ignore[assignment]
    said: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    calls: set[asyncio.Task[httpx.Response]] = field(default_factory=set)
    app: object | None = None
    deaths: int = 0
    late: frozenset[SiteName] = frozenset()
    """Who is started only when the coordinator has ended for lack of hospitals."""
    together: frozenset[str] = frozenset()
    """Who loses their power when anybody in this trial does."""
    worker_of: Callable[[SiteName], InlineWorker] = lambda _site: InlineWorker(ENTRY)
    """Makes the worker of a site's agent, at each of its starts."""

    def __post_init__(self) -> None:
        if self.disturb is None:
            self.disturb = _undisturbed
        self._died = asyncio.Event()
        self.parties = {name: Party(name, self.folder / name) for name in self.names}
        for party in self.parties.values():
            party.on_death = self._note_death
        self._sites: dict[SiteName, _Site] = {}
        self.coordinator: Coordinator | None = None
        shutil.copytree(self.cast.folder, self.folder)
        self.custodies = {
            site: custody(
                self.cast.study,
                site,
                self.cast.keys.sites[site],
                self.folder / site,
                records=table(site),
                hospital=POLICY,
            )
            for site in self.cast.sites
        }

    @property
    def names(self) -> tuple[str, ...]:
        """All parties."""
        return COORDINATOR, *self.cast.sites

    async def run(self) -> None:
        """From the first connection to the published result; whoever dies is started again."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_ignore_killed)
        self._loop = loop
        with Hooks(*self.parties.values()).installed(), _impatient():
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._supervise()
            finally:
                for name in self.parties:
                    await self._end(name)

    async def _supervise(self) -> None:
        for name in self.parties:
            if name not in self.late:
                await self._start(name)
        while True:
            died = asyncio.ensure_future(self._died.wait())
            tasks = {self._driving, *(one.task for one in self._sites.values())}
            running = {task for task in tasks if not task.done()}
            await asyncio.wait({died, *running}, return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            self._died.clear()
            for name, party in self.parties.items():
                if party.dead:
                    await self._end(name)
                    party.live_again()
                    await self._start(name)
            for one in self._sites.values():
                if one.task.done() and not isinstance(one.task.exception(), Killed):
                    one.task.result()
            if self._driving.done() and not self._driving.cancelled():
                reason = self._driving.exception()
                if isinstance(reason, Killed):
                    continue
                if isinstance(reason, WardroundError) and reason.code == "WR-ROUND-004":
                    await self._end(COORDINATOR)
                    for name in (COORDINATOR, *self.late):  # as a service manager does
                        await self._start(name)
                    self.late = frozenset()
                    continue
                self._driving.result()
                if all(one.task.done() for one in self._sites.values()):
                    return

    async def _start(self, name: str) -> None:
        while True:
            try:
                if name == COORDINATOR:
                    self._start_coordinator()
                else:
                    await self._start_site(SiteName(name))
            except Killed:
                pass  # in the first moment of its life; the supervisor sees it
            except WardroundError as error:
                if not wants_room(error):
                    raise
                continue  # a service manager starts it again
            return

    def _start_coordinator(self) -> None:
        self._driving: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        cast, folder = self.cast, self.folder / COORDINATOR
        self.coordinator = Coordinator(
            cast.study, cast.keys.coordinator, cast.keys.authority, folder
        )
        self.app = create_app(self.coordinator)
        home = CoordinatorHome(folder)
        self._driving = asyncio.create_task(
            drive(
                home, self.coordinator, lambda event, facts: self.said.append((event, facts)), 1.0
            )
        )

    async def _start_site(self, site: SiteName) -> None:
        cast, folder = self.cast, self.folder / site
        worker = self.worker_of(site)
        await worker.start()
        database = Database.file(folder / "state.db", site_tables.MIGRATIONS)
        key, _, identity = cast.agents[site]
        client = httpx.AsyncClient(transport=_Line(self, site), base_url="https://localhost")

        home = home_of(cast.study, site, folder)

        def ending(documents: Mapping[str, JSON], model: bytes) -> Digest:
            return keep_model(home, cast.study, documents, model)

        agent = assemble(
            self.custodies[site],
            client,
            key,
            identity,
            worker,
            database,
            ending,
            lambda event, /, **facts: self.said.append((event, {"site": site, **facts})),
        )

        async def take_part(patience_s: float | None) -> Part:
            await agent.run(patience_s)
            return Part(agent.bytes_out, agent.link.bytes_in)

        async def report(part: Part) -> None:
            own = InlineWorker(OWN_COMPUTATIONS)
            limits = await own.start()
            figures = Figures(part.bytes_out, 0, part.bytes_in)
            records = self.custodies[site].table
            await write_local_report(home, records, kept_model(home), own, limits, figures)

        def say(event: str, /, **facts: object) -> None:
            self.said.append((event, {"site": site, **facts}))

        life = to_the_end(home, database, take_part, report, say)
        self._sites[site] = _Site(asyncio.create_task(life), database, client)

    async def _end(self, name: str) -> None:
        """Tear a party down without letting it do anything any more."""
        if name == COORDINATOR:
            self.app = None
            for call in (calls := set(self.calls)):
                call.cancel()
            if calls:
                await asyncio.wait(calls)
            self._driving.cancel()
            await asyncio.wait({self._driving})
            if self.coordinator is not None:
                _close_for_good(self.coordinator.state.database)
            self.coordinator = None
        elif (site := self._sites.get(SiteName(name))) is not None:
            site.task.cancel()
            await asyncio.wait({site.task})
            _close_for_good(site.database)
            del self._sites[SiteName(name)]

    def _note_death(self) -> None:
        self.deaths += 1
        for name in self.together:
            self.parties[name].die()  # once only: a dead one does not die again
        self._loop.call_soon_threadsafe(self._died.set)


def _close_for_good(database: Database) -> None:
    """Also for the dead party's timers and threads, which would open it once more."""

    def killed() -> Connection:
        raise Killed

    database.close()
    database._connection = killed  # type: ignore[method-assign]


async def _undisturbed(_site: SiteName, _request: httpx.Request) -> None:
    return None


@contextmanager
def _impatient() -> Iterator[None]:
    """A site that is started again at once is no twin of the one that has just died."""
    old = coordinator_module.TWIN_WITHIN_S
    coordinator_module.TWIN_WITHIN_S = 0.0
    try:
        yield
    finally:
        coordinator_module.TWIN_WITHIN_S = old


def _ignore_killed(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


__all__ = [
    "COORDINATOR",
    "FOUR",
    "SITES",
    "SIX",
    "Cast",
    "Loss",
    "Trial",
    "WardroundError",
    "prepare",
]
