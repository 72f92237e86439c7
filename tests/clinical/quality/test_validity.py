"""Units, plausible ranges, unreadable values, rounded numbers."""

import numpy as np
import pytest

import requires
from quality_records import BOOLEAN, concept, facts, fired, material
from wardround.clinical import Reason
from wardround.clinical.quality import Check, ConceptMaterial, Finding, Level

GEN = np.random.default_rng(11)
LAB = concept("lab", plausible=(20.0, 1500.0), unit="mg/dL")
VALUES = GEN.normal(220, 40, 100).clip(50, 500)


def found(column: ConceptMaterial, wanted: Check) -> list[Finding]:
    return fired(material(np.arange(len(column.values)) % 2, column), wanted)


def aside(reason: Reason, count: int) -> ConceptMaterial:
    written = VALUES.copy()
    written[:count] = np.nan
    return facts(LAB, written, {reason: count})


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (1, [Level.WARN]), (5, [Level.WARN]), (6, [Level.BLOCK])]
)
def test_values_in_another_unit(count: int, expected: list[Level]) -> None:
    column = aside(Reason.UNKNOWN_UNIT, count)
    assert [one.level for one in found(column, Check.UNIT_MISMATCH)] == expected


def test_the_unit_texts_of_the_records_are_not_repeated() -> None:
    column = facts(LAB, VALUES, {Reason.UNKNOWN_UNIT: 9}, units={"mg/dL": 100, "ask Dr. Who": 9})
    (finding,) = found(column, Check.UNIT_MISMATCH)
    assert finding.figures["units"] == 2
    assert "Who" not in f"{finding} {finding.words}"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, []), (2, [Level.WARN]), (20, [Level.WARN]), (21, [Level.BLOCK])],
)
def test_values_outside_the_plausible_range(count: int, expected: list[Level]) -> None:
    written = VALUES.copy()
    written[:count] = 3000.0
    assert [one.level for one in found(facts(LAB, written), Check.PLAUSIBLE_RANGE)] == expected


def test_zeros_and_stand_ins_are_not_reported_again_as_out_of_range() -> None:
    written = VALUES.copy()
    written[:10], written[10:20] = 0.0, 9999.0
    assert found(facts(LAB, written), Check.PLAUSIBLE_RANGE) == []
    written[20:30] = 3000.0
    (finding,) = found(facts(LAB, written), Check.PLAUSIBLE_RANGE)
    assert finding.figures["count"] == 10
    assert "20 to 1500 mg/dL" in finding.words


@pytest.mark.parametrize(
    ("reason", "fires"),
    [
        (Reason.UNREADABLE_NUMBER, True),
        (Reason.UNKNOWN_CATEGORY, True),
        (Reason.CONFLICTING_VALUES, True),
        (Reason.OUTSIDE_PLAUSIBLE_RANGE, False),
        (Reason.UNKNOWN_UNIT, False),
    ],
)
def test_unreadable_values(reason: Reason, fires: bool) -> None:
    assert bool(found(aside(reason, 10), Check.UNREADABLE)) is fires
    assert found(aside(reason, 1), Check.UNREADABLE) == []


def test_the_reasons_are_counted_one_by_one() -> None:
    reasons = {Reason.UNREADABLE_NUMBER: 30, Reason.NOT_EXACT: 12}
    (finding,) = found(facts(LAB, VALUES, reasons), Check.UNREADABLE)
    assert finding.level is Level.BLOCK
    assert "42 of 142" in finding.words
    assert "30 because a value is not a number; 12 because" in finding.words


@pytest.mark.parametrize(
    ("written", "fires"),
    [
        (GEN.normal(130, 40, 200).round(-1), True),  # blood pressures read to ten
        (GEN.normal(130, 40, 200).round(), False),
        (np.round(GEN.normal(5, 1, 200), 0) + np.round(GEN.integers(0, 10, 200) / 10, 1), False),
        (np.concatenate([GEN.normal(50, 9, 150).round(), np.array([50.5])]), False),  # one slip
        (
            np.concatenate([GEN.normal(50, 9, 150).round(), np.arange(40.1, 60)]),
            True,
        ),  # read to one
        (np.concatenate([GEN.normal(130, 40, 200).round(-1), np.array([131.25])]), True),
        (
            np.concatenate([GEN.uniform(5, 10, 30).round(3), GEN.uniform(10, 30, 300).round(2)]),
            False,
        ),
        (GEN.lognormal(6.5, 0.7, 300).round(0), False),
        (GEN.normal(130, 40, 49).round(-1), False),  # too few
        (np.tile([10.0, 20.0, 30.0], 100), False),  # three doses, no reading
        (np.concatenate([np.zeros(500), np.arange(1.0, 101.0)]), False),  # mostly a true zero
        (GEN.normal(130, 40, 200), False),  # more decimals than anybody writes
    ],
)
def test_numbers_that_were_rounded(written: np.ndarray, fires: bool) -> None:
    column = facts(concept("reading"), written)
    assert [one.level for one in found(column, Check.HEAPING)] == [Level.WARN] * fires


def test_measurements_of_four_digits_are_not_called_rounded() -> None:
    data = requires.package("sklearn.datasets").load_breast_cancer()
    about = concept("reading")
    rounded = {
        name
        for name, column in zip(data["feature_names"], data["data"].T, strict=True)
        if found(facts(about, column[:235]), Check.HEAPING)
    }
    assert not rounded


def test_a_unit_with_braces_is_only_text() -> None:
    about = concept("cells", plausible=(0.0, 10.0), unit="{cells}/uL")
    (finding,) = found(facts(about, [1.0] * 10 + [99.5] * 10), Check.PLAUSIBLE_RANGE)
    assert "0 to 10 {cells}/uL" in finding.words


def test_a_pure_number_has_no_unit_to_name() -> None:
    about = concept("share", plausible=(0.0, 1.0), unit="1")
    (finding,) = found(facts(about, [0.5] * 10 + [99.5] * 10), Check.PLAUSIBLE_RANGE)
    assert "0 to 1, and are set aside" in finding.words


def test_a_yes_or_no_has_no_last_digit() -> None:
    assert found(facts(concept("flag", BOOLEAN), np.tile([0.0, 1.0], 100)), Check.HEAPING) == []
