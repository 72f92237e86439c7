"""When each site was asked and heard of, and how long its answers took before.

The times of answers are kept in the database, so that a restart knows them; when somebody was asked
or heard of is known to this process alone, and a duration counts only if it saw both ends. None of
it leaves the coordinator: how long a hospital computes may say how many records it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection, bindparam, delete, insert, select

from wardround.coordinator.tables import answer_times
from wardround.federation.pace import KEPT, Limits, Runner, deadline_s, usual_s
from wardround.ids import SiteName

Times = Mapping[tuple[SiteName, str], tuple[float, ...]]

_FORGET = delete(answer_times).where(
    answer_times.c.site == bindparam("b_site"), answer_times.c.kind == bindparam("b_kind")
)
_KEEP = insert(answer_times)


@dataclass(frozen=True)
class Asked:
    """The last thing that a site was asked, under which scope, and when."""

    scope: str
    kind: str
    at: float


class Stopwatch:
    """The times of one exchange's sites; ``clock`` counts seconds and never goes back."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.clock = clock
        self._times: dict[tuple[SiteName, str], tuple[float, ...]] = {}
        self._asked: dict[SiteName, Asked] = {}
        self._open: set[SiteName] = set()
        self._heard: dict[SiteName, float] = {}
        self._given_up: dict[SiteName, float] = {}

    def restore(self, connection: Connection) -> None:
        """Read what is known of earlier answers."""
        rows = connection.execute(select(answer_times))
        self._times = {(row.site, row.kind): tuple(orjson.loads(row.seconds)) for row in rows}

    def heard(self, site: SiteName) -> None:
        """``site`` waits for work: whatever it was doing is over."""
        self._heard[site] = self.clock()
        self._given_up.pop(site, None)

    def ask(self, site: SiteName, scope: str, kind: str) -> None:
        """``site`` is given something to do; the same once more does not start the clock anew."""
        if (known := self._asked.get(site)) is None or (known.scope, known.kind) != (scope, kind):
            self._asked[site] = Asked(scope, kind, self.clock())
        self._open.add(site)

    def answered(self, site: SiteName, scope: str, kind: str) -> tuple[str, float] | None:
        """What sort of answer came and how long it took; None if it is not known.

        ``kind`` is that of the statement; what answers a task counts under the kind of the task.
        """
        asked = self._asked.get(site)
        if asked is None or asked.scope != scope or site not in self._open:
            return None
        if kind != "packet" and asked.kind != kind:
            return None
        self._open.discard(site)
        return asked.kind, self.clock() - asked.at

    def learn(self, connection: Connection, site: SiteName, kind: str, seconds: float) -> None:
        """Keep the time of an answer."""
        times = (*self._times.get((site, kind), ()), round(seconds, 3))[-KEPT:]
        connection.execute(_FORGET, {"b_site": site, "b_kind": kind})
        row = {"site": site, "kind": kind, "seconds": orjson.dumps(times)}
        connection.execute(_KEEP, row)
        self._times[site, kind] = times

    def give_up(self, sites: Iterable[SiteName]) -> None:
        """Go on without these; each counts as absent until it is heard of again."""
        self._given_up |= dict.fromkeys(sites, self.clock())

    def absent(self, site: SiteName) -> bool:
        """Whether the exchange went on without ``site``, and nothing was heard of it since."""
        return site in self._given_up

    def busy(self, site: SiteName) -> bool:
        """Whether an absent site may still be at work: within the time it usually takes."""
        return self.absent(site) and self.at_work(site)

    def at_work(self, site: SiteName) -> bool:
        """Whether a site owes an answer, and not for longer than it usually takes.

        It asks for nothing meanwhile, so nothing may be heard of it for minutes.
        """
        asked = self._asked.get(site)
        return (
            site in self._open
            and asked is not None
            and self.clock() < asked.at + self._own_deadline_s(site, asked.kind)
        )

    def usual_s(self, site: SiteName, kind: str) -> float | None:
        """How long ``site`` takes for an answer of a kind as a rule, if that is known."""
        return usual_s(self._times.get((site, kind), ()))

    def runner(self, site: SiteName, scope: str, kind: str, began: float) -> Runner:
        """When ``site`` is late and likely to answer, in seconds since ``began``."""
        now = self.clock() - began
        own, usual = self._own_deadline_s(site, kind), self.usual_s(site, kind) or 0.0
        asked = self._asked.get(site)
        if asked is not None and (asked.scope, asked.kind) == (scope, kind):
            at = asked.at - began
            return Runner(at + own, at + usual)
        if self.busy(site) and asked is not None:  # with what it was asked before
            return Runner(asked.at - began + self._own_deadline_s(site, asked.kind), now + usual)
        if self.absent(site):
            return Runner(0.0, float("inf"))
        return Runner(own, now + usual)

    def _own_deadline_s(self, site: SiteName, kind: str) -> float:
        return deadline_s(self._times.get((site, kind), ()), self.limits)
