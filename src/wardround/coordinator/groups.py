"""A run of a study with groups: one exchange for each group, beside the run's own.

The run's own exchange opens nothing: it ends the run and takes the countersignatures. Each group
has set-ups, rounds and totals of its own, under a run of its own, ``RUN.g1`` for the first.
"""

from __future__ import annotations

from collections.abc import Callable

from wardround.coordinator.asks import asks, framed, instruction
from wardround.coordinator.drawing import KINDS, Drawing
from wardround.coordinator.exchange import Exchange, refused
from wardround.coordinator.intake import Intake
from wardround.errors import WardroundError
from wardround.federation.messages import Refused, group_run
from wardround.ids import RunId, SiteName
from wardround.trust.dsse import Envelope


class Groups:
    """Who is asked what, and whose answers go where.

    ``intake`` is that of the run's own exchange; ``make`` opens the exchange of a group.
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
        self._make = make
        self._intakes: tuple[Intake, ...] = ()
        self._intake = intake
        drawing.changed = main.changed
        self.open()

    def open(self) -> None:
        """Open the groups' exchanges, if it is settled who belongs to which."""
        partition = self.drawing.partition
        if partition is None or self.exchanges:
            return
        opened = []
        for number, group in enumerate(partition.groups, 1):
            exchange = self._make(group_run(self.main.run, number), number)
            exchange.sites = group
            exchange.changed = self.main.changed
            opened.append(exchange)
        self.exchanges = tuple(opened)
        self._intakes = tuple(Intake(exchange) for exchange in opened)
        self.main.changed.notify()

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

    def may_sum(self, number: int, present: tuple[SiteName, ...]) -> tuple[SiteName, ...]:
        """Members of group ``number`` (from 0) who are present and have accepted the partition."""
        members = self._accepted() & set(self.exchanges[number].sites)
        return tuple(site for site in present if site in members)

    def close(self) -> None:
        """Commit nothing more."""
        for intake in self._intakes:
            intake.close()
        for exchange in self.exchanges:
            exchange.spool.clear()

    def _place(self, site: SiteName) -> int:
        partition = self.drawing.partition
        if partition is None or not self.exchanges:
            raise refused("WR-COORD-036", "The study's groups have not been drawn yet.")
        return partition.number_of(site) - 1

    def _accepted(self) -> frozenset[SiteName]:
        draw = self.drawing.draw
        return frozenset() if draw is None else draw.accepted

    def _about_the_draw(self, envelope: Envelope) -> bool:
        try:
            return Refused.from_payload(envelope.payload).scope.startswith("draw.")
        except WardroundError:
            return False
