"""Running a coordinator: serve the hospitals, drive the study, publish the result."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import orjson

from wardround.algorithms.plan import run_study
from wardround.coordinator import records
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Say
from wardround.coordinator.federate import federate
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.http import create_app
from wardround.coordinator.presence import keep_written
from wardround.coordinator.results import Published, gather_evidence, publish
from wardround.coordinator.server import keep_server_certificate, server
from wardround.errors import WardroundError
from wardround.governance.artefact import encode_model, sign_model
from wardround.store.room import no_room, wants_room
from wardround.trust.canonical import digest
from wardround.trust.tls import server_context

ROOM_POLL_S = 5.0
"""How often to look whether a full disk has room again."""

FAREWELL_S = 15.0
"""How long to wait for the hospitals to check and countersign the finished model."""


async def serve(home: CoordinatorHome, say: Say, *, wait_s: float, once: bool) -> Published | None:
    """Serve until stopped, or with ``once`` until the study's run has ended.

    The run starts when every hospital of the study is connected and has approved, or after
    ``wait_s`` seconds with as many as the study's rules ask for at least.
    """
    with home.alone():
        coordinator = home.open()
        try:
            async with _listening(home, coordinator, say):
                gc.freeze()  # what is loaded by now stays; collections need not walk it again
                say("listening", {"url": home.url})
                coordinator.on_hindrance = lambda site, said: say(
                    "waits", {"site": site, "cause": said.cause.value, "incident": said.incident}
                )
                watching = asyncio.create_task(
                    keep_written(home.folder, coordinator.presence), name="presence"
                )
                try:
                    published = await drive(home, coordinator, say, wait_s)
                    if not once:
                        await asyncio.Event().wait()
                finally:
                    watching.cancel()
                return published
        finally:
            coordinator.close()


@asynccontextmanager
async def _listening(
    home: CoordinatorHome, coordinator: Coordinator, say: Say
) -> AsyncIterator[None]:
    home.renew_server_certificate()
    keys = home.keys
    if home.inspected:
        say("inspected", {"sites": ", ".join(sorted(home.inspected))})
    context: ssl.SSLContext = server_context(
        keys / "server.pem", keys / "server.key", keys / "ca.pem"
    )
    http = server(create_app(coordinator), home.host, home.port, context)
    # Bound here: uvicorn itself would end the whole program where the port is taken.
    task = asyncio.create_task(http.serve(bound(home.host, home.port)))
    while not http.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    renewal = asyncio.create_task(keep_server_certificate(home, context, say))
    try:
        yield
    finally:
        renewal.cancel()
        coordinator.send_home()
        http.should_exit = True
        await task


def bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each of the host's addresses on this machine; raises WR-COORD-008."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            try:
                one = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a family that this machine does not speak
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _keep_alive(one)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                one.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                sockets.remove(one)  # IPv6 that is switched off, say
                one.close()
        if sockets:
            return sockets
        reason: OSError | None = None
    except OSError as error:
        reason = error
    for one in sockets:
        one.close()
    raise WardroundError(
        "WR-COORD-008",
        f"The coordinator can't listen on {host} port {port}"
        f"{f': {reason.strerror}' if reason is not None and reason.strerror else ''}.",
        "Another program may hold the port, or the address is not this machine's.",
    ) from reason


def _keep_alive(listener: socket.socket) -> None:
    """Have TCP find out which hospitals are gone; what is accepted inherits the options."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def drive(
    home: CoordinatorHome, coordinator: Coordinator, say: Say, wait_s: float
) -> Published:
    """Run the study's plan to its published end, or go on with a run that was interrupted.

    Waits while the disk is full, and then goes on as after a restart.
    """
    present = await coordinator.wait_for_sites(len(coordinator.study.sites), wait_s)
    started = datetime.now(UTC)
    while True:
        try:
            exchange = coordinator.open_run()
            say("run", {"run": exchange.run, "sites": len(present)})
            return await _carry_through(home, coordinator, say, started, len(present))
        except (WardroundError, OSError) as error:
            if not wants_room(error):
                raise
            say("disk-full", {"problem": no_room().problem, "remedy": no_room().remedy})
        await asyncio.sleep(ROOM_POLL_S)


async def _carry_through(
    home: CoordinatorHome, coordinator: Coordinator, say: Say, started: datetime, present: int
) -> Published:
    study, exchange = coordinator.study, coordinator.exchange
    assert exchange is not None
    try:
        driver = await federate(coordinator, say)
        candidate = await run_study(driver)
    except WardroundError as error:
        if wants_room(error) or error.code == "WR-COORD-001":  # another one drives: its run goes on
            raise
        exchange.stop(f"{error.code}: {error.problem}")
        with coordinator.state.transaction() as transaction:
            records.end_run(transaction.connection, exchange.run, "failed", reason=str(error))
        await asyncio.sleep(1.0)  # let waiting agents hear why
        raise
    needed = study.adversary().threshold
    model = encode_model(candidate, study, exchange.run)
    signature = sign_model(model, coordinator.key)
    exchange.finish(
        {"description": model.description.decode(), "signature": orjson.loads(signature.to_json())},
        model.weights,
    )
    await _farewell(coordinator, max(present, needed), needed)
    # Published first: a crash in between leaves a run that is carried on, not one without results.
    evidence = gather_evidence(coordinator, candidate)
    published = await asyncio.to_thread(publish, home, coordinator, candidate, evidence, started)
    with coordinator.state.transaction() as transaction:
        name = digest(signature.payload)
        records.end_run(transaction.connection, exchange.run, "finished", model=name)
    say("published", {"report": str(published.report), "verified": int(published.verified)})
    return published


async def _farewell(coordinator: Coordinator, expected: int, needed: int) -> None:
    """Wait a while until the hospitals have countersigned; for ``needed``, a round's deadline.

    Without those the evidence does not verify, and after a restart hospitals may take longer to
    come back than replaying the run takes.
    """
    exchange = coordinator.exchange
    assert exchange is not None
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (count := len(exchange.witnesses)) < expected:
        patience = FAREWELL_S if count >= needed else coordinator.study.cohort.deadline_s
        left = started + patience - loop.time()
        if left <= 0:
            return
        await exchange.changed.wait_for(left)
