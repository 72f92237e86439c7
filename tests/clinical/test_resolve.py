"""Which of several values counts: every rule against a slow and plain one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospital_forms import GRAPH, parse
from wardround.clinical import Reason
from wardround.clinical.facts import FactList, Facts
from wardround.clinical.fields import Choice, ColumnField
from wardround.clinical.resolve import resolve
from wardround.errors import WardroundErrors

UNITS: dict[str | None, float | None] = {"kg": 1.0, "g": 0.001, "furlong": None, None: None}
PATIENTS = 4

FACTS = st.lists(
    st.tuples(
        st.integers(0, PATIENTS - 1),
        st.sampled_from([0.0, 60.0, 60.5, 70000.0, 70.0, 9999.0, Reason.NOT_EXACT]),
        st.sampled_from([*UNITS]),
        st.sampled_from([math.nan, 1.0, 2.0, 2.5]),
    ),
    max_size=12,
)


def oracle(
    mine: list[tuple[Any, str | None, float]], choose: Choice, absent: float | None
) -> float | Reason | None:
    """One patient's value, why there is none, or None where nothing was found."""
    usable: list[tuple[float, float]] = []
    bad: list[tuple[int, Reason]] = []
    for at, (value, unit, day) in enumerate(mine):
        factor = UNITS[unit]
        if isinstance(value, Reason):
            bad.append((at, value))
        elif factor is None:
            bad.append((at, Reason.UNKNOWN_UNIT))
        elif not 0.3 <= value * factor <= 400.0:
            bad.append((at, Reason.OUTSIDE_PLAUSIBLE_RANGE))
        elif choose in (Choice.LATEST, Choice.EARLIEST) and math.isnan(day):
            bad.append((at, Reason.NO_DATE))
        else:
            if choose is Choice.ONLY and usable and not close(usable[0][0], value * factor):
                bad.append((at, Reason.CONFLICTING_VALUES))
            usable.append((value * factor, day))
    if not mine:
        return absent
    if choose is Choice.ONLY:
        return min(bad)[1] if bad else usable[0][0]
    if not usable:
        return min(bad)[1]
    values = [value for value, _ in usable]
    match choose:
        case Choice.MEAN:
            return sum(values) / len(values)
        case Choice.MINIMUM:
            return min(values)
        case Choice.MAXIMUM:
            return max(values)
        case _:
            pick = max if choose is Choice.LATEST else min
            when = pick(day for _, day in usable)
            last = [value for value, day in usable if day == when]
            return (
                last[0] if all(close(last[0], one) for one in last) else Reason.CONFLICTING_VALUES
            )


def close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-9)


@pytest.mark.parametrize("choose", Choice)
@pytest.mark.parametrize("absent", [None, 65.0])
@given(facts=FACTS)
def test_every_choice_agrees_with_a_slow_one(
    choose: Choice, absent: float | None, facts: list[Any]
) -> None:
    found = FactList(dated=True)
    for place, (patient, value, unit, day) in enumerate(facts, 1):
        found.add(patient, value, unit, day, place)
    field = ColumnField(
        concept="body_weight", column="x", unit_column="u", choose=choose, absent=absent
    )
    got = resolve(found.facts(), PATIENTS, field, GRAPH, "file:{}".format)
    for patient in range(PATIENTS):
        mine = [(value, unit, day) for one, value, unit, day in facts if one == patient]
        want = oracle(mine, choose, absent)
        if isinstance(want, float):
            assert got.valid[patient]
            assert close(got.values[patient], want)
        else:
            assert not got.valid[patient]
            failure = got.failure(patient, "nowhere")
            assert failure.reason is (want or Reason.MISSING_VALUE)
            places = [f"file:{n}" for n, fact in enumerate(facts, 1) if fact[0] == patient]
            assert failure.where in (places or ["nowhere"])
    dropped = sum(
        1
        for n, (patient, *_) in enumerate(facts, 1)
        if got.valid[patient] and f"file:{n}" in {one.where for one in got.dropped}
    )
    assert dropped == len(got.dropped)


def test_a_bound_has_no_unit_that_could_be_unknown() -> None:
    found = FactList()
    for place in range(9):
        found.add(place, Reason.NOT_EXACT, None, math.nan, place)
    found.add(9, 70.0, "kg", math.nan, 9)
    field = ColumnField(concept="body_weight", column="x", unit_column="u")
    got = resolve(found.facts(), 10, field, GRAPH, str)
    assert got.units == {"kg": 1}


def test_nothing_at_all_is_no_error() -> None:
    for choose in Choice:
        field = ColumnField(concept="body_weight", column="x", unit_column="u", choose=choose)
        got = resolve(FactList().facts(), 3, field, GRAPH, str)
        assert not got.valid.any()
    assert isinstance(FactList().facts(), Facts)


FHIR = """version = 1
[[sources]]
name = "ehr"
kind = "fhir"
files = ["a.ndjson"]
[[sources.fields]]
"""
SERVER = FHIR.replace('"fhir"\nfiles = ["a.ndjson"]', '"fhir-server"\nurl = "https://x"\nMORE')
OMOP = """version = 1
[[sources]]
name = "cdm"
kind = "omop"
files = "cdm"
[[sources.fields]]
"""
SEX = 'concept = "sex"\nelement = "Patient.gender"\ncoding = "fhir"\n'
DIABETES = 'concept = "diabetes"\nelement = "Condition.code"\nsystem = "s"\ncode = "c"\n'


@pytest.mark.parametrize(
    "text",
    [
        FHIR + SEX + 'choose = "mean"',
        FHIR + SEX + 'choose = "minimum"',
        FHIR + SEX + 'choose = "latest"',
        FHIR + DIABETES + 'choose = "mean"',
        FHIR + DIABETES + 'choose = "earliest"',
        FHIR + 'concept = "sex"\nsystem = "s"\ncode = "c"',
        FHIR + 'concept = "birth_date"\nelement = "Patient.birthDate"\nchoose = "mean"',
        FHIR + 'concept = "body_weight"\nsystem = "s"\ncode = "c"\nabsent = nan',
        FHIR + 'concept = "body_weight"\nsystem = "s"\ncode = "c"\nabsent = 1' + "0" * 400,
        OMOP + 'concept = "sex"\ndomain = "person"\nvalue = "concept"\ncoding = "omop"',
        OMOP + 'concept = "sex"\ndomain = "observation"\nconcept_ids = [1]\nvalue = "value_text"',
        OMOP + 'concept = "body_weight"\ndomain = "measurement"\nconcept_ids = [1]\nvalue = "day"',
        OMOP + 'concept = "birth_date"\ndomain = "person"\nvalue = "value"',
        OMOP + 'concept = "diabetes"\ndomain = "observation"\nconcept_ids = [1]\nvalue = "value"',
        SERVER.replace("MORE", 'bulk = "group"') + SEX,
        SERVER.replace("MORE", 'group = "g"') + SEX,
        """version = 1
[[sources]]
name = "sheet"
kind = "excel"
files = ["a.xlsx", "b.xlsx"]
patient = "P"
""",
    ],
)
def test_a_mapping_that_would_guess_is_refused(text: str) -> None:
    with pytest.raises(WardroundErrors) as caught:
        parse(text)
    assert {error.code for error in caught.value.errors} == {"WR-DATA-005"}
