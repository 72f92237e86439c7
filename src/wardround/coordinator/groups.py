"""A run of a study with groups: one exchange for each group, beside the run's own.

The run's own exchange opens nothing: it ends the run and takes the countersignatures. Each group
has set-ups, rounds and totals of its own, under a run of its own, ``RUN.g1`` for the first. Where a
study redraws its groups, those of every later partition are others, ``RUN.p1.g1`` the next first.
"""

from __future__ import annotations

from collections.abc import Callable

from wardround.coordinator import records
from wardround.coordinator.asks import asks, framed, instruction
from wardround.coordinator.drawing import KINDS, Drawing
from wardround.coordinator.exchange import Exchange, refused
from wardround.coordinator.intake import Intake
from wardround.errors import WardroundError
from wardround.federation.messages import Refused, group_of, group_run
from wardround.ids import RunId, SiteName
from wardround.secagg import Partition
from wardround.trust.dsse import Envelope


class Groups:
    """Who is asked what, and whose answers go where.

    ``intake`` is that of the run's own exchange; ``make`` opens the exchange of a group, by its
    run and its number from one.
    """

    def __init__(
        self,
        main: Exchange,
        intake: Intake,
        drawing: Drawing,
        make: Callable[[RunId, int], Exchange],
    ) -> None:
        self.main = main
        self.drawing = drawing
        self.exchanges: tuple[Exchange, ...] = ()
        """Of the groups that are summed now; empty until they are drawn."""
        self.number = 0
        """Which partition these are of, from 0."""
        self._make = make
        self._intakes: tuple[Intake, ...] = ()
        self._places: dict[SiteName, int] = {}
        self._intake = intake
        drawing.changed = main.changed
        self.open()

    def open(self) -> None:
        """Serve the groups of the partition that the run has come to, if they are drawn."""
        if self.drawing.partitions is None or self.exchanges:
            return
        with self.main.state.database.begin() as connection:
            names = records.group_runs(connection, self.main.run)
        places = [place for place in map(group_of, names) if place is not None]
        self._serve(max((number for number, _ in places), default=0))

    def of(self, number: int) -> tuple[Exchange, ...]:
        """The exchanges of the groups of partition ``number``; a later one is served from now on.

        Those of an earlier one are for reading what they have opened.
        """
        if number > self.number:
            self.close()
            self._serve(number)
        return self.exchanges if number == self.number else self._made(number)

    def _serve(self, number: int) -> None:
        self.number = number
        self.exchanges = self._made(number)
        for exchange in self.exchanges:
            exchange.spool.clear()
        self._intakes = tuple(Intake(exchange) for exchange in self.exchanges)
        self._places = {
            site: place for place, one in enumerate(self.exchanges) for site in one.sites
        }
        self.main.changed.notify()

    def _made(self, number: int) -> tuple[Exchange, ...]:
        made = []
        for group, sites in enumerate(self._partition(number).groups, 1):
            exchange = self._make(group_run(self.main.run, group, number), group)
            exchange.sites = sites
            exchange.partition = number
            exchange.changed = self.main.changed
            exchange.stopwatch = self.main.stopwatch
            made.append(exchange)
        return tuple(made)

    def _partition(self, number: int) -> Partition:
        assert self.drawing.partitions is not None
        return self.drawing.partitions.at(number)

    @property
    def cohorts(self) -> dict[RunId, tuple[SiteName, ...]]:
        """Under which names the groups had their rounds so far, in order, and their members."""
        return {
            group_run(self.main.run, group, number): sites
            for number in range(self.number + 1 if self.exchanges else 0)
            for group, sites in enumerate(self._partition(number).groups, 1)
        }

    def exchange_of(self, site: SiteName) -> Exchange:
        """The exchange of a site's group."""
        return self.exchanges[self._place(site)]

    def instruction(self, site: SiteName, seen: int) -> bytes | None:
        """What ``site`` should do next as a framed message, or None for nothing."""
        if self.main.ending is not None:
            return instruction(self.main, site, seen)
        ask = self.drawing.instruction(site, self.main.run)
        if ask is not None:
            return framed(ask)
        if site not in self._accepted() or not self.exchanges:
            return None
        return instruction(self.exchange_of(site), site, seen)

    def asks(self, site: SiteName) -> bool:
        """Whether there is an `instruction` for ``site``, without working it out."""
        if self.main.ending is not None:
            return asks(self.main, site)
        if self.drawing.waits_for(site):
            return True
        return (
            bool(self.exchanges) and site in self._accepted() and asks(self.exchange_of(site), site)
        )

    async def submit(
        self, site: SiteName, kind: str, envelope: Envelope, attachment: bytes
    ) -> None:
        """Take a signed statement of ``site``; return once it is durable."""
        if kind in KINDS or (kind == "refusal" and self._about_the_draw(envelope)):
            self.drawing.accept(site, kind, envelope)
        elif kind == "witness":
            await self._intake.submit(site, kind, envelope, attachment)
        else:
            await self._intakes[self._place(site)].submit(site, kind, envelope, attachment)

    def may_sum(self, exchange: Exchange, present: tuple[SiteName, ...]) -> tuple[SiteName, ...]:
        """Members of a group who are present and have accepted what was drawn."""
        members = self._accepted() & set(exchange.sites)
        return tuple(site for site in present if site in members)

    def close(self) -> None:
        """Commit nothing more."""
        for intake in self._intakes:
            intake.close()
        for exchange in self.exchanges:
            exchange.spool.clear()

    def _place(self, site: SiteName) -> int:
        if not self.exchanges:
            raise refused("WR-COORD-036", "The study's groups have not been drawn yet.")
        return self._places[site]

    def _accepted(self) -> frozenset[SiteName]:
        draw = self.drawing.draw
        return frozenset() if draw is None else draw.accepted

    def _about_the_draw(self, envelope: Envelope) -> bool:
        try:
            return Refused.from_payload(envelope.payload).scope.startswith("draw.")
        except WardroundError:
            return False
