"""Late cohorts at a site with a real database: one manifest per ready statement, for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text

from bedside import code
from cohorts import KEYS, RUN
from late_cohorts import LateSum, Ward
from wardround.errors import WardroundError
from wardround.ids import RunId, SiteName
from wardround.secagg import Bond, CohortTerms
from wardround.secagg.cohort import late_batch
from wardround.site import cohorts, tables
from wardround.store import Database
from wardround.store.journalled import JournalledDatabase
from wardround.trust.canonical import digest

ME = next(iter(KEYS))
TERMS = CohortTerms(4, 1, 1)


class Desk:
    """One site's database; its peers keep theirs elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"
        self.open()

    def open(self) -> None:
        self.state = JournalledDatabase(
            Database.file(self.path, tables.MIGRATIONS), tables.journal, "here"
        )

    def restart(self) -> None:
        self.state.close()
        self.open()

    def record(self, name: SiteName, bond: Bond) -> None:
        if name == ME:
            cohorts.recorder(self.state)(bond)

    def rows(self) -> list[tuple[object, ...]]:
        with self.state.database.begin() as connection:
            return [tuple(row) for row in connection.execute(select(tables.cohorts))]

    def do(self, call: Callable[..., None], *arguments: object) -> None:
        with self.state.transaction() as transaction:
            call(transaction.connection, *arguments)

    def leaves(self) -> int:
        return sum(one.kind == "cohort" for one in self.state.journal.entries())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.state.close()


def bond(number: int = 0, **changes: object) -> Bond:
    plain = Bond(
        study=digest(b"study"),
        run=RUN,
        sequence=number,
        ready=digest(b"ready %d" % number),
        manifest=digest(b"manifest %d" % number),
        task=digest(b"task"),
        model=digest(b"model"),
    )
    return replace(plain, **changes)


def test_the_bond_is_on_disk_before_the_signature_leaves(desk: Desk) -> None:
    cohort = Ward(4, TERMS, desk.record).ready().sign()
    (row,) = desk.rows()
    assert row[:4] == (
        digest(cohort.offers[ME].ready.payload),
        RUN,
        0,
        cohort.manifest().digest,
    )
    assert desk.leaves() == 1


def test_where_the_bond_can_t_be_written_nothing_is_signed(desk: Desk) -> None:
    with desk.state.database.begin(write=True) as connection:
        connection.execute(text("DROP TABLE cohorts"))
    cohort = Ward(4, TERMS, desk.record).ready()
    with pytest.raises(Exception, match="no such table"):
        cohort.members[ME].sign(cohort.manifest(), cohort.offers)
    assert cohort.members[ME].manifest is None and desk.leaves() == 0


def test_a_copy_of_the_agent_does_not_sign_a_second_manifest(desk: Desk) -> None:
    """The same keys twice, as in a snapshot that was started again: the rows say no."""
    ward = Ward(5, TERMS, desk.record)
    drawn = iter([bytes([number]) * 32 for number in range(1, 7)])
    again = iter([bytes([number]) * 32 for number in range(1, 4)])
    first = ward.member(ME, random_bytes=lambda _size: next(drawn))
    copy = ward.member(ME, random_bytes=lambda _size: next(again))
    assert first.offer() == copy.offer()
    peers = {name: ward.member(name) for name in ward.names[1:]}
    one = LateSum(ward, {ME: first, **{n: peers[n] for n in ward.names[1:4]}})
    two = LateSum(ward, {ME: copy, **{n: peers[n] for n in ward.names[2:5]}})
    first.sign(one.manifest(), one.offers)
    desk.restart()
    assert code(lambda: copy.sign(two.manifest(1), two.offers)) == "WR-SITE-028"
    assert code(lambda: copy.deal({})) == "WR-SECAGG-010"
    copy.sign(one.manifest(), one.offers)  # the same is no second one
    assert len(desk.rows()) == 1


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        (bond(0), None),
        (bond(0, manifest=digest(b"another")), "WR-SITE-028"),
        (bond(0, sequence=1), "WR-SITE-028"),
        (bond(0, run=RunId("run-2")), "WR-SITE-028"),
        (bond(1), None),
        (bond(1, sequence=0), "WR-SITE-028"),
        (bond(1, sequence=0, run=RunId("run-2")), None),
    ],
)
def test_one_manifest_per_statement_and_number(
    desk: Desk, second: Bond, refused: str | None
) -> None:
    desk.do(cohorts.record_bond, bond(0))
    desk.restart()
    assert code(lambda: desk.do(cohorts.record_bond, second)) == refused


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, "WR-SITE-029"),
        ({"model": digest(b"newer")}, None),
        ({"task": digest(b"other")}, "WR-SITE-200"),
        ({"task": digest(b"other"), "run": RunId("run-2")}, None),
        ({"run": RunId("run-2")}, None),
    ],
)
def test_a_contribution_is_masked_in_one_cohort_only(
    desk: Desk, changes: dict[str, object], refused: str | None
) -> None:
    """Two totals that share one site's contribution differ by the other sites' alone."""
    desk.do(cohorts.record_bond, bond(0))
    desk.do(cohorts.record_bond, bond(1))  # the first came to nothing before anybody masked
    desk.do(cohorts.record_packet, bond(1).ready)
    desk.restart()
    assert code(lambda: desk.do(cohorts.record_bond, bond(2, **changes))) == refused
    # Nor in the one that was bound before, should it come to something after all.
    assert code(lambda: desk.do(cohorts.record_packet, bond(0).ready)) == "WR-SITE-029"


def test_a_vote_is_for_one_set_and_for_a_cohort_that_was_joined(desk: Desk) -> None:
    names = tuple(KEYS)[:4]
    desk.do(cohorts.record_bond, bond(0))
    desk.do(cohorts.record_vote, bond(0).ready, names)
    desk.do(cohorts.record_vote, bond(0).ready, names)
    desk.restart()
    vote = (cohorts.record_vote, bond(0).ready, names[:3])
    assert code(lambda: desk.do(*vote)) == "WR-SITE-027"
    stranger = digest(b"another")
    assert code(lambda: desk.do(cohorts.record_vote, stranger, names)) == "WR-SITE-026"
    assert code(lambda: desk.do(cohorts.record_packet, stranger)) == "WR-SITE-026"


def test_a_database_from_before_late_cohorts_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def old(connection) -> None:
        tables.create(connection)
        tables.cohorts.drop(connection)

    Database.file(path, (old,)).close()
    newer = Database.file(path, tables.MIGRATIONS)
    with newer.begin(write=True) as connection:
        cohorts.record_bond(connection, bond(0))
        with pytest.raises(WardroundError, match="WR-SITE-028"):
            cohorts.record_bond(connection, bond(0, sequence=4))
        assert connection.execute(select(tables.cohorts)).one().masked is False
    newer.close()


def answered(desk: Desk, batch: str, step: int = 0, task: bytes = b"task") -> None:
    """As if a packet had left in a batch."""
    with desk.state.database.begin(write=True) as connection:
        connection.execute(
            tables.tasks.insert().values(
                run=RUN, step=step, task=digest(task), patients="-", recovered=False
            )
        )
        connection.execute(
            tables.packets.insert().values(
                round=f"{RUN}.{batch}.{step}",
                run=RUN,
                step=step,
                batch=batch,
                index=0,
                manifest="-",
                envelope=b"-",
                spooled="-",
            )
        )


def test_a_task_is_in_rounds_or_in_late_cohorts_and_never_in_both(desk: Desk) -> None:
    task = digest(b"task")

    def apart(late: bool, task: str = task) -> str | None:
        return code(lambda: desk.do(lambda one: cohorts.check_apart(one, RUN, task, late=late)))

    assert apart(True) is None and apart(False) is None
    desk.do(cohorts.record_bond, bond(0))
    assert apart(False) is None, "nothing has left yet"
    desk.do(cohorts.record_packet, bond(0).ready)
    answered(desk, late_batch(RUN))
    desk.restart()
    assert apart(True) is None and apart(False) == "WR-SITE-132"
    other = digest(b"other")
    assert apart(True, other) is None and apart(False, other) is None
    answered(desk, "batch-0", step=1, task=b"other")
    assert apart(True, other) == "WR-SITE-132" and apart(False, other) is None


def test_what_was_masked_need_not_be_trained_again(desk: Desk) -> None:
    arguments = (RUN, bond(0).task, bond(0).model)
    desk.do(cohorts.check_unused, *arguments)
    desk.do(cohorts.record_bond, bond(0))
    desk.do(cohorts.check_unused, *arguments)
    desk.do(cohorts.record_packet, bond(0).ready)
    desk.restart()
    assert code(lambda: desk.do(cohorts.check_unused, *arguments)) == "WR-SITE-029"
    desk.do(cohorts.check_unused, RUN, bond(0).task, digest(b"newer"))
