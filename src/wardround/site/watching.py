"""Keeping a hospital's records current: by schedule, and when a server knocks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from wardround.clinical import ConceptGraph
from wardround.clinical.fhir import receiver, receiver_server
from wardround.clinical.fhir.subscription import HOOK
from wardround.clinical.harmonise import Harmonised, find_routes, needed
from wardround.clinical.keeping import Keeper, Kept, Subscriber, Wanted, subscriptions
from wardround.clinical.mapping import FhirServerSource
from wardround.clinical.opening import connect
from wardround.clinical.warehouse import Warehouse
from wardround.errors import WardroundError
from wardround.site.home import SiteHome
from wardround.site.say import Say, told


async def watch(home: SiteHome, say: Say, every: timedelta, port: int | None) -> None:
    """Keep the approved study's records in memory current, and say what each reading gives.

    With ``port`` a receiver listens there, on this machine only, and the mapping's FHIR servers
    are asked to notify it. Runs until cancelled; raises what the first look at the papers raises.
    """
    study, mapping, graph = home.study, home.mapping, ConceptGraph.load()
    folder = home.mapping_file.parent
    routes = find_routes(mapping, graph, study.data.needed)
    warehouse = Warehouse(mapping, folder, graph, needed(mapping, routes))

    def tell(kept: Kept) -> None:
        if kept.failure is not None:
            say("trouble", **told(kept.failure))
            return
        assert kept.refreshed is not None
        whole = Harmonised(warehouse, routes).table(study.data.needed)
        try:
            table = whole.excluding(home.exclusions().patients)
        except WardroundError as error:
            say("trouble", **told(error))  # without a list the agent would answer nothing
            return
        read = ", ".join(kept.refreshed.read) or "nothing new"
        left_out = len(whole) - len(table)
        excluded = {"excluded": left_out} if left_out else {}
        say("records", used=len(table), total=table.records_total, read=read, **excluded)

    keeper = Keeper(warehouse, every, tell=tell)
    if port is None:
        await keeper.run()
        return
    async with _notified(home, warehouse, keeper, say, port):
        await keeper.run()


@asynccontextmanager
async def _notified(
    home: SiteHome, warehouse: Warehouse, keeper: Keeper, say: Say, port: int
) -> AsyncIterator[None]:
    """Listen for notifications of every FHIR server of the mapping, and end them afterwards.

    As long as it goes on, the servers are asked anew before they forget.
    """
    secret = secrets.token_hex(32)
    server = receiver_server(receiver(secret, keeper.hint), port)
    serving = asyncio.create_task(server.serve())
    endpoint = f"http://127.0.0.1:{port}{HOOK}"

    def wanted(source: FhirServerSource) -> Wanted:
        return lambda end: subscriptions(warehouse, source, endpoint, secret, end=end)

    subscriber = Subscriber(
        [
            (connect(source, home.mapping_file.parent), wanted(source))
            for source in home.mapping.sources
            if isinstance(source, FhirServerSource)
        ],
        tell=lambda error: say("trouble", **told(error)),
    )
    renewing = None
    try:
        await asyncio.to_thread(subscriber.subscribe)
        say("listening", port=port, subscriptions=len(subscriber))
        renewing = asyncio.create_task(subscriber.renew())
        yield
    finally:
        if renewing is not None:
            renewing.cancel()
        await asyncio.to_thread(subscriber.end)
        server.should_exit = True
        await serving
