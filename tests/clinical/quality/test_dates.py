"""Dates that can't be, that a program put in, and that a person made up."""

import numpy as np
import pytest

from quality_records import DATE, TODAY, concept, day, facts, fired, material
from wardround.clinical import Reason
from wardround.clinical.quality import Check, ConceptMaterial, Finding, Level

GEN = np.random.default_rng(3)
BIRTHS = GEN.integers(int(day("1930-02-02")), int(day("1990-11-30")), 200).astype(float)
VISITS = GEN.integers(int(day("2015-01-02")), int(day("2026-06-30")), 200).astype(float)


def birth(values: np.ndarray, aside: int = 0) -> ConceptMaterial:
    return facts(concept("birth_date", DATE), values, {Reason.IMPOSSIBLE_DATE: aside})


def found(wanted: Check, births: ConceptMaterial, visits: np.ndarray = VISITS) -> list[Finding]:
    records = material(
        np.arange(len(births.values)) % 2,
        facts(concept("lab"), np.arange(len(births.values))),
        others=(births, facts(concept("visit_date", DATE), visits)),
        birth_date="birth_date",
        index_date="visit_date",
    )
    return fired(records, wanted)


def changed(values: np.ndarray, count: int, text: str) -> np.ndarray:
    return np.concatenate([np.full(count, day(text)), values[count:]])


def test_dates_as_they_should_be_give_nothing() -> None:
    for wanted in (Check.IMPOSSIBLE_DATES, Check.DEFAULT_DATES, Check.FIRST_OF_JANUARY):
        assert found(wanted, birth(BIRTHS)) == []


@pytest.mark.parametrize("text", ["2026-11-26", "2045-01-01", "1850-06-01"])
def test_a_birth_in_the_future_or_before_anybody_alive(text: str) -> None:
    late = found(Check.IMPOSSIBLE_DATES, birth(changed(BIRTHS, 4, text)))
    assert {one.concept for one in late} >= {"birth_date"}
    assert all(one.level is Level.WARN for one in late)


def test_today_is_no_future() -> None:
    visits = changed(VISITS, 10, TODAY.isoformat())
    assert found(Check.IMPOSSIBLE_DATES, birth(BIRTHS), visits) == []


def test_a_visit_before_birth_or_at_a_hundred_and_thirty() -> None:
    (before,) = found(Check.IMPOSSIBLE_DATES, birth(BIRTHS), changed(VISITS, 30, "1920-05-05"))
    assert (before.concept, before.level, before.figures["count"]) == (
        "visit_date",
        Level.BLOCK,
        30,
    )
    old = birth(changed(BIRTHS, 3, "1895-05-05"))
    (after,) = found(Check.IMPOSSIBLE_DATES, old)
    assert (after.concept, after.figures["count"]) == ("visit_date", 3)


def test_dates_that_harmonisation_set_aside_are_counted() -> None:
    (finding,) = found(Check.IMPOSSIBLE_DATES, birth(BIRTHS, aside=7))
    assert finding.figures["count"] == 7


@pytest.mark.parametrize(
    ("text", "count", "fires"),
    [
        ("1900-01-01", 1, True),  # nobody alive
        ("1970-01-01", 12, True),
        ("1970-01-01", 1, False),  # somebody's true birthday
        ("1970-01-02", 12, False),
    ],
)
def test_days_that_programs_write(text: str, count: int, fires: bool) -> None:
    results = found(Check.DEFAULT_DATES, birth(changed(BIRTHS, count, text)))
    assert [one.concept for one in results] == ["birth_date"] * fires
    assert all(text in one.words for one in results)


def test_most_of_them_default_dates_blocks() -> None:
    (finding,) = found(Check.DEFAULT_DATES, birth(changed(BIRTHS, 150, "1900-01-01")))
    assert finding.level is Level.BLOCK


def test_heaping_on_the_first_of_january() -> None:
    known_year = BIRTHS.copy()
    for place in range(30):
        known_year[place] = day(f"{1940 + place}-01-01")
    (finding,) = found(Check.FIRST_OF_JANUARY, birth(known_year))
    assert (finding.level, finding.concept) == (Level.WARN, "birth_date")
    # 1970-01-01 among them is the other check's.
    assert finding.figures["count"] >= 29
    known_year[8:] = BIRTHS[8:]
    assert found(Check.FIRST_OF_JANUARY, birth(known_year)) == []


def test_the_ends_of_the_calendar_are_only_days() -> None:
    ends = changed(changed(BIRTHS, 4, "0001-01-01")[::-1], 4, "9999-12-31")
    assert found(Check.DEFAULT_DATES, birth(ends))[0].figures["count"] == 8
