"""Time that the test turns on, and gates that hold a hospital's packets back."""

from __future__ import annotations

import asyncio

from ward import Ward, until
from wardround.federation.federation import Total
from wardround.ids import SiteName
from wardround.trust.canonical import JSON

FLOOR_S, CEILING_S, LONG_S = 2.0, 1000.0, 20.0
WAITING = {"deadline_s": CEILING_S, "deadline_floor_s": FLOOR_S}
KIND = "outcome_counts"


class Clock:
    """Stands still until it is turned on."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now

    def turn(self, ward: Ward, seconds: float) -> None:
        """So many seconds pass."""
        self.now += seconds
        ward.coordinator.exchange.changed.notify()


class Gate:
    """Holds a hospital's packet back until it is opened."""

    def __init__(self, ward: Ward, site: SiteName) -> None:
        self._open = asyncio.Event()
        self.reached = False
        self._line = ward.hospitals[site].line
        self._line.before = self._hold

    def open(self) -> None:
        """Let it go, and what comes after it."""
        self._open.set()
        self._line.before = lambda _kind: None

    def _hold(self, kind: str) -> object:
        if kind != "packet":
            return None
        self.reached = True
        return self._open.wait()


def packets(ward: Ward) -> set[SiteName]:
    round_ = ward.coordinator.exchange.round
    return set() if round_ is None else set(round_.state.packets)


async def total(ward: Ward, kind: str = KIND, **parameters: JSON) -> Total:
    return await asyncio.wait_for(ward.driver.sum(ward.task(kind, **parameters)), 20)


async def heard_again(ward: Ward, site: SiteName) -> None:
    await until(lambda: not ward.coordinator.exchange.stopwatch.absent(site))
