"""The parties of the ``idle`` benchmark: the product's coordinator, and light clients.

A light client has an agent's line: mutual TLS, a signature over every request, the long poll. It
has no records, no sandbox and no state, and of all instructions answers one: it advertises fresh
masking keys, under its hospital's signature. A party obeys JSON lines on standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks._process import serve
from wardround.coordinator.changed import Changed
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.http import create_app
from wardround.coordinator.server import server
from wardround.errors import WardroundError
from wardround.federation.messages import Ask, Instruction
from wardround.federation.packet import Status, StatusKind
from wardround.federation.setup import Setup, SetupPhase
from wardround.ids import BatchId, RunId, SiteName
from wardround.secagg import Member
from wardround.site.link import Link, https_client
from wardround.study import Study
from wardround.trust.authority import CertificateAuthority, peer_identity
from wardround.trust.canonical import JSON
from wardround.trust.dsse import Envelope
from wardround.trust.keys import SigningKey
from wardround.trust.tls import client_context, server_context


class Coordinating:
    """Obeys ``present`` and ``open`` (the run begins), ``wake``, and ``memory``."""

    def __init__(self, folder: Path, port: int, pool: int) -> None:
        home = folder / "coordinator"
        self._study = Study.from_json((folder / "study.json").read_bytes())
        key = SigningKey.load(home / "signing.key")
        authority = CertificateAuthority.load(home)
        self._coordinator = Coordinator(self._study, key, authority, home)
        context = server_context(home / "server.pem", home / "server.key", home / "ca.pem")
        self._server = server(create_app(self._coordinator), "127.0.0.1", port, context)
        self._pool = self._study.site_names[-pool:]
        self._keys = {site: SigningKey.load(folder / site / "signing.key") for site in self._pool}

    async def start(self) -> None:
        """Listen; agents that come too early try again."""
        self._serving = asyncio.create_task(self._server.serve())

    async def obey(self, order: Mapping[str, JSON]) -> dict[str, JSON]:
        """Do one thing."""
        match order:
            case {"do": "present"}:
                return {"connections": len(self._server.server_state.connections)}
            case {"do": "open"}:
                self._coordinator.open_run()
                return {}
            case {"do": "wake", "site": str(site)}:
                return await self._wake(SiteName(site))
            case _:
                return {"bytes": _memory("VmRSS"), "peak_bytes": _memory("VmHWM")}

    async def _wake(self, site: SiteName) -> dict[str, JSON]:
        """From the moment ``site`` is asked until its answer is on disk: seconds, and how many of
        them this process spent computing.

        All others have answered before anybody hears of it, so that this one agent is woken.
        """
        exchange = self._coordinator.exchange
        assert exchange is not None
        told, exchange.changed = exchange.changed, Changed()  # nobody listens to this one
        exchange.start_setup(self._pool)
        assert exchange.setup is not None
        state = exchange.setup.state
        self._advertise(exchange, state, (one for one in state.pool if one != site))
        exchange.changed = told
        started, spent = time.perf_counter(), time.process_time()
        exchange.changed.notify()
        while exchange.setup.state.phase is SetupPhase.ADVERTISE:
            await exchange.changed.wait_for(30.0)
        seconds, busy = time.perf_counter() - started, time.process_time() - spent
        exchange.deadline_passed()  # nobody deals: this set-up is given up
        return {"seconds": seconds, "busy_s": busy}

    def _advertise(self, exchange: Exchange, state: Setup, sites: Iterable[SiteName]) -> None:
        intake = self._coordinator._intake
        assert intake is not None
        for one in sites:
            advert = _member(self._study, exchange.run, state, one, self._keys[one]).advert()
            intake.accept(one, "advert", advert, b"")


class Agents:
    """A site's connections, one for each of ``count`` agents that have its certificate."""

    def __init__(self, folder: Path, url: str, counts: Mapping[str, int]) -> None:
        self._study = Study.from_json((folder / "study.json").read_bytes())
        self._seats = [
            _Seat(folder, url, self._study, SiteName(site), count) for site, count in counts.items()
        ]

    async def start(self) -> None:
        """Approve for every site and connect all."""
        for seat in self._seats:
            await seat.start()

    async def obey(self, _order: Mapping[str, JSON]) -> dict[str, JSON]:
        """Say how many requests failed and were tried again."""
        return {"troubles": sum(seat.troubles for seat in self._seats)}


class _Seat:
    """All connections of one site: one agent's line, used by many at a time."""

    def __init__(self, folder: Path, url: str, study: Study, site: SiteName, count: int) -> None:
        place = folder / site
        context = client_context(
            folder / "coordinator" / "ca.pem", place / "agent.pem", place / "agent.key"
        )
        identity = peer_identity((place / "agent.pem").read_bytes())
        self.troubles = 0
        self._study, self._site, self._count = study, site, count
        self._key = SigningKey.load(place / "signing.key")
        self._approval = Envelope.from_json((place / "approval.json").read_bytes())
        self._link = Link(
            https_client(url, context), SigningKey.load(place / "agent.key"), identity, self._note
        )

    def _note(self, _error: WardroundError) -> None:
        self.troubles += 1

    async def start(self) -> None:
        await self._link.send(Status(StatusKind.APPROVAL, self._approval), 0)
        self._polls = [asyncio.create_task(self._poll()) for _ in range(self._count)]

    async def _poll(self) -> None:
        asked = None
        while True:
            if asked is None:
                asked = await self._link.next(0)
                continue
            ask, _ = asked
            asked = None
            if ask.ask is Ask.ADVERTISE:
                answer = Status(StatusKind.ADVERT, self._advert(ask))
                try:
                    asked = await self._link.send(answer, 0)
                except WardroundError:
                    self.troubles += 1

    def _advert(self, ask: Instruction) -> Envelope:
        state = Setup(BatchId(ask.batch or ""), RunId(ask.run), ask.pool, ask.rounds, 0)
        return _member(self._study, state.run, state, self._site, self._key).advert()


def _member(study: Study, run: RunId, state: Setup, site: SiteName, key: SigningKey) -> Member:
    return Member(
        study.digest,
        run,
        state.batch,
        state.pool,
        site,
        key,
        study.site_keys,
        study.adversary,
        state.rounds,
    )


def _memory(what: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this machine does not tell {what}")


def main(words: list[str]) -> None:
    """``coordinator FOLDER PORT POOL`` or ``agents FOLDER URL COUNTS``, counts as JSON by site."""
    role, folder, where, *rest = words
    party = (
        Coordinating(Path(folder), int(where), int(rest[0]))
        if role == "coordinator"
        else Agents(Path(folder), where, json.loads(rest[0]))
    )
    asyncio.run(serve(party))


if __name__ == "__main__":
    main(sys.argv[1:])
