"""The `Federation` of a study's run: one driver, or in a study with groups one for each group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.drawing import Drawing
from wardround.coordinator.driver import Driver, Say
from wardround.coordinator.exchange import Exchange
from wardround.coordinator.groups import Groups
from wardround.coordinator.live_stream import LiveStream
from wardround.errors import WardroundError
from wardround.federation.draw import DrawPhase
from wardround.federation.federation import Total
from wardround.ids import SiteName
from wardround.secagg.partition import group_sizes
from wardround.study import Study, Task
from wardround.study.checks import not_asynchronous

Facts = dict[str, str | int | float]
Present = Callable[[], tuple[SiteName, ...]]


class GroupedDriver:
    """Every `sum` is one secure sum in each group, all at the same time; all of them are needed.

    Where the study redraws its groups, the drivers change with them.
    """

    def __init__(
        self,
        exchange: Exchange,
        groups: Groups,
        present: Present,
        say: Say,
    ) -> None:
        self.exchange = exchange
        self._groups = groups
        self._present = present
        self._say = say
        self._step = 0
        self._rounds: list[Facts] = []
        self._number = -1
        self._drivers: tuple[Driver, ...] = ()

    def _at(self, step: int) -> tuple[Driver, ...]:
        """The drivers of the groups that sum at ``step``."""
        number = self.study.partition_number(step)
        if number != self._number:
            self._number = number
            self._drivers = tuple(
                Driver(
                    exchange,
                    partial(self._may_sum, exchange),
                    partial(self._hear, group),
                    step=step,
                )
                for group, exchange in enumerate(self._groups.of(number), 1)
            )
        return self._drivers

    def _may_sum(self, exchange: Exchange) -> tuple[SiteName, ...]:
        return self._groups.may_sum(exchange, self._present())

    @property
    def study(self) -> Study:
        """The signed agreement that this run keeps."""
        return self.exchange.study

    def say(self, event: str, **facts: str | float) -> None:
        """Tell whoever watches how the algorithm is getting on; see `Driver.say`."""
        if not self._drivers or not all(one.replays for one in self._drivers):
            self._say(event, facts)

    async def sum(self, task: Task) -> Total:
        """The sum of all groups' totals; see `Federation.sum`.

        A group that opens no total fails the step: a sum over the others would be one over
        another set of hospitals, and would say what the group's share of it was.
        """
        drivers = self._at(self._step)
        self._step += 1
        self._rounds.clear()
        totals = await asyncio.gather(
            *(driver.sum(task) for driver in drivers), return_exceptions=True
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
        raise not_asynchronous()

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
    drawn = drawing.partitions is None
    while drawing.partitions is None:
        drawing.begin(exchange.run)
        await _settle(drawing, DrawPhase.COMMIT, deadline_s)
        draw = drawing.draw
        assert draw is not None
        if draw.phase is DrawPhase.COMMIT:
            raise WardroundError(
                "WR-ROUND-020",
                "The study's groups can't be drawn without every hospital of the study; missing: "
                f"{', '.join(draw.missing)}.",
                "Start the coordinator again when all agents are connected: the draw goes on where "
                "it is.",
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
        study = exchange.study
        sizes = sorted(group_sizes(len(study.sites), study.totals_per_step))
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
