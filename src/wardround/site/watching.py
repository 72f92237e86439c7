"""Keeping a hospital's records current: by schedule, and when a server knocks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from wardround.clinical import ConceptGraph
from wardround.clinical.fhir import receiver, receiver_server
from wardround.clinical.fhir.subscription import HOOK
from wardround.clinical.harmonise import Harmonised, find_routes, needed
from wardround.clinical.keeping import Keeper, Kept, subscriptions
from wardround.clinical.mapping import FhirServerSource
from wardround.clinical.opening import connect
from wardround.clinical.warehouse import Warehouse
from wardround.errors import WardroundError
from wardround.site.home import SiteHome
from wardround.site.say import Say, told

_REMEMBERED: Final = timedelta(days=1)
"""How long a server is asked to send notifications; after a restart they are asked for anew."""


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
        table = Harmonised(warehouse, routes).table(study.data.needed)
        read = ", ".join(kept.refreshed.read) or "nothing new"
        say("records", used=len(table), total=table.records_total, read=read)

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
    """Listen for notifications of every FHIR server of the mapping, and end them afterwards."""
    secret = secrets.token_hex(32)
    server = receiver_server(receiver(secret, keeper.hint), port)
    serving = asyncio.create_task(server.serve())
    end = (datetime.now(UTC) + _REMEMBERED).strftime("%Y-%m-%dT%H:%M:%SZ")
    endpoint = f"http://127.0.0.1:{port}{HOOK}"
    asked = []
    try:
        for source in home.mapping.sources:
            if not isinstance(source, FhirServerSource):
                continue
            ehr = connect(source, home.mapping_file.parent)
            for one in subscriptions(warehouse, source, endpoint, secret, end=end):
                name = await asyncio.to_thread(ehr.subscribe, one)
                asked.append((ehr, name))
        say("listening", port=port, subscriptions=len(asked))
        yield
    finally:
        for ehr, name in asked:
            with suppress(WardroundError):  # it ends by itself within a day
                await asyncio.to_thread(ehr.unsubscribe, name)
        server.should_exit = True
        await serving
