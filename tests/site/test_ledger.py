"""The privacy ledger: what it charges, what it refuses, and what can't be done to it unseen."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text, update

from private_study import ME, NOON, Books, line, manifest, private
from studies import KEYS
from wardround.errors import WardroundError
from wardround.ids import SiteName
from wardround.privacy.accountant import best_order, epsilon, rdp
from wardround.privacy.events import Gaussian, Skellam
from wardround.site import tables
from wardround.site.ledger import PrivacyLedger
from wardround.study import HospitalPolicy, Study
from wardround.study.plan import Line, Purpose
from wardround.study.population import PopulationPrivacy, refusals
from wardround.study.price import releases

PEER = SiteName("lakeside")


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def refused(call, *words: str) -> str:
    """The code of a refusal whose text has these words."""
    with pytest.raises(WardroundError) as error:
        call()
    for word in words:
        assert word in error.value.problem, error.value.problem
    return error.value.code


def hospital(**privacy: object) -> HospitalPolicy:
    return HospitalPolicy(privacy=PopulationPrivacy(**privacy))


def test_each_charge_is_one_entry_and_one_leaf_of_the_journal(books: Books) -> None:
    heads = [books.verify(), books.charge("statistics"), books.charge(), books.charge()]
    assert [head.size for head in heads] == [0, 1, 2, 3]
    assert len({head.digest for head in heads}) == 4
    leaves = [one for one in books.state.journal.entries() if one.kind == "charge"]
    assert [leaf.facts["entry"] for leaf in leaves] == [head.digest for head in heads[1:]]
    books.reopen()
    assert books.verify() == heads[-1]


def test_what_is_spent_is_priced_as_the_multiset_of_answers(books: Books) -> None:
    books.charge("statistics")
    books.charge()
    books.charge()
    with books.state.database.begin() as connection:
        account = books.ledger.account(connection)
    assert account.study is not None
    releases = [(Skellam(20.0), 1), (Skellam(12.0), 2)]
    assert account.study.spent == epsilon(releases, 1e-5)
    given = {one.purpose: count for one, count in account.study.lines}
    assert given == {Purpose.STATISTICS: 1, Purpose.TRAINING: 2, Purpose.EVALUATION: 0}
    assert 0 < account.population.spent < account.population.budget
    assert account.population.answers == 3


# A budget that is spent


def test_a_line_of_the_plan_is_answered_as_often_as_it_says_and_never_again(books: Books) -> None:
    for _ in range(4):  # three steps and one spare
        books.charge()
    assert refused(books.charge, "4 answers", "3 and 1 spare") == "WR-SITE-096"
    books.reopen()
    assert refused(books.charge) == "WR-SITE-096"
    books.charge("evaluation")


def test_a_second_run_of_the_study_has_no_budget_of_its_own(books: Books) -> None:
    for _ in range(4):
        books.charge()
    books.rounds = 100
    assert refused(books.charge) == "WR-SITE-096"


def test_nothing_is_charged_that_the_plan_does_not_have(books: Books) -> None:
    quieter = Line(Purpose.TRAINING, ("private_gradient",), Skellam(1.0), 3, 1)
    asked = manifest(books.study, 0)
    with books.state.database.begin() as connection:
        for other in (quieter, Line(Purpose.GATE, (), Gaussian(50.0), 1, 0)):
            refusal = lambda one=other: books.ledger.propose(connection, one, asked, NOON)  # noqa: E731
            assert refused(refusal) == "WR-SITE-102"


def test_a_plan_that_costs_more_than_the_study_allows(tmp_path: Path) -> None:
    books = Books(tmp_path, private(training={"noise_multiplier": 2.0, "steps": 10}))
    assert refused(books.admit, "allows 1.5") == "WR-SITE-097"
    assert refused(books.charge) == "WR-SITE-097"


def test_the_population_is_protected_over_all_studies(tmp_path: Path) -> None:
    first = private()
    ceiling = next(one for one in range(10, 60) if _fits(first, one / 10)) / 10
    books = Books(tmp_path, first, hospital=hospital(epsilon=ceiling))
    books.admit()
    for _ in range(3):
        books.charge()
    for number in range(20):
        books.reopen(_called(f"study-{number}"))
        if number == 0:
            told = ("'patients'", "3 answers have spent", "is left")
            assert refused(books.admit, *told) == "WR-SITE-100"
        with pytest.raises(WardroundError, match=r"WR-SITE-096|WR-SITE-100") as error:
            for _ in range(10):
                books.charge()
    assert error.value.code == "WR-SITE-100"
    with books.state.database.begin() as connection:
        account = books.ledger.account(connection).population
    step = rdp(Skellam(12.0), (account.ceiling.order,))[0]
    assert account.budget - step < account.spent <= account.budget


def _fits(study: Study, ceiling: float) -> bool:
    return not list(refusals(study, PopulationPrivacy(epsilon=ceiling)))


def _called(name: str) -> Study:
    plain = private().model_dump(mode="json", by_alias=True, exclude_none=True)
    return Study.parse({**plain, "id": name})


def test_the_order_of_the_population_account_stays_as_it_was_opened(tmp_path: Path) -> None:
    books = Books(tmp_path, hospital=hospital(epsilon=4.0))
    books.charge()
    with books.state.database.begin() as connection:
        opened = books.ledger.account(connection).population.ceiling.order
    books.reopen(hospital=hospital(epsilon=1.0))
    with books.state.database.begin() as connection:
        account = books.ledger.account(connection).population
    assert account.ceiling.order == opened
    assert account.ceiling.epsilon == 1.0
    assert opened < best_order(1.0, account.ceiling.delta)


def test_another_population_has_an_account_of_its_own(tmp_path: Path) -> None:
    books = Books(tmp_path)
    books.charge()
    books.reopen(hospital=hospital(population="children"))
    with books.state.database.begin() as connection:
        account = books.ledger.account(connection).population
    assert (account.ceiling.population, account.spent) == ("children", 0.0)


# A charge is never refunded


def test_a_transaction_that_is_undone_has_charged_nothing(books: Books) -> None:
    first = books.charge()
    with pytest.raises(RuntimeError, match="power cut"), books.state.transaction() as transaction:
        asked = manifest(books.study, 9)
        training = line(books.study, "training")
        entry = books.ledger.propose(transaction.connection, training, asked, NOON)
        books.ledger.charge(transaction, entry)
        raise RuntimeError("power cut")
    with books.state.database.begin() as connection:
        assert books.ledger.head(connection) == first
    assert books.verify() == first
    assert books.charge().size == 2


def test_an_entry_is_charged_only_on_the_head_it_was_proposed_on(books: Books) -> None:
    with books.state.database.begin() as connection:
        entry = books.ledger.propose(
            connection, line(books.study, "training"), manifest(books.study, 9), NOON
        )
    books.charge()
    with books.state.transaction() as transaction:
        charge = lambda: books.ledger.charge(transaction, entry)  # noqa: E731
        assert refused(charge) == "WR-SITE-103"


# A ledger that is truncated, altered or another site's


def three(books: Books) -> Books:
    for _ in range(3):
        books.charge()
    return books


def test_a_truncated_ledger(books: Books) -> None:
    with three(books).sql() as connection:
        connection.execute(delete(tables.ledger).where(tables.ledger.c.sequence == 2))
    books.reopen()
    assert refused(books.verify, "2 entries", "2 answers were charged") == "WR-SITE-090"


def test_an_emptied_ledger(books: Books) -> None:
    with three(books).sql() as connection:
        connection.execute(delete(tables.ledger))
    books.reopen()
    assert refused(books.verify, "journal beside it has 3") == "WR-SITE-090"


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("entry", "CAST(replace(entry, '12', '99') AS BLOB)"),
        ("entry", "replace(CAST(entry AS TEXT), '12', '99')"),  # as the sqlite3 shell leaves it
        ("entry", "12"),
        ("digest", "'sha256:'"),
    ],
)
def test_an_altered_entry(books: Books, column: str, wrong: str) -> None:
    with three(books).sql() as connection:
        connection.execute(text(f"UPDATE ledger SET {column} = {wrong} WHERE sequence = 1"))
    books.reopen()
    assert refused(books.verify, "Entry 2", "1 answers were charged") == "WR-SITE-091"


def test_an_entry_altered_together_with_its_digest(books: Books) -> None:
    from wardround.site.entry import LedgerEntry

    with three(books).sql() as connection:
        row = connection.execute(select(tables.ledger).where(tables.ledger.c.sequence == 1)).one()
        entry = LedgerEntry.from_payload(row.entry).model_copy(update={"count": 7})
        connection.execute(
            update(tables.ledger)
            .where(tables.ledger.c.sequence == 1)
            .values(entry=entry.to_payload(), digest=entry.digest)
        )
    books.reopen()
    assert refused(books.verify, "entry 3") == "WR-SITE-092"


def test_a_ledger_written_anew_from_some_entry_on(books: Books) -> None:
    """A chain that is sound in itself, but not what the journal beside it has."""
    three(books)
    with books.sql() as connection:
        connection.execute(delete(tables.ledger).where(tables.ledger.c.sequence == 2))
        forger = PrivacyLedger(books.study, ME, KEYS[ME].public, books.hospital)
        asked = manifest(books.study, 9)
        entry = forger.propose(connection, line(books.study, "evaluation"), asked, books.now)
        connection.execute(
            insert(tables.ledger).values(sequence=2, digest=entry.digest, entry=entry.to_payload())
        )
    books.reopen()
    assert refused(books.verify, "3 answers") == "WR-SITE-104"


@pytest.mark.parametrize(
    "changes",
    [
        ["UPDATE ledger SET sequence = 9 WHERE sequence = 1"],
        ["DELETE FROM ledger WHERE sequence = 0"],
        [
            "UPDATE ledger SET sequence = 9 WHERE sequence = 0",
            "UPDATE ledger SET sequence = 0 WHERE sequence = 1",
            "UPDATE ledger SET sequence = 1 WHERE sequence = 9",
        ],
    ],
)
def test_entries_moved_or_taken_out(books: Books, changes: list[str]) -> None:
    with three(books).sql() as connection:
        for one in changes:
            connection.execute(text(one))
    books.reopen()
    assert refused(books.verify) == "WR-SITE-092"


def test_the_ledger_of_another_site(books: Books, tmp_path: Path) -> None:
    books.charge()
    books.close()
    (tmp_path / "other").mkdir()
    shutil.copy(books.path, tmp_path / "other" / "state.db")
    assert refused(Books(tmp_path / "other", site=PEER).verify) == "WR-SITE-093"
    stolen = PrivacyLedger(books.study, ME, KEYS[PEER].public, books.hospital)
    books.open()
    with books.state.database.begin() as connection:
        assert refused(lambda: stolen.verify(connection)) == "WR-SITE-093"


def test_a_database_exchanged_under_the_running_agent(books: Books) -> None:
    books.charge()
    books.admit()
    with books.sql() as connection:
        connection.execute(delete(tables.ledger))
    assert refused(books.charge, "1 answers") == "WR-SITE-105"


# A clock set back


def test_a_clock_that_was_set_back(books: Books) -> None:
    books.charge()
    books.now -= timedelta(hours=1)
    assert refused(books.admit, "11:01", "12:01", "1 answers") == "WR-SITE-095"
    assert refused(books.charge) == "WR-SITE-095"


def test_a_clock_that_was_put_right_by_a_little(books: Books) -> None:
    books.charge()
    books.now -= timedelta(minutes=5)
    books.admit()
    assert books.charge().size == 2


# A study that lowers its noise after approval


def test_less_noise_under_the_same_version(books: Books) -> None:
    books.charge()
    lowered = private(training={"noise_multiplier": 10.0, "steps": 3})
    books.reopen(lowered)
    assert refused(books.admit, "noise of 10 ", "noise of 12 ", "version 1") == "WR-SITE-098"
    assert refused(books.charge) == "WR-SITE-098"


def test_another_text_of_the_same_version(books: Books) -> None:
    books.charge()
    books.reopen(private(rationale="Another."))
    assert refused(books.charge, "its version 1") == "WR-SITE-099"


def test_an_older_version(tmp_path: Path) -> None:
    books = Books(tmp_path, private(version=2))
    books.charge()
    books.reopen(private(version=1))
    assert refused(books.charge, "this one says version 1") == "WR-SITE-099"


def test_a_higher_version_pays_for_what_the_earlier_one_spent(books: Books) -> None:
    for _ in range(4):
        books.charge()
    spent = [(Skellam(12.0), 4)]
    lowered = {"noise_multiplier": 6.0, "steps": 3}
    second = private(version=2, training=lowered)
    whole = epsilon((*releases(second), *spent), 1e-5)
    alone = epsilon(releases(second), 1e-5)
    limit = (alone + whole) / 2  # enough for the new version, not for both
    assert alone < limit < whole
    books.reopen(private(version=2, training=lowered, epsilon=limit))
    assert refused(books.admit, f"{epsilon(spent, 1e-5):.4g}") == "WR-SITE-097"
    assert refused(books.charge) == "WR-SITE-097"
    books.reopen(private(version=2, training=lowered, epsilon=whole * 1.0001))
    books.admit()
    assert books.charge().size == 5
