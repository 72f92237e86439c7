"""How many bytes each hospital sent and was sent: of bodies, as they came and went.

What was cut and sent again counts again, so this is what a line had to carry but for header fields
and TLS. Each piece counts when it has been read or handed to the system, for what was under way
then (its scope): a round, a set-up, a late cohort, or the run itself. The counts are written in
every transaction of the journalled database, so they need no sync of their own; where nothing else
is written for `MOST_UNWRITTEN_BYTES`, they are written alone. A coordinator that is killed loses
those since the last transaction, and one that is stopped loses none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wardround.coordinator.tables import traffic
from wardround.ids import RunId, SiteName

Count: TypeAlias = Callable[[SiteName, int, int], None]

VISITOR = "wardround.visitor"
"""Where `Reception` notes in a request's scope whose line it came over, before its body is read."""

MOST_UNWRITTEN_BYTES = 64 << 20
"""So much is moved at the most before the counts are written down."""

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
    """What has been counted and is not durable yet."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str | None, SiteName], Moved] = {}
        self._writing: dict[tuple[str | None, SiteName], Moved] = {}
        self.unwritten_bytes = 0
        """How much of it no transaction has been tried for."""

    def count(self, scope: str | None, site: SiteName, bytes_in: int, bytes_out: int) -> None:
        """Count what came from ``site`` and went to it; without a scope, for the next run."""
        moved = self._counted.setdefault((scope, site), Moved())
        moved.bytes_in += bytes_in
        moved.bytes_out += bytes_out
        self.unwritten_bytes += bytes_in + bytes_out

    @property
    def pending(self) -> bool:
        """Whether anything is counted for a scope and not durable."""
        return any(scope is not None for scope, _ in self._counted)

    def open_run(self, run: RunId) -> None:
        """What was counted before a run was open belongs to ``run``."""
        for scope, site in [key for key in self._counted if key[0] is None]:
            moved = self._counted.pop((scope, site))
            self.count(run, site, moved.bytes_in, moved.bytes_out)

    def write(self, connection: Connection) -> None:
        """Write it down; it is kept here until `written` says that it is durable."""
        self._writing = {key: one for key, one in self._counted.items() if key[0] is not None}
        self.unwritten_bytes = 0
        rows = [
            {"round": scope, "site": site, **vars(moved)}
            for (scope, site), moved in self._writing.items()
        ]
        if rows:
            connection.execute(_ADD, rows)

    def written(self) -> None:
        """What `write` has written is durable: forget it."""
        for key in self._writing:
            del self._counted[key]
        self._writing = {}


def load(connection: Connection, run: RunId) -> dict[str, dict[SiteName, Moved]]:
    """What was written down for a run: by scope and hospital."""
    found: dict[str, dict[SiteName, Moved]] = {}
    mine = (traffic.c.round == run) | traffic.c.round.startswith(f"{run}.", autoescape=True)
    for row in connection.execute(select(traffic).where(mine).order_by(traffic.c.site)):
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

        async def received() -> Message:
            message = await receive()
            self._note(scope, len(message.get("body", b"")), 0)
            return message

        async def sent(message: Message) -> None:
            await send(message)
            self._note(scope, 0, len(message.get("body", b"")))

        try:
            await self._app(scope, received, sent)
        finally:
            scope.get(RELEASE, lambda: None)()

    def _note(self, scope: Scope, bytes_in: int, bytes_out: int) -> None:
        site = scope.get(VISITOR)
        if site is not None and bytes_in + bytes_out:
            self._count(site, bytes_in, bytes_out)
