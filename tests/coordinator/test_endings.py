"""A coordinator that is started again when its run has ended, or had to be interrupted."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from faults.enumeration import LINEAR
from faults.outcome import examine
from faults.trial import COORDINATOR, Cast, Trial, home_of, prepare
from ward import code_of, until
from wardround.coordinator import farewell, records, serve, timewords
from wardround.coordinator.coordinator import Coordinator
from wardround.coordinator.history import History
from wardround.coordinator.home import CoordinatorHome
from wardround.coordinator.own import own_document
from wardround.coordinator.presence import Presence
from wardround.coordinator.timeline import Timeline, timeline
from wardround.errors import WardroundError
from wardround.federation.messages import Ask
from wardround.site import tables as site_tables
from wardround.site.ended import LAST_WORD_S, Part, in_the_middle, to_the_end
from wardround.store import Database

Service = Callable[..., object]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A study that is about to run; nobody is waited for longer than a moment."""
    for module, name in ((farewell, "RETURN_S"), (serve, "RETURN_S"), (serve, "RECONNECT_S")):
        monkeypatch.setattr(module, name, 0.05)
    cohort = {"minimum_sites": 3, "deadline_s": 1.0, "deadline_floor_s": 1.0}
    return Trial(prepare(tmp_path / "cast", **LINEAR, cohort=cohort), tmp_path / "run")


class Restarted:
    """The coordinator of a trial, by itself."""

    def __init__(self, cast: Cast, folder: Path) -> None:
        self.home = CoordinatorHome(folder)
        self.coordinator = Coordinator(
            cast.study, cast.keys.coordinator, cast.keys.authority, folder
        )
        self.said: list[str] = []

    async def drive(self, *, new_run: bool = False) -> serve.Published:
        def say(event: str, _facts: object) -> None:
            self.said.append(event)

        return await serve.drive(self.home, self.coordinator, say, 0.0, new_run=new_run)

    @property
    def runs(self) -> list[str]:
        with closing(sqlite3.connect(self.home.folder / "state.db")) as sql:
            return [state for (state,) in sql.execute("SELECT state FROM runs ORDER BY started_at")]

    @property
    def tells(self) -> Ask | None:
        """What the hospitals are told of the run's end."""
        exchange = self.coordinator.exchange
        return None if exchange is None or exchange.ending is None else exchange.ending[0].ask


@contextmanager
def restarted(trial: Trial) -> Iterator[Restarted]:
    one = Restarted(trial.cast, trial.folder / COORDINATOR)
    try:
        yield one
    finally:
        one.coordinator.close()


async def test_a_finished_run_is_not_repeated_whoever_is_started_again(trial: Trial) -> None:
    await trial.run()
    once = examine(trial)
    await trial.run()  # everybody comes again, and leaves again
    assert examine(trial).totals == once.totals
    with restarted(trial) as one:
        published = await one.drive()
        assert published.verified and published.report.exists()
        assert one.runs == ["finished"] and one.said == ["finished"]
        assert one.tells is Ask.FINISH
        assert one.coordinator.exchange is not None and one.coordinator.exchange.ending is not None
        ask, weights = one.coordinator.exchange.ending
        assert weights == (published.folder / "model" / "model.safetensors").read_bytes()
        kept = (published.folder / "model" / "model.json").read_text("utf-8")
        assert ask.documents["description"] == kept


async def test_it_says_for_whom_it_stays_and_how_long(trial: Trial) -> None:
    """Also for those who have countersigned: their agents may not have heard that it is there."""
    await trial.run()
    first = trial.cast.sites[0]
    told: list[object] = []

    def say(*said: object) -> None:
        told.append(said)

    with restarted(trial) as one:
        await one.drive()
        exchange = one.coordinator.exchange
        assert exchange is not None
        await farewell.stay(one.coordinator, say, once=True)
        every = ", ".join(trial.cast.sites)
        assert told.pop() == ("stays", {"for": every, "at_most_s": farewell.RETURN_S})
        exchange.departed.update(trial.cast.sites[1:])
        await farewell.stay(one.coordinator, say, once=True)
        assert told.pop() == ("stays", {"for": first, "at_most_s": farewell.RETURN_S})
        exchange.witnesses.discard(first)
        waits = asyncio.create_task(farewell.stay(one.coordinator, say, once=False))
        await until(lambda: len(told) == 1)
        assert told == [("stays", {"for": first, "until": "they have countersigned"})]
        exchange.witnesses.add(first)
        await asyncio.wait_for(waits, 10)
        exchange.departed.add(first)
        await farewell.stay(one.coordinator, say, once=True)
        assert len(told) == 1, "everybody knows"


async def test_results_that_are_gone_are_said_to_be(trial: Trial) -> None:
    await trial.run()
    with restarted(trial) as one:
        (results,) = one.home.results.iterdir()
        shutil.rmtree(results / "model")
        assert await code_of(one.drive()) == "WR-COORD-081"
        assert one.runs == ["finished"]


async def test_a_failed_run_is_not_repeated_and_says_why(trial: Trial) -> None:
    with restarted(trial) as one:
        run = one.coordinator.open_run().run
        with one.coordinator.state.transaction() as transaction:
            records.end_run(transaction.connection, run, "failed", reason="WR-X-1: no")
    with restarted(trial) as one:
        with pytest.raises(WardroundError, match="WR-X-1: no") as raised:
            await one.drive()
        assert raised.value.code == farewell.RUN_FAILED
        assert one.runs == ["failed"] and one.tells is Ask.STOP


async def test_a_run_that_lacks_hospitals_goes_on_when_they_are_back(trial: Trial) -> None:
    with restarted(trial) as one:
        for _ in range(2):
            assert await code_of(one.drive()) == "WR-ROUND-004"
            assert one.runs == ["running"] and one.tells is None
            assert one.said[-1] == "interrupted"
        assert one.said.count("run") == one.said.count("goes-on") == 1
    await trial.run()
    examine(trial)


async def test_agents_outlive_a_coordinator_that_ended_for_lack_of_others(trial: Trial) -> None:
    trial.late = frozenset(trial.cast.sites[1:])
    await trial.run()
    examine(trial)
    events = [(event, facts.get("site")) for event, facts in trial.said]
    assert events.count(("interrupted", None)) == 1
    first = trial.cast.sites[0]
    assert events.count(("connected", first)) == events.count(("finished", first)) == 1


async def test_another_run_begins_by_an_explicit_wish_and_never_beside_one(trial: Trial) -> None:
    await trial.run()
    with restarted(trial) as one:
        assert await code_of(one.drive(new_run=True)) == "WR-ROUND-004"
        assert one.runs == ["finished", "running"]
        assert await code_of(one.drive(new_run=True)) == "WR-COORD-082"
        assert one.runs == ["finished", "running"]


def driving(one: Restarted, *, new_run: bool) -> tuple[asyncio.Task[object], list[object]]:
    """A coordinator that waits for hospitals, and what it tells."""
    told: list[object] = []
    work = serve.drive(
        one.home, one.coordinator, lambda *said: told.append(said), 60.0, new_run=new_run
    )
    return asyncio.create_task(work), told


def seen_beside(one: Restarted) -> Timeline:
    """What `wardround run show` would show, from the folder alone."""
    one.coordinator.presence().save(one.home.folder)
    presence = Presence.load(one.home.folder)
    with one.coordinator.state.database.begin() as connection:
        rows = History().read(connection, presence)
    return timeline(rows, one.coordinator.study, datetime.now(UTC))


async def test_whoever_waits_for_another_run_is_told_for_whom_and_not_of_the_last(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    await trial.run()
    first, *others = trial.cast.sites
    with restarted(trial) as one:
        last = one.coordinator.latest_run()
        assert last is not None
        work, told = driving(one, new_run=True)
        await until(lambda: told)
        everybody = ", ".join(trial.cast.sites)
        assert told == [("waiting", {"for": everybody, "connected": 0, "needed": 3})]
        one.coordinator.heard_of(first, "agent")
        await until(lambda: len(one.coordinator.presence().connecting[0].there) == 1)
        assert len(told) == 1, "not at each change"
        monkeypatch.setattr(serve, "AWAITED_EVERY_S", 0.0)
        await until(lambda: len(told) > 1)
        assert told[1:] == [("waiting", {"for": ", ".join(others), "connected": 1, "needed": 3})]
        for found in (one.coordinator.timeline(), seen_beside(one)):
            (stage,) = found.stages
            assert (found.run, found.state, stage.phase) == (None, "waiting", "connect")
            assert timewords.waiting(found, stage).startswith(
                f"hospitals to connect: {', '.join(others)} (3 enrolled, 3 approved, 1 connected)"
            )
            assert own_document(found, first)["waiting"]["for"] == "others"
        assert one.coordinator.timeline(last.run).state == "finished", "asked for by its name"
        work.cancel()
        await asyncio.wait({work})
        assert one.coordinator.timeline().state == "finished", "nobody waits any more"


async def test_a_run_that_goes_on_names_for_whom_it_waits_before(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = trial.cast.sites
    with restarted(trial) as one:
        assert await code_of(one.drive()) == "WR-ROUND-004"
    monkeypatch.setattr(serve, "RECONNECT_S", 60.0)
    with restarted(trial) as one:
        work, told = driving(one, new_run=False)
        await until(lambda: told)
        found = seen_beside(one)
        (stage,) = found.stages
        assert (found.state, stage.phase) == ("running", "reconnect.all")
        assert stage.waits_for == everybody
        words = timewords.waiting(found, stage)
        assert words.startswith(f"hospitals to connect: {', '.join(everybody)} (0 of 3), since ")
        work.cancel()
        await asyncio.wait({work})
        assert one.coordinator.timeline().stages[0].phase == "between"


async def test_a_failure_is_written_down_before_a_hospital_hears_of_it(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise WardroundError("WR-X-1", "It broke.", "Mend it.")

    monkeypatch.setattr(serve, "run_study", broken)
    with restarted(trial) as one:
        told: list[list[str]] = []
        stop = serve.see_off

        async def noted(*given: object, **more: object) -> None:
            told.append(one.runs)
            await stop(*given, **more)

        monkeypatch.setattr(serve, "see_off", noted)
        assert await code_of(one.drive()) == "WR-X-1"
        assert told == [["failed"]] and one.tells is Ask.STOP


def forget(folder: Path, last: int) -> None:
    """As if the agent had died before its last leaves: countersigned, confirmed and reported."""
    with closing(sqlite3.connect(folder / "state.db")) as sql:
        (leaves,) = sql.execute("SELECT count(*) FROM journal").fetchone()
        sql.execute('DELETE FROM journal WHERE "index" >= ?', (leaves - last,))
        sql.commit()


async def test_a_report_that_cannot_be_made_keeps_nobody_out_of_the_next_run(trial: Trial) -> None:
    await trial.run()
    site = trial.cast.sites[0]
    forget(trial.folder / site, 1)
    calls: list[object] = []
    said: list[object] = []

    async def take_part(patience_s: float | None) -> Part:
        calls.append(patience_s)
        raise WardroundError("WR-SITE-050", "Stopped.", "Ask.")

    async def report(_part: Part) -> None:
        raise WardroundError("WR-SANDBOX-003", "It took too long.", "Allow more.")

    with closing(Database.file(trial.folder / site / "state.db", site_tables.MIGRATIONS)) as kept:
        home = home_of(trial.cast.study, site, trial.folder / site)
        for starts in (1, 2):
            work = to_the_end(
                home, kept, take_part, report, lambda _event, **told: said.append(told["code"])
            )
            assert await code_of(work) == "WR-SITE-050"
            assert calls == [None] * starts and said == ["WR-SANDBOX-003"] * starts


async def test_who_died_in_the_middle_of_an_end_is_known_by_the_model_that_was_kept(
    trial: Trial,
) -> None:
    """It must be able to start for that, whatever its records are now found to be."""
    await trial.run()
    site = trial.cast.sites[0]
    home = home_of(trial.cast.study, site, trial.folder / site)
    found = []
    for last in (0, 1, 1, 1):
        forget(trial.folder / site, last)
        with closing(Database.file(trial.folder / site / "state.db", site_tables.MIGRATIONS)) as it:
            found.append(in_the_middle(home, it))
    assert found == [False, False, True, True], "reported, confirmed, countersigned, kept"
    shutil.rmtree(home.reports)
    with closing(Database.file(trial.folder / site / "state.db", site_tables.MIGRATIONS)) as it:
        assert not in_the_middle(home, it)


@pytest.mark.parametrize("confirmed", [True, False])
async def test_a_report_that_is_missing_is_written_though_the_coordinator_is_gone(
    trial: Trial, confirmed: bool
) -> None:
    await trial.run()
    site = trial.cast.sites[0]
    folder = trial.folder / site
    forget(folder, 1 if confirmed else 2)
    calls: list[object] = []
    away = WardroundError("WR-SITE-210", "Nobody answers.", "Start it again.")

    async def take_part(patience_s: float | None) -> Part:
        calls.append(patience_s)
        return Part(1, 2, away=away)

    async def report(part: Part) -> None:
        calls.append("reported")
        assert part.bytes_out > 1 or not confirmed, "as counted when the run was over"

    database = Database.file(folder / "state.db", site_tables.MIGRATIONS)
    with closing(database):
        home = home_of(trial.cast.study, site, folder)
        work = to_the_end(home, database, take_part, report, lambda _event, **_facts: None)
        assert await code_of(work) == (None if confirmed else "WR-SITE-210")
        assert calls == (["reported"] if confirmed else [LAST_WORD_S, "reported"])
        assert (
            await code_of(
                to_the_end(home, database, take_part, report, lambda _event, **_facts: None)
            )
            == "WR-SITE-210"
        )
        assert calls[-1] == (None if confirmed else LAST_WORD_S), "it is written once"
