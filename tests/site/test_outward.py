"""What of a refusal's reason may be said outside: little, and nothing that asks the records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wardround.site
from bedside import Bedside
from private_study import private
from studies import document
from wardround.errors import WardroundError
from wardround.federation.causes import Cause
from wardround.site.outward import ALWAYS, BEFORE_THE_RECORDS, cause_of
from wardround.study import Study

OPEN = Study.parse(document())

ABOUT_RECORDS = (
    "WR-PRIVACY",  # cohorts and cells
    "WR-DATA",
    "WR-LEARN",
    "WR-SANDBOX-003",  # how long, or how much memory, a computation over the records took
    "WR-SANDBOX-004",
    "WR-SANDBOX-005",
    "WR-SANDBOX-006",
    "WR-SANDBOX-007",
    "WR-SANDBOX-011",
    "WR-SECAGG-005",  # a value out of bounds
    "WR-SITE-012",
    "WR-SITE-018",  # a check of the records blocks
    "WR-SITE-02",  # the budget; the same question over other patients
    "WR-SITE-052",
    "WR-SITE-09",  # the ledger
    "WR-SITE-10",
    "WR-STUDY-08",  # the list of excluded patients
)


def error(code: str) -> WardroundError:
    return WardroundError(code, "A sentence.", "Another.")


@pytest.mark.parametrize("listed", [ALWAYS, BEFORE_THE_RECORDS], ids=["always", "before"])
def test_no_code_that_depends_on_records_has_a_cause(listed: dict[str, Cause]) -> None:
    harmless = {"WR-SITE-025", "WR-SITE-027"}  # manifest and survivor set: no patient in either
    for code in listed.keys() - harmless:
        assert not code.startswith(ABOUT_RECORDS), code


def test_once_the_records_were_looked_at_only_the_host_is_named() -> None:
    for code, cause in BEFORE_THE_RECORDS.items():
        assert cause_of(error(code), OPEN, looked=False) is cause
        told = cause_of(error(code), OPEN, looked=True)
        assert told in (None, Cause.DISK, Cause.SANDBOX)
        assert told == ALWAYS.get(code)


def test_a_private_study_names_nothing() -> None:
    study = private()
    for code in BEFORE_THE_RECORDS:
        assert cause_of(error(code), study, looked=False) is None
        assert cause_of(error(code), study, looked=True) is None


def test_a_code_that_nobody_thought_of_is_just_refused() -> None:
    assert cause_of(error("WR-SITE-999"), OPEN, looked=False) is None


def test_every_code_on_the_list_exists() -> None:
    source = "".join(
        file.read_text() for file in Path(wardround.site.__file__).parents[1].rglob("*.py")
    )
    for code in BEFORE_THE_RECORDS:
        assert len(re.findall(f'"{code}"', source)) > 1, code  # here, and where it is raised


def test_an_ended_approval_is_named_and_too_few_patients_are_not(tmp_path: Path) -> None:
    bedside = Bedside(tmp_path)
    expired = error("WR-STUDY-074")
    said = bedside.door.refuse("run", "round", expired).refused
    assert said.cause is Cause.APPROVAL
    few = error("WR-PRIVACY-001")
    assert bedside.door.refuse("run", "round", few, looked=True).refused.cause is None
    numbers = [leaf.facts["incident"] for leaf in bedside.leaves("refused")]
    assert numbers[0] == said.incident and len(set(numbers)) == 2
