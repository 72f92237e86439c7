"""Who is turned away leaves a trace, and a flood of them no flood of traces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ward import SITES
from wardround.coordinator import tables
from wardround.coordinator.refusals import EACH, WINDOW, Refusals
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.trust.canonical import JSON

ME, PEER = SITES[:2]


class Desk:
    """Refusals with a clock of their own."""

    def __init__(self, folder: Path) -> None:
        database = Database.file(folder / "state.db", tables.MIGRATIONS)
        self.state = JournalledDatabase(database, tables.journal, "test")
        self.now = datetime(2026, 11, 25, 9, tzinfo=UTC)
        self.refusals = Refusals(self.state, frozenset(SITES), lambda: self.now)

    def refuse(self, site: str | None = ME, code: str = "WR-TRUST-041", times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(WardroundError, match=code), self.refusals.noted(SiteName(site)):
                raise WardroundError(code, "No.", "Don't.")

    @property
    def leaves(self) -> list[dict[str, JSON]]:
        return [dict(one.facts) for one in self.state.journal.entries()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    yield one
    one.state.close()


def test_a_refusal_is_a_leaf_with_site_code_and_time(desk: Desk) -> None:
    desk.refuse()
    assert desk.leaves == [{"site": ME, "code": "WR-TRUST-041", "at": desk.now.isoformat()}]


def test_what_passes_and_what_breaks_otherwise_is_no_refusal(desk: Desk) -> None:
    with desk.refusals.noted(ME):
        pass
    with pytest.raises(KeyError), desk.refusals.noted(ME):
        raise KeyError
    assert desk.leaves == []


def test_a_flood_is_counted_and_the_count_written_when_the_hour_is_over(desk: Desk) -> None:
    began = desk.now
    desk.refuse(times=1000)
    assert len(desk.leaves) == EACH
    desk.now += WINDOW
    desk.refuse()
    assert len(desk.leaves) == EACH + 2
    counted = {"site": ME, "code": "WR-TRUST-041", "since": began.isoformat()}
    assert desk.leaves[EACH] == {**counted, "more": 1000 - EACH}


def test_what_was_only_counted_is_written_at_the_end(desk: Desk) -> None:
    desk.refuse(times=EACH + 3)
    desk.refusals.close()
    assert desk.leaves[-1]["more"] == 3
    desk.refusals.close()
    assert len(desk.leaves) == EACH + 1


def test_each_site_and_each_code_is_counted_by_itself(desk: Desk) -> None:
    desk.refuse(times=EACH + 1)
    desk.refuse(PEER)
    desk.refuse(code="WR-COORD-034")
    assert [one["site"] for one in desk.leaves[EACH:]] == [PEER, ME]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(max_size=30), min_size=20, max_size=60), hours=st.integers(0, 2))
def test_invented_names_make_no_leaves_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], hours: int
) -> None:
    """A token may be tried for any site at all; the name is not repeated either."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    for name in names:
        desk.refuse(f"x{name}")
    desk.now += timedelta(hours=hours)
    desk.refuse("y")
    assert len(desk.leaves) <= EACH + 2
    assert {one["site"] for one in desk.leaves} == {None}
    desk.state.close()
