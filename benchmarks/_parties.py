"""The parties of the ``exchange`` benchmark: a coordinator and sites, each a process of its own.

They are the product's own services over mutual TLS; only the study's task is an echo, and the
coordinator has one more route, through which the same bytes move without a mask. A party obeys
JSON lines on standard input and answers on standard output.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray

from benchmarks._process import serve
from wardround.clinical.quarantine import Quarantine
from wardround.clinical.table import FeatureTable
from wardround.coordinator import traffic
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Driver
from wardround.coordinator.http import create_app
from wardround.coordinator.reception import Reception
from wardround.coordinator.server import server
from wardround.coordinator.spool import Spool
from wardround.federation.messages import PART_BYTES
from wardround.ids import Digest, RoundId, SiteName
from wardround.learning.error_feedback import tell
from wardround.sandbox import BASE_LIMITS, ConfinedWorker, Limits, probe
from wardround.simulation.inprocess import Keys
from wardround.site import tables
from wardround.site.agent import Agent
from wardround.site.assemble import assemble
from wardround.site.custody import Custody
from wardround.site.link import https_client
from wardround.site.pace import UNLIMITED, Pace
from wardround.store import Database
from wardround.study import (
    HospitalPolicy,
    Profile,
    Study,
    Task,
    approve,
    sign_exclusions,
)
from wardround.study.task import Compression, Lanes, Turns
from wardround.trust.authority import CertificateAuthority, make_csr, peer_identity
from wardround.trust.canonical import JSON
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context

PATIENTS = 40


def prepare(folder: Path, sites: int, url: str, **changes: JSON) -> None:
    """Keys, study, certificates, approvals: everything that stands before a run.

    ``changes`` are sections of the study in place of the usual ones.
    """
    names = tuple(SiteName(f"site-{number:02d}") for number in range(sites))
    keys = Keys.generate(names)
    study = keys.seal(_document() | changes, url)
    home = folder / "coordinator"
    home.mkdir()
    keys.coordinator.save(home / "signing.key")
    keys.authority.save(home)
    server_key = SigningKey.generate()
    server_key.save(home / "server.key")
    now = datetime.now(UTC)
    (home / "server.pem").write_bytes(
        keys.authority.issue_server(server_key.public, ["127.0.0.1"], now)
    )
    (folder / "study.json").write_bytes(study.canonical())
    coordinator = Coordinator(study, keys.coordinator, keys.authority, home)
    for name, key in keys.sites.items():
        place = folder / name
        (place / "spool").mkdir(parents=True)
        key.save(place / "signing.key")
        agent_key = SigningKey.generate()
        agent_key.save(place / "agent.key")
        token = coordinator.enrolment.invite(name)
        certificate = coordinator.enrolment.enrol(name, token, make_csr(agent_key))
        (place / "agent.pem").write_bytes(certificate)
        (place / "approval.json").write_bytes(approve(study, name, key, now.date()).to_json())
        excluded = sign_exclusions(study.id, name, (), key, now.date())
        (place / "exclusions.json").write_bytes(excluded.to_json())
    coordinator.close()


def _document() -> dict[str, JSON]:
    return {
        "id": "exchange",
        "title": "Benchmark",
        "question": "How long does one exchange take?",
        "purpose": "Measurement on numbers that mean nothing.",
        "version": 1,
        "profile": "secure-sum",
        "expires": "2099-12-31",
        "cohort": {"rounds_per_setup": 64, "deadline_s": 120},
        "data": {"outcome": "malignant", "features": ["radius_mean"]},
        "model": {"kind": "logistic"},
        "disclosure": {"opened_numbers": 1_000_000_000},
    }


class CoordinatorParty:
    """Obeys ``sum`` (with ``length``), ``update``, ``drop``, ``memory`` and ``forget_peak``."""

    def __init__(self, folder: Path, port: int) -> None:
        home = folder / "coordinator"
        study = Study.from_json((folder / "study.json").read_bytes())
        key = SigningKey.load(home / "signing.key")
        self._coordinator = Coordinator(study, key, CertificateAuthority.load(home), home)
        context = server_context(home / "server.pem", home / "server.key", home / "ca.pem")
        app = create_app(self._coordinator)
        self._plain = Spool(home / "plain")
        _add_plain_route(app, self._coordinator, self._plain)
        self._server = server(app, "127.0.0.1", port, context)
        self._driver: Driver | None = None
        self._sites = len(study.sites)
        self._model: NDArray[np.float64] | None = None
        self._turns = 0
        self._left: NDArray[np.float64] | None = None

    async def start(self) -> None:
        """Listen, and begin a run when every site is there."""
        self._serving = asyncio.create_task(self._server.serve())

    async def obey(self, order: Mapping[str, JSON]) -> dict[str, JSON]:
        """Do one thing and say what it took."""
        match order:
            case {"do": "sum", "length": int(length)}:
                return await self._sum(length)
            case {"do": "update", "length": int(length), "scheme": str(scheme), "step": bool(step)}:
                return await self._update(length, Compression(scheme), step)
            case {"do": "drop", "round": str(name)}:
                self._plain.drop(RoundId(name))
                return {}
            case {"do": "memory"}:
                return {"peak_bytes": _peak_bytes()}
            case _:
                _forget_peak()
                return {}

    async def _open(self) -> Driver:
        if self._driver is None:
            await self._coordinator.wait_for_sites(self._sites, 60.0)
            self._driver = Driver(self._coordinator.open_run(), self._coordinator.present)
        return self._driver

    async def _update(self, length: int, scheme: Compression, step: bool) -> dict[str, JSON]:
        """One round as FedAvg has them: float64 numbers, and updates compressed by ``scheme``.

        The model is another one altogether, or with ``step`` the last one, a training step on: with
        random-k only where it was a coordinate's turn before.
        """
        driver = await self._open()
        random = np.random.default_rng()
        nonce: dict[str, JSON] = {"nonce": secrets.token_hex(8)}
        turns = None
        if scheme is Compression.RANDOM_K:
            names = driver.study.site_names
            nonce["included"] = tell([names] * self._turns, names)
            self._turns += 1
            turns = Turns(length, length // 10, self._turns, driver.study.digest)
        if step and self._model is not None:
            model = self._model.copy()
            before = None if turns is None else replace(turns, number=turns.number - 1)
            where = slice(None) if before is None else before.coordinates
            model[where] *= 1 + 1e-3 * random.normal(size=len(model[where]))
        else:
            model = random.normal(size=length) / np.sqrt(length)
        self._model = model
        expected = model / 2 * self._sites
        # Noise as long as a third of the clipping norm, so that there is room as there usually is.
        norm = 3 * float(np.linalg.norm(expected))
        bits = scheme.lane_bits
        lanes = None if bits is None else Lanes(bits, length, norm)
        task = Task("echo", nonce, length, 2.0**22, 64, model, lanes, turns)
        started = time.perf_counter()
        total = await driver.sum(task)
        seconds = time.perf_counter() - started
        if turns is not None:  # what has its turn, with all that was left of it
            self._left = expected if self._left is None else self._left + expected
            expected = np.zeros(length)
            expected[turns.coordinates] = self._left[turns.coordinates]
            self._left -= expected
        error = float(np.linalg.norm(total.values - expected) / np.linalg.norm(expected))
        driver.exchange.save_checkpoint()
        with self._coordinator.state.database.begin() as connection:
            moved = traffic.load(connection, driver.exchange.run)[total.round].values()
        return {
            "seconds": seconds,
            "error": error,
            "up": sum(one.bytes_in for one in moved) / self._sites,
            "down": sum(one.bytes_out for one in moved) / self._sites,
        }

    async def _sum(self, length: int) -> dict[str, JSON]:
        driver = await self._open()
        model = np.random.default_rng(7).random(length, np.float32)
        task = Task("echo", {"nonce": secrets.token_hex(8)}, length, 1.0, 32, model)
        started = time.perf_counter()
        total = await driver.sum(task)
        seconds = time.perf_counter() - started
        sample = slice(None, None, max(1, length // 1000))
        expected = model[sample].astype(np.float64) / 2 * self._sites
        if not np.allclose(total.values[sample], expected, atol=1e-5):
            raise AssertionError("the total is wrong")
        return {"seconds": seconds, "model": task.model_digest, "size": length * 4}


def _add_plain_route(app: FastAPI, coordinator: Coordinator, spool: Spool) -> None:
    """The same way in for the same bytes: signed requests, parts, spool; no mask, no round."""
    reception = Reception(coordinator)

    @app.put("/plain/{round_}/{number}", status_code=204)
    async def part(request: Request, round_: str, number: int, size: int) -> None:
        visitor = reception.visitor(request)
        name, site = RoundId(round_), visitor.peer.site
        with spool.part(name, site, number, size) as incoming:
            async for piece in request.stream():
                incoming.write(piece)
            visitor.verify(body_sha256=incoming.sha256.digest())
            incoming.accept(incoming.sha256.digest())


class SiteParty:
    """Runs its agent all the time; obeys ``move``: the model down and as many bytes up, plain."""

    def __init__(self, folder: Path, name: str, url: str, pace: Pace = UNLIMITED) -> None:
        place = folder / name
        study = Study.from_json((folder / "study.json").read_bytes())
        self._worker = ConfinedWorker(
            "benchmarks._echo:compute",
            required=BASE_LIMITS & probe().enforced,
            limits=Limits(memory_bytes=4 << 30),
        )
        context = client_context(
            folder / "coordinator" / "ca.pem", place / "agent.pem", place / "agent.key"
        )
        identity = peer_identity((place / "agent.pem").read_bytes())
        self._agent: Agent = assemble(
            _custody(study, SiteName(name), place),
            https_client(url, context, pace=pace),
            SigningKey.load(place / "agent.key"),
            identity,
            self._worker,
            Database.file(place / "state.db", tables.MIGRATIONS),
            lambda _documents, _model: None,
            _say_nothing,
            lambda _study, _task: None,
        )

    async def start(self) -> None:
        """Start the confined worker and the agent."""
        await self._worker.start()
        self._running = asyncio.create_task(self._agent.run())

    async def obey(self, order: Mapping[str, JSON]) -> dict[str, JSON]:
        """Move bytes."""
        match order:
            case {"model": str(model), "size": int(size), "name": str(name)}:
                link = self._agent.link
                numbers = range(-(-size // PART_BYTES))
                parts = [await link.part(Digest(model), number) for number in numbers]
                body = memoryview(b"".join(parts))
                for number, start in enumerate(range(0, size, PART_BYTES)):
                    path = f"/plain/{name}/{number}?size={size}"
                    # The link sends nothing plain of its own accord, so this goes past it.
                    await link._request("PUT", path, bytes(body[start : start + PART_BYTES]))
        return {}


def _custody(study: Study, name: SiteName, place: Path) -> Custody:
    columns = {"radius_mean": np.linspace(8.0, 20.0, PATIENTS), "malignant": np.zeros(PATIENTS)}
    ids = tuple(f"{name}-{number}" for number in range(PATIENTS))
    return Custody(
        study=study,
        site=name,
        key=SigningKey.load(place / "signing.key"),
        approval=Envelope.from_json((place / "approval.json").read_bytes()),
        exclusions=place / "exclusions.json",
        hospital=HospitalPolicy(accepted_profiles=(Profile.SECURE_SUM,)),
        table=FeatureTable(ids, columns, (), Quarantine()),
        patient_key=secrets.token_bytes(32),
        spool=place / "spool",
    )


def _say_nothing(_event: str, /, **_facts: str | float) -> None:
    return None


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@dataclass(frozen=True)
class Arguments:
    """``coordinator FOLDER PORT`` or ``site FOLDER URL NAME [KBIT_S]``, the line's both ways."""

    words: tuple[str, ...]

    def party(self) -> CoordinatorParty | SiteParty:
        """The party that these words name."""
        role, folder, where, *rest = self.words
        if role == "coordinator":
            return CoordinatorParty(Path(folder), int(where))
        name, *kbit = rest
        pace = Pace.of_kbit(int(kbit[0]), int(kbit[0])) if kbit else UNLIMITED
        return SiteParty(Path(folder), name, where, pace)


if __name__ == "__main__":
    asyncio.run(serve(Arguments(tuple(sys.argv[1:])).party()))
