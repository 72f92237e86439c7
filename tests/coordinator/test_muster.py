"""Who is asked for a fresh set-up, where one computes for so long that nothing is heard of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stragglers import KIND, Clock
from studies import document
from wardround.coordinator.muster import Muster
from wardround.coordinator.stopwatch import Stopwatch
from wardround.federation.pace import Limits
from wardround.ids import SiteName
from wardround.study import Study

OWN_S = 600.0
"""How long anybody may take of whom nothing is known yet."""


class Bed:
    """Four hospitals; the first has computed for a minute, and only the others are heard of."""

    def __init__(self, **cohort: object) -> None:
        study = Study.parse(document(cohort={"deadline_s": OWN_S, **cohort}))
        self.sites = study.site_names
        self.clock = Clock()
        self.watch = Stopwatch(Limits(2.0, OWN_S), self.clock)
        self.watch.ask(self.sites[0], "round", KIND)
        self.clock.now += 60.0
        self.heard = self.sites[1:]
        self.exchange = SimpleNamespace(
            study=study,
            sites=self.sites,
            stopwatch=self.watch,
            minimum_survivors=lambda _sites: 3,
        )

    def pool(self, culprits: frozenset[SiteName] = frozenset()) -> tuple[SiteName, ...]:
        muster = Muster(self.exchange, lambda: self.heard)
        return muster.pool(set(culprits), KIND).sites


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize("target", [None, 4])
def test_one_that_is_at_work_is_asked_where_it_is_wanted(
    given_up: bool, target: int | None
) -> None:
    bed = Bed() if target is None else Bed(target_sites=target)
    if given_up:  # the round has gone on without it
        bed.watch.give_up(bed.sites[:1])
    assert bed.pool() == bed.sites
    assert bed.pool(frozenset(bed.sites[:1])) == bed.sites[1:], "but no culprit"
    bed.clock.now += OWN_S
    assert bed.pool() == bed.sites[1:], "past its own deadline it counts as dead"


def test_where_it_is_not_wanted_the_others_go_on_without_it() -> None:
    assert Bed(target_sites=3).pool() == Bed().sites[1:]


def test_where_those_who_are_heard_of_are_too_few_it_is_asked_as_well() -> None:
    bed = Bed(target_sites=3)
    bed.heard = bed.sites[2:]
    bed.watch.give_up(bed.heard)
    assert bed.pool() == (bed.sites[0], *bed.heard)
