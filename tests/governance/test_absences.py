"""Who was missing when, and over how many records the totals are."""

from __future__ import annotations

from datetime import UTC, datetime

from wardround.governance.report.absences import absences, effect, steps
from wardround.governance.report.data import RoundFacts

SITES = ("a", "b", "c", "d")


def round_(step: int, dropped: str = "", not_asked: str = "", **changes: object) -> RoundFacts:
    asked = [site for site in SITES if site not in not_asked]
    facts = {
        "round": f"r.{step}",
        "step": step,
        "kind": "newton_logistic",
        "started": datetime(2026, 11, 26, tzinfo=UTC),
        "seconds": 1.0,
        "survivors": tuple(site for site in asked if site not in dropped),
        "dropped": tuple(dropped),
        "not_asked": tuple(not_asked),
        "records": 25 * (4 - len(dropped) - len(not_asked)),
    }
    return RoundFacts(**{**facts, **changes})


def test_steps_are_counted_from_one_and_runs_drawn_together() -> None:
    assert steps([0, 1, 2, 4, 7, 8]) == "1 to 3, 5, 8 to 9"
    assert steps([]) == ""


def test_each_hospital_that_was_missing_has_a_line() -> None:
    found = absences(SITES, [round_(0), round_(1, dropped="b"), round_(2, "b", "d")])
    assert [(one.site, one.present, one.missing, one.not_asked) for one in found] == [
        ("b", 1, (1, 2), ()),
        ("d", 2, (), (2,)),
    ]


def test_an_attempt_that_opened_nothing_is_nobodys_absence() -> None:
    assert absences(SITES, [round_(0, "b", completed=False), round_(0, attempt=1)]) == ()


def test_the_effect_is_told_in_the_numbers_that_the_totals_hold() -> None:
    (line,) = effect([round_(0), round_(1, dropped="b"), round_(2, dropped="b")])
    assert line.startswith("Newton logistic: totals over 75 to 100 records, 83 on average (83.3%")


def test_nothing_is_told_of_numbers_that_are_not_there() -> None:
    private = [round_(step, dropped="b", records=None) for step in range(3)]
    assert effect(private) == [] and len(absences(SITES, private)) == 1


def test_where_nobody_was_missing_there_is_nothing_to_tell() -> None:
    rounds = [round_(0), round_(1)]
    assert effect(rounds) == [] and absences(SITES, rounds) == ()
