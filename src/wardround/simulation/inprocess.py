"""A whole federation in one process: the real services over an in-process transport.

Coordinator and sites run the same code as over HTTPS, with the same certificates, signatures,
masks and journals; only the socket is missing, and the sandbox: computation runs inline, which
every report of such a run says. Data are whatever the caller hands in.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from wardround.clinical.table import FeatureTable
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Driver
from wardround.coordinator.federate import GroupedDriver, federate
from wardround.coordinator.http import create_app
from wardround.coordinator.live_stream import LiveStream
from wardround.coordinator.tables import MIGRATIONS as COORDINATOR_SCHEMA
from wardround.federation.federation import Total
from wardround.ids import Digest, SiteName
from wardround.learning.specify import check_task
from wardround.sandbox import InlineWorker
from wardround.site.agent import Agent
from wardround.site.assemble import TaskCheck, assemble
from wardround.site.custody import Custody
from wardround.site.tables import MIGRATIONS as SITE_SCHEMA
from wardround.store import Database
from wardround.study import HospitalPolicy, Profile, Study, Task, approve, sign_exclusions
from wardround.trust.authority import CertificateAuthority, make_csr
from wardround.trust.canonical import JSON
from wardround.trust.keys import SigningKey

ENTRY = "wardround.learning.registry:compute"


class Certified:
    """An application behind a stand-in for TLS: every request bears one client certificate."""

    def __init__(self, app: FastAPI, certificate_pem: bytes) -> None:
        self._app = app
        self._chain = [certificate_pem.decode()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        tls = {"client_cert_chain": self._chain}
        extensions = {**scope.get("extensions", {}), "tls": tls}
        await self._app({**scope, "extensions": extensions}, receive, send)


@dataclass(frozen=True)
class Keys:
    """All keys of a simulated federation, which a real one never has in one place."""

    coordinator: SigningKey
    authority: CertificateAuthority
    sites: Mapping[SiteName, SigningKey]

    @classmethod
    def generate(cls, sites: tuple[SiteName, ...]) -> Keys:
        """Fresh keys for everyone."""
        return cls(
            SigningKey.generate(),
            CertificateAuthority.create("simulated", datetime.now(UTC)),
            {site: SigningKey.generate() for site in sites},
        )

    def seal(self, document: Mapping[str, JSON], url: str = "https://localhost") -> Study:
        """The study of ``document`` with these keys in it."""
        coordinator = {
            "name": "simulated coordinator",
            "url": url,
            "signing_key": self.coordinator.public.text,
            "ca": self.authority.sha256,
        }
        sites = [{"name": site, "signing_key": key.public.text} for site, key in self.sites.items()]
        return Study.parse({**document, "coordinator": coordinator, "sites": sites})


class InProcessFederation:
    """A `Federation` over simulated sites. Build it with `open_federation`."""

    def __init__(
        self,
        coordinator: Coordinator,
        driver: Driver | GroupedDriver,
        agents: Mapping[SiteName, Agent],
        tasks: dict[SiteName, asyncio.Task[None]],
    ) -> None:
        self.coordinator = coordinator
        self.driver = driver
        self.agents = agents
        self._tasks = tasks

    @property
    def study(self) -> Study:
        """The study in force."""
        return self.driver.study

    async def sum(self, task: Task) -> Total:
        """See `Federation.sum`; an agent that failed is raised rather than waited for."""
        return await self._or_raise(self.driver.sum(task))

    def stream(self, task: Task) -> Watched:
        """See `Federation.stream`; an agent that failed is raised rather than waited for."""
        return Watched(self.driver.stream(task), self._or_raise)

    async def _or_raise(self, work: Coroutine[None, None, Total]) -> Total:
        total = asyncio.ensure_future(work)
        await asyncio.wait({total, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
        for agent in self._tasks.values():
            if not total.done() and agent.done() and not agent.cancelled():
                agent.result()
        return await total

    def say(self, event: str, **facts: str | float) -> None:
        """See `Federation.say`."""
        self.driver.say(event, **facts)

    async def stop(self, site: SiteName) -> None:
        """End one site's agent, as if its machine had died."""
        task = self._tasks.pop(site)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Watched:
    """A stream beside agents that run in this process."""

    def __init__(
        self,
        stream: LiveStream,
        watch: Callable[[Coroutine[None, None, Total]], Coroutine[None, None, Total]],
    ) -> None:
        self._stream = stream
        self._watch = watch
        self.publish = stream.publish
        self.aclose = stream.aclose

    def __aiter__(self) -> Watched:
        """Itself."""
        return self

    async def __anext__(self) -> Total:
        """The next total."""
        return await self._watch(self._stream.__anext__())


@asynccontextmanager
async def open_federation(
    document: Mapping[str, JSON],
    tables: Mapping[SiteName, FeatureTable],
    folder: Path,
    *,
    hospital: HospitalPolicy | None = None,
    entry: str = ENTRY,
    task_check: TaskCheck = check_task,
    worker_of: Callable[[SiteName, str], InlineWorker] = lambda _site, entry: InlineWorker(entry),
) -> AsyncIterator[InProcessFederation]:
    """Run a coordinator and one agent per table until the block ends.

    ``document`` is a study without coordinator and sites; ``folder`` takes blobs and spools;
    databases are in memory. ``hospital`` (default: accepts ``secure-sum`` and ``private``) holds
    for every site. ``worker_of`` makes each site's worker, one that is slow on purpose, say.
    """
    keys = Keys.generate(tuple(tables))
    study = keys.seal(document)
    coordinator = Coordinator(
        study,
        keys.coordinator,
        keys.authority,
        folder / "coordinator",
        database=Database("sqlite://", COORDINATOR_SCHEMA),
    )
    app = create_app(coordinator)
    policy = hospital or HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM, Profile.PRIVATE))
    agents: dict[SiteName, Agent] = {}
    tasks: dict[SiteName, asyncio.Task[None]] = {}
    for site, table in tables.items():
        worker = worker_of(site, entry)
        await worker.start()
        custody = _custody(study, site, keys.sites[site], policy, table, folder / site)
        agent_key = SigningKey.generate()
        token = coordinator.enrolment.invite(site)
        certificate = coordinator.enrolment.enrol(site, token, make_csr(agent_key))
        transport = httpx.ASGITransport(Certified(app, certificate))
        agents[site] = assemble(
            custody,
            httpx.AsyncClient(transport=transport, base_url="https://localhost"),
            agent_key,
            coordinator.enrolment.identity(site),
            worker,
            Database("sqlite://", SITE_SCHEMA),
            _keep_nothing,
            _say_nothing,
            task_check,
        )
        tasks[site] = asyncio.create_task(agents[site].run(), name=f"agent {site}")
    await coordinator.wait_for_sites(len(tables), 10.0)
    coordinator.open_run()
    try:
        driver = await federate(coordinator)
        yield InProcessFederation(coordinator, driver, agents, tasks)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        coordinator.close()


def _custody(
    study: Study,
    site: SiteName,
    key: SigningKey,
    policy: HospitalPolicy,
    table: FeatureTable,
    folder: Path,
) -> Custody:
    today = datetime.now(UTC).date()
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
        hospital=policy,
        table=table,
        patient_key=secrets.token_bytes(32),
        spool=spool,
    )


def _say_nothing(_event: str, /, **_facts: str | float) -> None:
    return None


def _keep_nothing(_documents: Mapping[str, JSON], _model: bytes) -> Digest | None:
    return None
