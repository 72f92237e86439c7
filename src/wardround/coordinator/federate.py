"""The `Federation` of a study's run: one driver, or in a study with groups one for each group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.drawing import Drawing
from wardround.coordinator.driver import Driver, LiveStream, Say
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.groups import Groups
from wardround.errors import WardroundError
from wardround.federation.draw import DrawPhase
from wardround.federation.federation import Total
from wardround.ids import SiteName
from wardround.study import Study, Task

Facts = dict[str, str | int | float]
Present = Callable[[], tuple[SiteName, ...]]


class GroupedDriver:
    """Every `sum` is one secure sum in each group, all at the same time; all of them are needed."""

    def __init__(
        self,
        exchange: Exchange,
        groups: Groups,
        present: Present,
        say: Say,
    ) -> None:
        self.exchange = exchange
        self._say = say
        self._rounds: list[Facts] = []
        self.drivers = tuple(
            Driver(
                one,
                lambda number=number: groups.may_sum(number, present()),  # type: ignore[misc]
                partial(self._hear, number + 1),
            )
            for number, one in enumerate(groups.exchanges)
        )

    @property
    def study(self) -> Study:
        """The signed agreement that this run keeps."""
        return self.exchange.study

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on."""
        self._say(event, facts)

    async def sum(self, task: Task) -> Total:
        """The sum of all groups' totals; see `Federation.sum`.

        A group that opens no total fails the step: a sum over the others would be one over
        another set of hospitals, and would say what the group's share of it was.
        """
        self._rounds.clear()
        totals = await asyncio.gather(
            *(driver.sum(task) for driver in self.drivers), return_exceptions=True
        )
        opened = [one for one in totals if isinstance(one, Total)]
        for number, one in enumerate(totals, 1):
            if isinstance(one, WardroundError):
                problem = f"Group {number}: {one.problem}"
                raise WardroundError(one.code, problem, one.remedy) from one
            if isinstance(one, BaseException):
                raise one
        if self._rounds:
            self._say("round", _together(self._rounds))
        return Total.over(opened)

    def stream(self, task: Task) -> LiveStream:
        """Refused: no study has both groups and late cohorts (WR-STUDY-156)."""
        return self.drivers[0].stream(task)

    def _hear(self, group: int, event: str, facts: Facts) -> None:
        if event == "round":
            self._rounds.append(facts)
        else:
            self._say(event, {**facts, "group": group})


async def federate(
    coordinator: Coordinator, say: Say = lambda _event, _facts: None
) -> Driver | GroupedDriver:
    """What runs the algorithm of the run that is open; the groups are drawn first if need be.

    Raises WR-ROUND-020 when a hospital is missing from the draw, WR-ROUND-021 when it was ended
    too often.
    """
    exchange, groups = coordinator.exchange, coordinator.groups
    assert exchange is not None
    if groups is None:
        return Driver(exchange, coordinator.present, say, coordinator.open_stream)
    await _draw(groups, exchange, coordinator.present, say)
    groups.open()
    return GroupedDriver(exchange, groups, coordinator.present, say)


async def _draw(groups: Groups, exchange: Exchange, present: Present, say: Say) -> None:
    """Have a partition, and wait for a while until every site that is there has accepted it."""
    drawing, deadline_s = groups.drawing, exchange.study.cohort.deadline_s
    drawn = drawing.partition is None
    while drawing.partition is None:
        drawing.begin(exchange.run)
        await _settle(drawing, DrawPhase.COMMIT, deadline_s)
        draw = drawing.draw
        assert draw is not None
        if draw.phase is DrawPhase.COMMIT:
            raise WardroundError(
                "WR-ROUND-020",
                "The study's groups can't be drawn without every hospital of the study; missing: "
                f"{', '.join(draw.missing)}.",
                "Start the run again when all agents are connected: the draw goes on where it is.",
            )
        await _settle(drawing, DrawPhase.REVEAL, deadline_s)
        drawing.deadline_passed()
        draw = drawing.draw
        if draw is not None and draw.phase is DrawPhase.FAILED:
            who = ", ".join(sorted(draw.refused) or draw.missing)
            say("draw-failed", {"draw": draw.number + 1, "ended_by": who})
    groups.open()
    started = time.monotonic()
    while any(drawing.waits_for(one) for one in present()):
        left = started + deadline_s - time.monotonic()
        if left <= 0:
            break  # it is asked again whenever it comes, and takes part from then on
        await drawing.changed.wait_for(left)
    if drawn:
        sizes = sorted(len(group) for group in drawing.partition.groups)
        say("groups", {"number": len(sizes), "smallest": sizes[0], "largest": sizes[-1]})


async def _settle(drawing: Drawing, phase: DrawPhase, deadline_s: float) -> None:
    """Wait until the draw is past ``phase``, or for this long."""
    deadline = time.monotonic() + deadline_s
    while drawing.draw is not None and drawing.draw.phase is phase:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await drawing.changed.wait_for(left)


def _together(rounds: list[Facts]) -> Facts:
    """One line about a step from what each group's round came to."""
    whole = dict(rounds[0])
    for key in ("survivors", "roster"):
        whole[key] = sum(int(one[key]) for one in rounds)
    whole["seconds"] = max(float(one["seconds"]) for one in rounds)
    return whole
