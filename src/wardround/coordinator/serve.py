"""Running a coordinator: serve the hospitals, drive the study, publish the result."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import orjson

from wardround.algorithms.plan import run_study
from wardround.coordinator import records
from wardround.coordinator.connecting import Connecting, names
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.driver import Say
from wardround.coordinator.farewell import (
    FAREWELL_S,
    RETURN_S,
    RUN_FAILED,
    countersigned,
    require_no_other,
    see_off,
    stay,
    tell_again,
)
from wardround.coordinator.federate import federate
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.http import create_app
from wardround.coordinator.presence import keep_written
from wardround.coordinator.results import Published, gather_evidence, publish
from wardround.coordinator.server import keep_server_certificate, server
from wardround.errors import WardroundError
from wardround.governance.artefact import encode_model, sign_model
from wardround.ids import SiteName
from wardround.store.room import once_there_is_room, wants_room
from wardround.trust.canonical import digest
from wardround.trust.tls import server_context

RECONNECT_S = 60.0
"""How long a run that was interrupted waits for all hospitals: agents try again by themselves."""

AWAITED_EVERY_S = 10.0
"""How long a line that names who is waited for stands at least, before there is another."""

_PASSES = ("WR-ROUND-004", "WR-ROUND-005", "WR-ROUND-020", "WR-ROUND-040")
"""Too few hospitals were there. Nothing is spent or lost by that, so the run can go on later."""


async def serve(
    home: CoordinatorHome, say: Say, *, wait_s: float, once: bool, new_run: bool = False
) -> Published | None:
    """Serve until stopped, or with ``once`` until the study's run has ended.

    The run starts when every hospital of the study is connected and has approved, or after
    ``wait_s`` seconds with as many as the study's rules ask for at least. One that was interrupted
    is carried on. Where the latest has ended, another begins only with ``new_run``; without, the
    hospitals are told of its end that were away.
    """
    with home.alone():
        coordinator = home.open()
        try:
            before = coordinator.latest_run()
            over = before is not None and before.state != "running" and not new_run
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
                    published = await drive(home, coordinator, say, wait_s, new_run=new_run)
                    if not once and not over:
                        await asyncio.Event().wait()
                    if before is not None:  # an agent may not have had its answer before
                        await stay(coordinator, say, once=once)
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
    app = create_app(coordinator)
    http = server(app, home.host, home.port, context, coordinator.write_traffic)
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


class _Awaited:
    """Tells for which hospitals is waited: at the start, and when that has changed, not often."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._told: tuple[SiteName, ...] = ()
        self._at = 0.0

    def __call__(self, wait: Connecting) -> None:
        """It is looked at again."""
        now = time.monotonic()
        if wait.waits_for == self._told or (self._told and now - self._at < AWAITED_EVERY_S):
            return
        self._told, self._at = wait.waits_for, now
        self._say("waiting", wait.facts)


async def drive(
    home: CoordinatorHome,
    coordinator: Coordinator,
    say: Say,
    wait_s: float,
    *,
    new_run: bool = False,
) -> Published:
    """Run the study's plan to its published end, or go on with a run that was interrupted.

    A run that has ended is not repeated but by ``new_run``: its results are given again. Waits
    while the disk is full, and then goes on as after a restart.
    """

    def tell(full: WardroundError) -> None:
        say("disk-full", {"problem": full.problem, "remedy": full.remedy})

    latest = coordinator.latest_run()
    if new_run:
        require_no_other(latest)
    elif latest is not None and latest.state != "running":
        work = partial(_ended, home, coordinator, say, latest)
        return await once_there_is_room(work, tell)
    ending = False
    if latest is not None and not new_run:
        # Those who have countersigned the end are gone, and are not to be waited for.
        ending = latest.ending
        wait_s = 0.0 if ending else min(wait_s, RECONNECT_S)
    sites = len(coordinator.study.sites)
    present = len(await coordinator.wait_for_sites(sites, wait_s, _Awaited(say)))

    async def run() -> Published:
        known = coordinator.latest_run()
        exchange = coordinator.open_run()
        if known is None or known.run != exchange.run:
            say("run", {"run": exchange.run, "sites": present})
        else:
            replayed = coordinator.steps_opened
            say("goes-on", {"run": exchange.run, "sites": present, "steps_replayed": replayed})
        return await _carry_through(home, coordinator, say, sites if ending else present)

    return await once_there_is_room(run, tell)


async def _ended(
    home: CoordinatorHome, coordinator: Coordinator, say: Say, run: records.Run
) -> Published:
    """Say what became of a run that has ended, to the hospitals as well."""
    try:
        published = tell_again(home, coordinator, run)
    except WardroundError as error:
        if error.code == RUN_FAILED:
            say("stays", {"for": names(coordinator.study.site_names), "at_most_s": RETURN_S})
            await see_off(coordinator, coordinator.study.site_names, RETURN_S)
        raise
    say("finished", {"run": run.run, "results": str(published.folder)})
    return published


async def _carry_through(
    home: CoordinatorHome, coordinator: Coordinator, say: Say, present: int
) -> Published:
    study, exchange = coordinator.study, coordinator.exchange
    assert exchange is not None
    try:
        driver = await federate(coordinator, say)
        candidate = await run_study(driver)
    except WardroundError as error:
        if wants_room(error) or error.code == "WR-COORD-001":  # another one drives: its run goes on
            raise
        if error.code in _PASSES:
            say("interrupted", {"run": exchange.run, "code": error.code})
            raise
        # Before anybody is told: an agent that has heard it leaves, and would be missing.
        with coordinator.state.transaction() as transaction:
            records.end_run(transaction.connection, exchange.run, "failed", reason=str(error))
        exchange.stop(f"{error.code}: {error.problem}")
        await see_off(coordinator, coordinator.present(), FAREWELL_S)
        raise
    needed = study.adversary().threshold
    model = encode_model(candidate, study, exchange.run)
    signature = sign_model(model, coordinator.key)
    exchange.finish(
        {"description": model.description.decode(), "signature": orjson.loads(signature.to_json())},
        model.weights,
    )
    await countersigned(coordinator, max(present, needed), needed)
    # Published first: a crash in between leaves a run that is carried on, not one without results.
    evidence = gather_evidence(coordinator, candidate)
    published = await asyncio.to_thread(publish, home, coordinator, candidate, evidence)
    with coordinator.state.transaction() as transaction:
        name = digest(signature.payload)
        records.end_run(transaction.connection, exchange.run, "finished", model=name)
    say("published", {"report": str(published.report), "verified": int(published.verified)})
    return published
