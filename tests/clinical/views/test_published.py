"""Every published case of SQL on FHIR v2 decides as published."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

import requires
from wardround.clinical.views import View
from wardround.errors import WardroundError

FOLDER = "data/sql_on_fhir_v2/tests"
SHARED = Path(os.environ.get("WARDROUND_SHARED", requires.ROOT.parent / "shared"))
CASES = [
    pytest.param(document["resources"], test, id=f"{path.stem}: {test['title']}")
    for path in sorted((SHARED / FOLDER).glob("*.json"))
    for document in [json.loads(path.read_text(encoding="utf-8"))]
    for test in document["tests"]
]


def comparable(value: object) -> object:
    if isinstance(value, dict):
        return sorted((key, comparable(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return [comparable(part) for part in value]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return ("number", str(Decimal(str(value)).normalize()))
    return (type(value).__name__, str(value))


def test_there_are_134_cases() -> None:
    requires.shared(FOLDER)
    assert len(CASES) == 134


ABSENT = pytest.param(
    [], {}, marks=pytest.mark.skip(reason=f"shared: there is no {SHARED / FOLDER}"), id="none"
)


@pytest.mark.parametrize(("resources", "case"), CASES or [ABSENT])
def test_a_published_case(resources: list[dict[str, object]], case: dict[str, object]) -> None:
    if case.get("expectError"):
        with pytest.raises(WardroundError, match=r"^WR-DATA-03\d"):
            run(case["view"], resources)
        return
    columns, rows = run(case["view"], resources)
    assert case.get("expectColumns", columns) == columns
    assert case.get("expectCount", len(rows)) == len(rows)
    found = sorted(map(comparable, rows), key=str)
    assert found == sorted(map(comparable, case.get("expect", rows)), key=str)


def run(document, resources):
    view = View.parse(document)
    columns = [column.name for column in view.columns]
    rows = [
        dict(zip(columns, row, strict=True))
        for resource in resources
        for row in view.rows(resource)
    ]
    return columns, rows
