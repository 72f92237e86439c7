"""Who takes part in the next round: whether the present batch serves, and who is in a fresh one.

A hospital that came late stays in the batch: each round has keys of its own, so it can take part in
the next. One that nothing is heard of is left out of the next set-up, so that it does not hold up
every round, and is let in again when it is heard of. See docs/explanation/rounds.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from wardround.coordinator import records
from wardround.coordinator.exchange import Exchange
from wardround.federation.pace import closing_s
from wardround.federation.round import Round
from wardround.federation.selection import Candidate, Selection, due, select
from wardround.federation.setup import SetupPhase
from wardround.ids import SiteName
from wardround.study import Task


class Again(StrEnum):
    """When a step can be repeated over the very hospitals that were to be in its total."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Pool:
    """Who is asked for keys; ``why`` says who was chosen how, where not everybody is asked."""

    sites: tuple[SiteName, ...]
    turns: tuple[SiteName, ...] = ()
    why: Selection | None = None


class Muster:
    """Chooses who takes part; ``present`` names the sites that may be asked."""

    def __init__(self, exchange: Exchange, present: Callable[[], tuple[SiteName, ...]]) -> None:
        self._exchange = exchange
        self._present = present
        self._cohort = exchange.study.cohort
        self._let_in: set[SiteName] = set()
        """For whom a set-up was made when they came back, and who have not contributed since."""

    def wanted(self, asked: int) -> int:
        """How many contributions are wanted of so many that are asked."""
        target = self._cohort.target_sites
        return asked if target is None else min(target, asked)

    def serves(self, culprits: set[SiteName]) -> bool:
        """Whether the present batch will do for another round."""
        exchange = self._exchange
        setup, latest = exchange.setup, exchange.round
        if setup is None or not setup.state.usable:
            return False
        roster = set(setup.state.roster)
        watch = exchange.stopwatch
        if latest is not None:
            self._let_in -= latest.state.packets
            if latest.state.batch == setup.state.batch and latest.state.refused:
                return False  # its keys may be lost
        if roster & culprits or any(watch.absent(one) and not watch.busy(one) for one in roster):
            return False
        ready = set(self._ready(culprits))
        if self._cohort.adaptive:
            turns_over = bool(setup.state.turns) and setup.state.used > 0
            return not turns_over and self._due(tuple(ready)) <= roster
        back = ready - roster - self._let_in
        self._let_in |= back
        return not back

    def pool(self, culprits: set[SiteName], kind: str) -> Pool:
        """Who is asked to take part in a fresh set-up, before a task of some kind.

        Those who are at work, or of whom nothing is heard, only where the others are too few. One
        that computes for minutes is at work, though it is not among those heard of lately.
        """
        exchange = self._exchange
        present = [one for one in self._present() if one not in culprits]
        ready = list(self._ready(culprits))
        left = set(exchange.sites) - set(ready) - culprits
        busy = sorted(one for one in left if exchange.stopwatch.at_work(one))
        target = self._cohort.target_sites
        there = sorted({*present, *busy})
        if len(ready) < (len(there) if target is None else target):
            ready += busy
        if len(ready) < exchange.minimum_survivors(len(exchange.sites)):
            ready = there
        if not self._cohort.adaptive or target is None:
            return Pool(tuple(sorted(ready)))
        turns = self._due(tuple(ready))
        watch = exchange.stopwatch
        chosen = select(
            [Candidate(one, watch.usual_s(one, kind), one in turns) for one in ready],
            target + self._cohort.over_selection,
            exchange.run,
        )
        return Pool(chosen.asked, chosen.turns, chosen)

    def closed(self, task: Task, step: int) -> Round | None:
        """The attempt at a step for which recovery shares may have been given, if there is one.

        Whoever gave some answers that task again over the same survivors only (`site.records`). In
        a study with noise, or where hospitals carry something on, there is nothing to be had so.
        """
        if self._exchange.study.privacy is not None or task.turns is not None:
            return None
        with self._exchange.state.database.begin() as connection:
            attempts = records.attempts_at(connection, self._exchange.run, step)
        return next((one for one in reversed(attempts) if one.closed_by), None)

    def whole_again(self, before: Round, culprits: set[SiteName]) -> Again:
        """Whether a step may be repeated over everybody who was in its total, as things stand."""
        if self.are_there(before.packets, culprits):
            return Again.NOW
        others = set(self._ready(culprits)) - before.closed_by
        if len(others) >= self._exchange.minimum_survivors(len(self._exchange.sites)):
            return Again.NEVER  # they are enough without those who have closed it
        return Again.NEVER if before.packets & culprits else Again.LATER

    def are_there(self, sites: Collection[SiteName], culprits: set[SiteName]) -> bool:
        """Whether all of these can be asked now."""
        return self.there(sites, culprits) == set(sites)

    def there(self, sites: Collection[SiteName], culprits: set[SiteName]) -> set[SiteName]:
        """Those of these that can be asked now."""
        return set(sites) & set(self._ready(culprits))

    def closing(self, began: float) -> float:
        """The time at which the collecting that began then is over, as things stand."""
        exchange, watch = self._exchange, self._exchange.stopwatch
        round_ = exchange.round_ahead
        assert round_ is not None and exchange.manifest is not None and exchange.setup is not None
        kind = exchange.manifest.kind
        runners = {
            site: watch.runner(site, round_.round, kind, began)
            for site in round_.roster
            if site not in round_.refused or site in round_.packets
        }
        return began + closing_s(
            runners,
            round_.packets,
            now_s=watch.clock() - began,
            wanted=self.wanted(len(round_.roster)),
            minimum=round_.minimum,
            ceiling_s=watch.limits.ceiling_s,
            awaited=exchange.setup.state.turns,
        )

    def setup_closing(self, began: float) -> float:
        """The same of the present phase of a set-up; those who advertised must all go on."""
        exchange, watch = self._exchange, self._exchange.stopwatch
        setup = exchange.setup_ahead
        assert setup is not None
        first = setup.phase is SetupPhase.ADVERTISE
        asked = setup.pool if first else setup.roster
        runners = {
            site: watch.runner(site, setup.batch, setup.awaits, began)
            for site in asked
            if site not in setup.lost
        }
        return began + closing_s(
            runners,
            [site for site in runners if not setup.waits_for(site)],
            now_s=watch.clock() - began,
            wanted=self.wanted(len(asked)) if first else len(asked),
            minimum=setup.minimum if first else 0,
            ceiling_s=watch.limits.ceiling_s,
            awaited=setup.turns,
        )

    def _ready(self, culprits: set[SiteName]) -> tuple[SiteName, ...]:
        watch = self._exchange.stopwatch
        return tuple(
            one for one in self._present() if one not in culprits and not watch.absent(one)
        )

    def _due(self, sites: tuple[SiteName, ...]) -> frozenset[SiteName]:
        every = self._cohort.ask_every
        with self._exchange.state.database.begin() as connection:
            rosters = records.last_rosters(connection, self._exchange.run, every - 1)
        return due(sites, rosters, every)
