import dataclasses
import json

import pytest

from wardround import WardroundError
from wardround.privacy.statement import RELATION, UNIT, Statement, short

STATEMENT = Statement(
    epsilon=1.498,
    delta=1e-5,
    relation=RELATION,
    unit=UNIT,
    hospitals_per_patient=2,
    epsilon_for_hospitals=3.3,
    sampling="none: everybody takes part in every step",
    noise="each hospital adds a share of one Skellam noise",
    accountant="Rényi divergences",
    assumptions=("At most 1 of the 4 hospitals works with the coordinator.",),
)


def test_a_statement_is_one_sentence_with_all_that_belongs_to_epsilon():
    assert STATEMENT.words() == (
        "Differential privacy with epsilon 1.498 at delta 1e-5 for a patient at one hospital, with "
        "all of that patient's records there (add or remove one patient); epsilon 3.3 for somebody "
        "who is a patient at 2 hospitals."
    )
    one = dataclasses.replace(STATEMENT, hospitals_per_patient=1)
    assert one.words().endswith("(add or remove one patient).")
    shown = dict(STATEMENT.lines())
    assert shown["guarantee"] == STATEMENT.words()
    assert shown["assumes"] == STATEMENT.assumptions[0]
    assert {"sampling", "noise", "accountant"} <= set(shown)


def test_a_statement_comes_back_from_its_file():
    again = Statement.from_json(json.loads(json.dumps(STATEMENT.to_json())))
    assert again == STATEMENT


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": "1"},
        {"epsilon": 0},
        {"epsilon": True},
        {"epsilon_for_hospitals": float("inf")},
        {"hospitals_per_patient": 0},
        {"hospitals_per_patient": 1.5},
        {"noise": None},
        {"assumptions": "none"},
        {"assumptions": [1]},
        {"more": 1},
    ],
)
def test_a_malformed_statement_is_refused(change):
    with pytest.raises(WardroundError, match="WR-PRIVACY-020"):
        Statement.from_json(STATEMENT.to_json() | change)
    missing = STATEMENT.to_json()
    del missing["relation"]
    with pytest.raises(WardroundError, match="WR-PRIVACY-020"):
        Statement.from_json(missing)


def test_numbers_are_short():
    assert [short(number) for number in (1.5, 1e-5, 2.04e-6, 12345.0, 0.1)] == [
        "1.5",
        "1e-5",
        "2.04e-6",
        "1.234e4",
        "0.1",
    ]
