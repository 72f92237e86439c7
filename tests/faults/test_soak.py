"""Hundreds of rounds while parties die and requests are lost: nothing is lost, nothing grows."""

from __future__ import annotations

import asyncio
import gc
import random
from pathlib import Path

import httpx
import psutil
import pytest

from ward import SITES, Ward, open_ward
from wardround.coordinator import coordinator as coordinator_module
from wardround.federation.federation import Total
from wardround.study import Task

ROUNDS = 500
WARM = 100
"""After so many rounds everything that is made once has been made."""

MORE_BYTES = 32 << 20
"""What the journals' trees and SQLite's caches may take in four hundred rounds."""

THREE = SITES[:3]
SEED = 6


class Soak:
    """A ward whose lines lose and delay requests and answers, and whose parties die, by a die."""

    def __init__(self, ward: Ward) -> None:
        self.ward = ward
        self.dice = random.Random(SEED)
        self.deaths = {"coordinator": 0, "site": 0}
        self.disturbed = 0
        self.totals: list[list[float]] = []
        for hospital in ward.hospitals.values():
            hospital.line.before = hospital.line.after = self.disturb
            hospital.line.spoken = _Nothing()
            hospital.events = _Nothing()
        ward.said = _Nothing()

    async def disturb(self, _kind: str) -> None:
        """Lose what goes over a line, or hold it up."""
        chance = self.dice.random()
        if chance < 0.03:
            self.disturbed += 1
        if chance < 0.01:
            raise httpx.ReadError("lost on the way")
        if chance < 0.03:
            await asyncio.sleep(self.dice.random() * 0.01)

    def task(self, step: int) -> Task:
        """Two questions, in turn."""
        return self.ward.task("moments" if step % 2 else "outcome_counts")

    async def round(self) -> None:
        """One total, though somebody may die on the way to it."""
        step = len(self.totals)
        under_way = asyncio.ensure_future(self.ward.driver.sum(self.task(step)))
        if self.dice.random() < 0.1:
            await asyncio.sleep(self.dice.random() * 0.03)
            if self.dice.random() < 0.3:
                under_way.cancel()
                await asyncio.wait({under_way})
                await self.restart_coordinator()
                under_way = asyncio.ensure_future(self.ward.driver.sum(self.task(step)))
            else:
                self.deaths["site"] += 1
                hospital = self.ward.hospitals[self.dice.choice(THREE)]
                await hospital.kill()
                await hospital.start()
        total: Total = await asyncio.wait_for(under_way, 60)
        assert total.survivors == THREE
        self.totals.append(list(total.values))

    async def restart_coordinator(self) -> None:
        """Killed and started again, it has every total that there was."""
        self.deaths["coordinator"] += 1
        await self.ward.crash()
        driver = await self.ward.restart()
        for step, known in enumerate(self.totals):
            assert list((await driver.sum(self.task(step))).values) == known


class _Nothing(list[object]):
    """A record that keeps nothing: what grows must be the product's."""

    def append(self, _one: object) -> None:
        return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_five_hundred_rounds_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_module, "TWIN_WITHIN_S", 0.0)
    process = psutil.Process()
    cohort = {"minimum_sites": 3, "deadline_s": 30, "attempts": 10}
    async with open_ward(tmp_path, sites=THREE, cohort=cohort) as ward:
        soak = Soak(ward)
        while len(soak.totals) < WARM:
            await soak.round()
        gc.collect()
        memory, files = process.memory_info().rss, process.num_fds()
        while len(soak.totals) < ROUNDS:
            await soak.round()
        gc.collect()
        assert process.num_fds() <= files + 5
        assert process.memory_info().rss <= memory + MORE_BYTES
        totals = soak.totals
        assert all(one == totals[step % 2] for step, one in enumerate(totals)), "one of two totals"
        opened = [one.facts["round"] for one in ward.entries("total")]
        assert len(opened) == len(set(opened)) == ROUNDS
        assert min(soak.deaths.values()) >= 5
        assert soak.disturbed > 100
