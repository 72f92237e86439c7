"""A coordinator and its hospitals for tests: the real services, in process or over HTTPS.

State is in files, so that any of them can be killed and started again; every site's line to the
coordinator can be listened to and cut.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import uvicorn

from studies import document
from wardround.clinical.quarantine import Quarantine
from wardround.clinical.table import FeatureTable
from wardround.coordinator import tables as coordinator_tables
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Driver
from wardround.coordinator.http import create_app
from wardround.coordinator.server import server
from wardround.errors import WardroundError
from wardround.federation.messages import Enrolling, unframe
from wardround.ids import Digest, SiteName
from wardround.learning.specify import specify
from wardround.sandbox import InlineWorker
from wardround.simulation.inprocess import ENTRY, Certified, Keys
from wardround.site import tables as site_tables
from wardround.site.agent import Agent
from wardround.site.assemble import assemble
from wardround.site.door import Custody
from wardround.site.link import https_client
from wardround.store import Database
from wardround.study import HospitalPolicy, Profile, Study, Task, approve, sign_exclusions
from wardround.trust.authority import CertificateAuthority, certificate_digest, make_csr
from wardround.trust.canonical import JSON, digest
from wardround.trust.journal import Entry, Journal
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context

SITES = tuple(SiteName(name) for name in ("harbour", "lakeside", "north-general", "st-anna"))
TODAY = datetime.now(UTC).date()


def plan(**changes: JSON) -> dict[str, JSON]:
    """A study as plain values, without the parties; ``changes`` replace top-level keys."""
    plain = document(**{"disclosure": {"opened_numbers": 100_000}, **changes})
    return {key: value for key, value in plain.items() if key not in ("coordinator", "sites")}


def policy(**changes: object) -> HospitalPolicy:
    """A hospital that takes part in secure sums."""
    return HospitalPolicy(**{"accepted_profiles": (Profile.SECURE_SUM,), **changes})


SECURE_SUM = policy()


def table(site: str, records: int = 60, seed: int = 2) -> FeatureTable:
    """Invented measurements with a real relation to the outcome.

    With this seed every site has a few of each outcome in either part, so that none refuses.
    """
    draw = np.random.default_rng([seed, *site.encode()])
    radius = np.clip(draw.normal(14.0, 3.5, records), 2.0, 60.0)
    texture = np.clip(draw.normal(19.0, 4.0, records), 1.0, 90.0)
    score = 0.5 * (radius - 14.0) + 0.2 * (texture - 19.0)
    malignant = (draw.random(records) < 1 / (1 + np.exp(-score))).astype(np.float64)
    columns = {"radius_mean": radius, "texture_mean": texture, "malignant": malignant}
    ids = tuple(f"{site}-{number}" for number in range(records))
    return FeatureTable(ids, columns, (), Quarantine())


def custody(
    study: Study,
    site: SiteName,
    key: SigningKey,
    folder: Path,
    *,
    records: FeatureTable | None = None,
    hospital: HospitalPolicy = SECURE_SUM,
    today: date = TODAY,
) -> Custody:
    """A hospital's papers, all in order."""
    spool = folder / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    exclusions = folder / "exclusions.json"
    exclusions.write_bytes(sign_exclusions(study.id, site, (), key, today).to_json())
    return Custody(
        study=study,
        site=site,
        key=key,
        approval=approve(study, site, key, today),
        exclusions=exclusions,
        hospital=hospital,
        table=records or table(site),
        patient_key=bytes(32),
        spool=spool,
    )


@dataclass
class Line(httpx.AsyncBaseTransport):
    """A site's way to the coordinator. ``spoken`` is what went over it: kind and body.

    ``before`` and ``after`` see each kind of message (``advert``, ``packet``, ``part``, …) before
    it goes out and after it was answered; they may raise, or block as a dead machine does.
    """

    transport: Callable[[], httpx.AsyncBaseTransport]
    spoken: list[tuple[str, bytes]] = field(default_factory=list)
    before: Callable[[str], object] = lambda _kind: None
    after: Callable[[str], object] = lambda _kind: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        kind = kind_of(request, body)
        await _maybe(self.before(kind))
        self.spoken.append((kind, body))
        answer = await self.transport().handle_async_request(request)
        await answer.aread()
        await _maybe(self.after(kind))
        return answer

    def kinds(self) -> list[str]:
        """What was sent, but for the polling."""
        return [kind for kind, _ in self.spoken if kind != "next"]

    def die_before(self, *kinds: str) -> None:
        """From this kind of message on the machine is dead: nothing goes out any more."""
        self.before = self._stage(kinds)

    def die_after(self, *kinds: str) -> None:
        """The machine dies when this kind of message has been answered."""
        self.after = self._stage(kinds)

    @staticmethod
    def _stage(kinds: tuple[str, ...]) -> Callable[[str], object]:
        dead = False

        def stage(kind: str) -> object:
            nonlocal dead
            dead = dead or kind in kinds
            return asyncio.Event().wait() if dead else None

        return stage


async def _maybe(result: object) -> None:
    if asyncio.iscoroutine(result):
        await result


def kind_of(request: httpx.Request, body: bytes) -> str:
    """``next``, ``approval``, ``part``, ``parts``, or the kind of an answer."""
    path = request.url.path
    if path == "/v1/answers":
        return str(unframe(body)[0]["kind"])
    if "/parts/" in path:
        return "part"
    return path.rsplit("/", 1)[1]


@dataclass
class Hospital:
    """One site of the ward: its folder, its line, and its agent while it runs."""

    custody: Custody
    folder: Path
    agent_key: SigningKey
    certificate: bytes
    line: Line
    client: Callable[[], httpx.AsyncClient]
    identity: object
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    endings: list[tuple[Mapping[str, JSON], bytes]] = field(default_factory=list)
    agent: Agent | None = None
    task: asyncio.Task[None] | None = None
    worker: InlineWorker = field(default_factory=lambda: InlineWorker(ENTRY))
    database: Database | None = None

    async def start(self) -> None:
        """Start the agent over whatever the folder remembers."""
        await self.worker.start()
        self.database = Database.file(self.folder / "state.db", site_tables.MIGRATIONS)
        self.agent = assemble(
            self.custody,
            self.client(),
            self.agent_key,
            self.identity,
            self.worker,
            self.database,
            self._ending,
            lambda event, /, **facts: self.events.append((event, facts)),
            certificate=None
            if self.custody.hospital.network.inspecting_proxy_ca is None
            else certificate_digest(self.certificate),
        )
        self.task = asyncio.create_task(self.agent.run(), name=f"agent {self.custody.site}")

    async def kill(self) -> None:
        """End the agent as if its machine had died."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None
        if self.database is not None:
            self.database.close()

    def entries(self) -> list[Entry]:
        """The hospital's own journal."""
        with _opened(self.folder / "state.db", site_tables.MIGRATIONS) as database:
            return entries(database, site_tables.journal)

    def refusals(self) -> list[str]:
        """The codes with which this hospital refused, as its own journal has them."""
        return [str(one.facts["code"]) for one in self.entries() if one.kind == "refused"]

    def _ending(self, documents: Mapping[str, JSON], model: bytes) -> Digest | None:
        self.endings.append((documents, model))
        return None


class _Breakable(httpx.AsyncBaseTransport):
    """Requests that end as on a broken connection when their task in ``calls`` is cancelled."""

    def __init__(
        self, transport: httpx.AsyncBaseTransport, calls: set[asyncio.Task[httpx.Response]]
    ) -> None:
        self._transport = transport
        self._calls = calls

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = asyncio.create_task(self._transport.handle_async_request(request))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        await asyncio.wait({call})
        if call.cancelled():
            raise httpx.ReadError("the connection broke")
        return call.result()


class Ward:
    """A study's coordinator and hospitals. Build it with `open_ward`."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    """What the coordinator's deadlines go by."""

    def __init__(self, folder: Path, study: Study, keys: Keys) -> None:
        self.folder = folder
        self.study = study
        self.keys = keys
        self.hospitals: dict[SiteName, Hospital] = {}
        self.said: list[tuple[str, dict[str, object]]] = []
        self.options: dict[str, object] = {}
        """More arguments of the coordinator."""
        self._app: object | None = None
        self._calls: set[asyncio.Task[httpx.Response]] = set()
        self.coordinator: Coordinator
        self.driver: Driver

    def open_coordinator(self) -> Coordinator:
        """A coordinator over whatever the folder remembers."""
        self.coordinator = Coordinator(
            self.study,
            self.keys.coordinator,
            self.keys.authority,
            self.folder / "coordinator",
            clock=self.clock,
            **self.options,
        )
        return self.coordinator

    async def serve(self) -> None:
        """Answer the hospitals."""
        self._app = create_app(self.coordinator)

    async def stop_serving(self) -> None:
        """Be away; what is under way breaks off."""
        self._app = None
        for call in self._calls:
            call.cancel()

    def drive(self) -> Driver:
        """Begin the run, or go on with the one that was interrupted."""
        self.driver = Driver(
            self.coordinator.open_run(),
            self.coordinator.present,
            lambda event, facts: self.said.append((event, dict(facts))),
            self.coordinator.open_stream,
        )
        return self.driver

    async def crash(self) -> None:
        """End the coordinator as if its machine had died."""
        await self.stop_serving()
        self.coordinator.close()

    async def restart(self) -> Driver:
        """Start it again over what it left behind."""
        self.open_coordinator()
        driver = self.drive()
        await self.serve()
        await self.coordinator.wait_for_sites(len(self.hospitals), 5.0)
        return driver

    def task(self, kind: str = "outcome_counts", **parameters: JSON) -> Task:
        """A task of the study."""
        return specify(self.study, kind, parameters)

    def entries(self, kind: str | None = None) -> list[Entry]:
        """The coordinator's journal, or its entries of one kind."""
        every = entries(self.coordinator.state.database, coordinator_tables.journal)
        return [one for one in every if kind in (None, one.kind)]

    def invite(self, site: SiteName, custody: Custody, agent_key: SigningKey) -> Hospital:
        """Enrol a hospital; its agent is not started."""
        enrolment = self.coordinator.enrolment
        token = enrolment.invite(site)
        request = make_csr(agent_key)
        said = Enrolling(study=self.study.id, site=site, request=digest(request))
        certificate = enrolment.enrol(site, token, request, said.sign(custody.key))
        line = Line(lambda: self.transport(site, certificate))
        return Hospital(
            custody,
            self.folder / site,
            agent_key,
            certificate,
            line,
            lambda: httpx.AsyncClient(transport=line, base_url="https://localhost"),
            enrolment.identity(site),
        )

    def transport(self, site: SiteName, certificate: bytes) -> httpx.AsyncBaseTransport:
        """The way from a site to the coordinator as it is now."""
        if self._app is None:
            raise httpx.ConnectError("nobody listens")
        return _Breakable(httpx.ASGITransport(Certified(self._app, certificate)), self._calls)

    async def close(self) -> None:
        """End everything."""
        for hospital in self.hospitals.values():
            await hospital.kill()
        await self.stop_serving()
        self.coordinator.close()


class HttpsWard(Ward):
    """The same over sockets: TLS 1.3, both sides with certificates, one connection a site."""

    def __init__(self, folder: Path, study: Study, keys: Keys) -> None:
        super().__init__(folder, study, keys)
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._clients: dict[SiteName, httpx.AsyncHTTPTransport] = {}
        tls = folder / "tls"
        tls.mkdir(parents=True)
        keys.authority.save(tls)
        key = SigningKey.generate()
        key.save(tls / "server.key")
        pem = keys.authority.issue_server(key.public, [self.host], datetime.now(UTC))
        (tls / "server.pem").write_bytes(pem)
        self.tls = tls

    @property
    def host(self) -> str:
        """As the study names it."""
        return urlsplit(self.study.coordinator.url).hostname or ""

    @property
    def loopback(self) -> str:
        """The one address at which it listens, that of its host's family."""
        return "::1" if ":" in self.host else "127.0.0.1"

    def address(self, port: int) -> str:
        """The coordinator's address, at a port."""
        return (
            f"https://[{self.host}]:{port}" if ":" in self.host else f"https://{self.host}:{port}"
        )

    async def serve(self) -> None:
        self.context = server_context(
            self.tls / "server.pem", self.tls / "server.key", self.tls / "ca.pem"
        )
        app = create_app(self.coordinator)
        self._server = server(app, self.loopback, self._port, self.context)
        self._serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._serving.done()
            await asyncio.sleep(0.005)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]

    async def stop_serving(self) -> None:
        for transport in self._clients.values():
            await transport.aclose()
        self._clients.clear()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            await self._serving
        self._server = None

    def transport(self, site: SiteName, certificate: bytes) -> httpx.AsyncBaseTransport:
        if site not in self._clients:
            context = client_context(
                self.tls / "ca.pem", self.tls / f"{site}.pem", self.tls / f"{site}.key"
            )
            self._clients[site] = httpx.AsyncHTTPTransport(verify=context)
        return self._clients[site]

    def invite(self, site: SiteName, custody: Custody, agent_key: SigningKey) -> Hospital:
        hospital = super().invite(site, custody, agent_key)
        (self.tls / f"{site}.pem").write_bytes(hospital.certificate)
        agent_key.save(self.tls / f"{site}.key")
        return replace(
            hospital,
            client=lambda: httpx.AsyncClient(
                transport=hospital.line, base_url=f"https://localhost:{self._port}"
            ),
        )

    @property
    def url(self) -> str:
        """Where it is served, once it is."""
        return f"https://localhost:{self._port}"

    def strange_client(self, context: object) -> httpx.AsyncClient:
        """A client with another idea of whom to trust."""
        return https_client(f"https://localhost:{self._port}", context)


WARDS = {"in process": Ward, "https": HttpsWard}


@asynccontextmanager
async def open_ward(
    folder: Path,
    mode: str = "in process",
    *,
    sites: tuple[SiteName, ...] = SITES,
    start: bool = True,
    hospital: HospitalPolicy = SECURE_SUM,
    tables: Mapping[SiteName, FeatureTable] | None = None,
    url: str = "https://localhost",
    prepare: Callable[[Ward], object] = lambda _ward: None,
    clock: Callable[[], float] = time.monotonic,
    **changes: JSON,
) -> AsyncIterator[Ward]:
    """A ward whose agents run (with ``start``) and whose run has begun.

    ``prepare`` sees it before anything in it has been opened.
    """
    keys = Keys.generate(sites)
    study = keys.seal(plan(**changes), url)
    ward = WARDS[mode](folder, study, keys)
    ward.clock = clock
    prepare(ward)
    ward.open_coordinator()
    await ward.serve()
    try:
        for site in sites:
            records = tables[site] if tables else None
            papers = custody(
                study, site, keys.sites[site], folder / site, records=records, hospital=hospital
            )
            ward.hospitals[site] = ward.invite(site, papers, SigningKey.generate())
        if start:
            for one in ward.hospitals.values():
                await one.start()
            present = await ward.coordinator.wait_for_sites(len(sites), 10.0)
            assert present == tuple(sorted(sites))
            ward.drive()
        yield ward
    finally:
        await ward.close()


def entries(database: Database, leaves: object) -> list[Entry]:
    """A journal, read afresh from its database."""
    from wardround.store.leaves import SqlLeafStore

    return list(Journal(SqlLeafStore(database, leaves), "test").entries())


def _opened(path: Path, migrations: object) -> object:
    from contextlib import closing

    return closing(Database.file(path, migrations))


def stranger_authority() -> CertificateAuthority:
    """An authority that the study does not name."""
    return CertificateAuthority.create("somebody else", datetime.now(UTC))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so that nothing announces."""
    for _ in range(4000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to pass")


async def code_of(awaitable: object) -> str | None:
    """The code with which something awaited is refused."""
    try:
        await awaitable
    except WardroundError as error:
        return error.code
    return None
