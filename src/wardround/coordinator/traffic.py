"""How many bytes each hospital sent and was sent, by round: of bodies, as they came and went.

What was cut and sent again counts again, so this is what a line had to carry but for header fields
and TLS. Counts are written with the next checkpoint; those since the last one are lost when the
coordinator is killed, and the report says less then, never more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wardround.coordinator.tables import traffic
from wardround.ids import SiteName

Count: TypeAlias = Callable[[SiteName, int, int], None]

VISITOR = "wardround.visitor"
"""Where `Reception` notes in a request's scope whose signature it has verified."""

RELEASE = "wardround.release"
"""What to call when a request is over, where `Reception` holds its body in memory."""

_ADD = insert(traffic)
_ADD = _ADD.on_conflict_do_update(
    index_elements=["round", "site"],
    set_={
        "bytes_in": traffic.c.bytes_in + _ADD.excluded.bytes_in,
        "bytes_out": traffic.c.bytes_out + _ADD.excluded.bytes_out,
    },
)


@dataclass
class Moved:
    """Bytes that a coordinator received and sent."""

    bytes_in: int = 0
    bytes_out: int = 0


class Traffic:
    """What has been counted since it was last written down."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, SiteName], Moved] = defaultdict(Moved)

    def count(self, scope: str, site: SiteName, bytes_in: int, bytes_out: int) -> None:
        """Count a request of ``site`` and its answer, under the round that they fell into."""
        moved = self._counted[scope, site]
        moved.bytes_in += bytes_in
        moved.bytes_out += bytes_out

    def save(self, connection: Connection) -> None:
        """Write it down; for a transaction that will not fail, as it is forgotten here."""
        rows = [
            {"round": scope, "site": site, **vars(moved)}
            for (scope, site), moved in self._counted.items()
        ]
        self._counted.clear()
        if rows:
            connection.execute(_ADD, rows)


def load(connection: Connection, scopes: Iterable[str]) -> dict[str, dict[SiteName, Moved]]:
    """What was written down for each of these rounds, by hospital."""
    found: dict[str, dict[SiteName, Moved]] = {}
    query = select(traffic).where(traffic.c.round.in_(list(scopes))).order_by(traffic.c.site)
    for row in connection.execute(query):
        moved = Moved(row.bytes_in, row.bytes_out)
        found.setdefault(row.round, {})[SiteName(row.site)] = moved
    return found


class Counted:
    """An application whose visitors' bytes are counted, by ``count(site, in, out)``."""

    def __init__(self, app: ASGIApp, count: Count) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        moved = Moved()

        async def received() -> Message:
            message = await receive()
            moved.bytes_in += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            await send(message)
            moved.bytes_out += len(message.get("body", b""))

        try:
            await self._app(scope, received, sent)
        finally:
            site = scope.get(VISITOR)
            if site is not None:
                self._count(site, moved.bytes_in, moved.bytes_out)
            scope.get(RELEASE, lambda: None)()
