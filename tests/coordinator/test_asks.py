"""Whoever has an instruction waiting is woken for it: both say the same, all through a round."""

from __future__ import annotations

from pathlib import Path

from puppets import Puppets
from ward import open_ward
from wardround.coordinator.asks import asks, instruction


class Watched(Puppets):
    """Compares the two after each statement that anybody makes."""

    compared = 0

    def say(self, *said: object, **more: object) -> None:
        self.compare()
        super().say(*said, **more)
        self.compare()

    def compare(self) -> None:
        found = {site: instruction(self.exchange, site, 0) is not None for site in self.sites}
        assert {site: asks(self.exchange, site) for site in self.sites} == found
        self.compared += 1


async def test_in_a_whole_round_and_at_its_end(tmp_path: Path):
    async with open_ward(tmp_path, start=False) as ward:
        puppets = Watched(ward)
        puppets.compare()
        puppets.ready().packets().votes()
        for site in puppets.exchange.round.state.survivors:
            puppets.say(site, "shares", puppets.shares_of(site))
        assert puppets.compared > 2 * 5 * len(puppets.sites) - 2
        puppets.exchange.finish({"description": "a model"}, b"weights")
        puppets.compare()
        assert all(asks(puppets.exchange, site) for site in puppets.sites)


async def test_when_hospitals_drop_out_and_the_run_is_stopped(tmp_path: Path):
    async with open_ward(tmp_path, start=False) as ward:
        puppets = Watched(ward).ready()
        for site in puppets.sites[1:]:
            puppets.packet(site)
        puppets.exchange.deadline_passed()
        puppets.compare()
        assert not asks(puppets.exchange, puppets.sites[0])
        puppets.exchange.stop("the test is over")
        puppets.compare()
        assert asks(puppets.exchange, puppets.sites[0])
