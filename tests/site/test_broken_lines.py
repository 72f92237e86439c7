"""Real TLS over lines that break: hospitals that die at every stage, and every fault of a line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fault_proxy import Fault, FaultProxy
from lines import LinesWard, open_lines, total_of
from ward import SITES, code_of, until
from wardround.ids import SiteName

QUICK = {"deadline_s": 1.0}
STAGES = {
    "advert": "others",  # not in the roster
    "deal": "others",  # costs the set-up
    "packet": "others",
    "vote": "all",  # its contribution counts; the others open it
    "shares": "all",
}


def truth(ward: LinesWard, survivors: tuple[str, ...]) -> list[float]:
    """The total without protocol and without network."""
    from wardround.learning.registry import compute
    from wardround.site.door import computable

    task = ward.task()
    request = {
        "kind": task.kind,
        "parameters": task.parameters,
        "length": task.length,
        "limits": {"minimum_cell": 5, "minimum_cohort": 20},
    }
    tables = [ward.hospitals[site].custody.table for site in survivors]
    parts = [compute(computable(ward.study, one), request, None) for one in tables]
    return list(np.sum(parts, axis=0))


def forget_at(ward: LinesWard, site: SiteName, stage: str) -> None:
    """When the hospital is about to say this, its line is forgotten by everybody on the way.

    The others say it afterwards, or they might be done without it before.
    """
    forgotten = asyncio.Event()

    def before(kind: str) -> None:
        if kind == stage:
            ward.lines[site].forget()
            forgotten.set()

    for other, hospital in ward.hospitals.items():
        if other != site:
            hospital.line.before = lambda kind: forgotten.wait() if kind == stage else None
    ward.hospitals[site].line.before = before


EACH_AT_EACH = [
    pytest.param(site, stage, marks=() if number % 4 == place % 4 else pytest.mark.slow)
    for place, stage in enumerate(STAGES)
    for number, site in enumerate(SITES)
]
"""Every hospital at every stage; without the slow tests, one of them at each."""


@pytest.mark.parametrize(("site", "stage"), EACH_AT_EACH)
async def test_a_hospital_is_lost_at(site: SiteName, stage: str, tmp_path: Path) -> None:
    """Half-open: no FIN, no RST. The round ends by the rules, and nobody hangs."""
    async with open_lines(tmp_path, cohort=QUICK) as ward:
        forget_at(ward, site, stage)
        total = await total_of(ward)
        others = tuple(one for one in SITES if one != site)
        survivors = SITES if STAGES[stage] == "all" else others
        assert total.survivors == survivors
        assert list(total.values) == truth(ward, survivors)
        # The line comes back, and so does the hospital, by itself: to the end of this run.
        ward.hospitals[site].line.before = lambda _kind: None
        ward.lines[site].recover()
        said = len(ward.hospitals[site].line.spoken)
        await until(lambda: len(ward.hospitals[site].line.spoken) > said + 1)
        assert ward.hospitals[site].task is not None and not ward.hospitals[site].task.done()
        assert {event for event, _ in ward.hospitals[site].events} >= {"trouble"}


async def test_a_hospital_that_was_lost_is_in_the_next_round(tmp_path: Path) -> None:
    async with open_lines(tmp_path, cohort={"deadline_s": 4.0}) as ward:
        site = SITES[1]
        line = ward.hospitals[site].line
        forget_at(ward, site, "packet")
        assert site not in (await total_of(ward)).survivors
        line.before = lambda _kind: None
        ward.lines[site].recover()
        asked = [kind for kind, _ in line.spoken].count("next")
        await until(lambda: [kind for kind, _ in line.spoken].count("next") > asked)
        for _ in range(4):  # its deadline follows the others' speed, which this machine shares
            survivors = (await total_of(ward, "moments")).survivors
            if survivors == SITES:
                break
        assert survivors == SITES


@pytest.mark.parametrize("kind", ["cut", "close", "garble", "twice", "forget"])
@pytest.mark.parametrize(
    "after",
    [
        pytest.param(0, marks=pytest.mark.slow),
        400,
        pytest.param(3000, marks=pytest.mark.slow),
        9000,
    ],
)
async def test_every_line_breaks_once_and_nothing_is_lost(
    kind: str, after: int, tmp_path: Path
) -> None:
    """In the handshake, in a request, between two: the total is exact, over everybody."""
    async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        for line in ward.lines.values():
            line.cut()
            line.script = [Fault(kind, after)]
        total = await total_of(ward)
        assert total.survivors == SITES
        assert list(total.values) == truth(ward, SITES)
        assert all(line.seen >= 2 for line in ward.lines.values())


async def test_a_slow_and_distant_line_carries_the_round(tmp_path: Path) -> None:
    """1 Mbit/s and 20 ms each way, for everybody."""
    async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        for line in ward.lines.values():
            line.always = Fault(delay_s=0.02, bits_per_s=1e6)
            line.cut()
        total = await total_of(ward)
        assert total.survivors == SITES and list(total.values) == truth(ward, SITES)


@pytest.mark.parametrize(
    "kind",
    [
        "next",
        pytest.param("advert", marks=pytest.mark.slow),
        pytest.param("deal", marks=pytest.mark.slow),
        "packet",
        pytest.param("vote", marks=pytest.mark.slow),
        pytest.param("shares", marks=pytest.mark.slow),
    ],
)
async def test_a_request_that_is_overtaken_by_later_ones_changes_nothing(
    kind: str, tmp_path: Path
) -> None:
    """Held back on its way; its agent gives up, says it again, goes on; then it is delivered."""
    site = SITES[0]
    async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        line, spoken = ward.lines[site], ward.hospitals[site].line
        held = asyncio.Event()

        def before(said: str) -> None:
            if said == kind and not held.is_set():
                held.set()
                line.hold()

        spoken.before = before
        first = await total_of(ward)
        assert held.is_set() and first.survivors == SITES
        known = len(spoken.spoken)
        second = asyncio.create_task(total_of(ward, "moments"))
        await until(lambda: len(spoken.spoken) > known)
        line.release()
        assert (await second).survivors == SITES
        await until(lambda: line.overtaken == 1)
        third = await total_of(ward)
        assert list(first.values) == list(third.values) == truth(ward, SITES)
        assert third.survivors == SITES
        opened = [entry.facts["round"] for entry in ward.entries("total")]
        assert len(opened) == len(set(opened)) == 3
        packets = [(entry.facts["scope"], entry.facts["site"]) for entry in ward.entries("packet")]
        assert len(packets) == len(set(packets)) == 3 * len(SITES)


async def test_without_enough_lines_the_step_fails_with_a_code(tmp_path: Path) -> None:
    async with open_lines(tmp_path, cohort={**QUICK, "attempts": 1}) as ward:
        for site in SITES[:2]:

            def before(kind: str, line: FaultProxy = ward.lines[site]) -> None:
                if kind == "packet":
                    line.forget()

            ward.hospitals[site].line.before = before
        assert await code_of(total_of(ward)) == "WR-ROUND-002"


async def test_a_port_that_accepts_and_never_answers_is_left(tmp_path: Path) -> None:
    async with open_lines(tmp_path, start=False) as ward:
        hospital = ward.hospitals[SITES[0]]
        line = ward.lines[SITES[0]]
        line.forget()
        await hospital.start()
        await until(lambda: line.seen >= 2)
        codes = [facts["code"] for event, facts in hospital.events if event == "trouble"]
        assert set(codes) == {"WR-SITE-040"}
        line.recover()
        await until(lambda: ward.coordinator.present() == SITES[:1])


async def test_an_agent_started_again_behind_a_forgotten_line_is_not_taken_for_a_twin(
    tmp_path: Path,
) -> None:
    """The coordinator still waits on the dead connection; the new agent waits until it is over."""
    async with open_lines(tmp_path, cohort={"deadline_s": 20.0}) as ward:
        site = SITES[0]
        ward.lines[site].forget()
        await ward.hospitals[site].kill()
        ward.lines[site].recover()
        await ward.transport(site, b"").aclose()
        ward._clients.pop(site)
        await ward.hospitals[site].start()
        total = await total_of(ward)
        assert total.survivors == SITES
