"""The same patient counted twice."""

import numpy as np
import pytest

from quality_records import BOOLEAN, DATE, concept, day, facts, fired, material
from wardround.clinical import Reason, SetAside
from wardround.clinical.quality import Check, Level, Material, check

GEN = np.random.default_rng(5)
N = 200
FIRST, SECOND = GEN.normal(100, 20, N).round(1), GEN.normal(5, 1, N).round(2)
BIRTHS = GEN.integers(int(day("1930-02-02")), int(day("1990-11-30")), N).astype(float)
SEX = GEN.integers(0, 2, N).astype(float)
OUTCOME = GEN.integers(0, 2, N).astype(float)


def records(
    rows: np.ndarray | None = None,
    births: np.ndarray = BIRTHS,
    sex: np.ndarray = SEX,
    quarantine: tuple[SetAside, ...] = (),
) -> Material:
    first, second = (FIRST, SECOND) if rows is None else rows
    return material(
        OUTCOME,
        facts(concept("first"), first),
        facts(concept("second"), second),
        others=(
            facts(concept("birth_date", DATE), births),
            facts(concept("male", BOOLEAN), sex),
        ),
        quarantine=quarantine,
        birth_date="birth_date",
        sex="male",
    )


def repeated(count: int) -> np.ndarray:
    """The rows with the first ``count`` repeated in the next ones, outcome and all."""
    rows = np.vstack([FIRST, SECOND])
    rows[:, count : 2 * count] = rows[:, :count]
    return rows


def test_different_patients_are_different() -> None:
    assert fired(records(), Check.DUPLICATE_ROWS) == []
    assert fired(records(), Check.TWO_IDENTIFIERS) == []


@pytest.mark.parametrize(("count", "level"), [(8, Level.WARN), (80, Level.BLOCK)])
def test_repeated_records(count: int, level: Level) -> None:
    (finding,) = fired(records(repeated(count)), Check.DUPLICATE_ROWS)
    assert finding.level is level
    same = (OUTCOME[:count] == OUTCOME[count : 2 * count]).sum()
    assert finding.figures["equal"] == same


def test_rows_of_one_patient_that_were_set_aside_are_said() -> None:
    again = (SetAside(Reason.DUPLICATE_RECORD, "made:up"),) * 6
    (finding,) = fired(records(quarantine=again), Check.DUPLICATE_ROWS)
    assert (finding.level, finding.figures["repeated"]) == (Level.WARN, 6)


def test_few_categories_are_equal_by_chance() -> None:
    column = facts(concept("flag", BOOLEAN), SEX)
    about = material(OUTCOME, column, facts(concept("lab"), FIRST))
    (finding,) = [one for one in check(about) if one.check is Check.DUPLICATE_ROWS]
    assert finding.level is Level.NOT_CHECKED


def twins(count: int, *, apart: float = 0.0, days: float = 0.0) -> Material:
    """Records in which the last ``count`` patients are the first ones once more."""
    rows = np.vstack([FIRST, SECOND])
    births, sex = BIRTHS.copy(), SEX.copy()
    rows[:, -count:] = rows[:, :count] + apart * rows.std(axis=1, keepdims=True)
    births[-count:], sex[-count:] = births[:count] + days, sex[:count]
    return records(rows, births, sex)


def test_one_person_under_two_identifiers() -> None:
    (finding,) = fired(twins(4, apart=0.02), Check.TWO_IDENTIFIERS)
    assert (finding.level, finding.figures["pairs"]) == (Level.WARN, 4)
    (finding,) = fired(twins(20), Check.TWO_IDENTIFIERS)
    assert finding.level is Level.BLOCK
    assert "patient-" not in finding.words
    (finding,) = fired(twins(1), Check.TWO_IDENTIFIERS)
    assert "nearly the same values: 1 among " in finding.words


def test_born_a_day_apart_or_with_other_values_they_are_two_persons() -> None:
    assert fired(twins(4, days=1.0), Check.TWO_IDENTIFIERS) == []
    assert fired(twins(4, apart=0.5), Check.TWO_IDENTIFIERS) == []


def test_a_thousand_patients_of_one_birth_date_are_compared_with_their_neighbours() -> None:
    rows = np.random.default_rng(1).normal(0, 1, (2, 1000))
    rows[:, -1] = rows[:, 0]
    about = material(
        np.zeros(1000),
        *(facts(concept(f"f{place}"), row) for place, row in enumerate(rows)),
        others=(facts(concept("birth_date", DATE), np.full(1000, day("1970-01-01"))),),
        birth_date="birth_date",
    )
    (finding,) = fired(about, Check.TWO_IDENTIFIERS)
    assert 1 <= finding.figures["pairs"] < 1000
