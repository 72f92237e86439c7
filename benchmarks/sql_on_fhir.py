"""The published test cases of SQL on FHIR v2, and how fast views run over real exports.

``passed`` counts the cases that decide as published (rows in any order, columns, counts, errors).
The rates are of one core, without reading the file: resources come parsed, and orjson's own time
for parsing the same lines stands beside them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from benchmarks.report import Cell, Report
from wardround.clinical.views import View
from wardround.errors import WardroundError

CASES = "data/sql_on_fhir_v2/tests"
EXPORT = "data/fhir_bulk10"
MINIMUM_S = 1.0

Document = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One published case: a view, resources, and what must come of them."""

    title: str
    view: Document
    resources: tuple[Document, ...]
    expected: Document

    def passes(self) -> bool:
        """Whether it decides as published."""
        try:
            view = View.parse(self.view)
            rows = [row for resource in self.resources for row in view.rows(resource)]
        except WardroundError:
            return self.expected.get("expectError", False) is True
        columns = [column.name for column in view.columns]
        return (
            not self.expected.get("expectError", False)
            and self.expected.get("expectColumns", columns) == columns
            and self.expected.get("expectCount", len(rows)) == len(rows)
            and ("expect" not in self.expected or self._same(columns, rows))
        )

    def _same(self, columns: list[str], rows: list[tuple[object, ...]]) -> bool:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        return sorted(map(_key, found)) == sorted(map(_key, self.expected["expect"]))


def _key(value: object) -> str:
    """A text that equal rows share; 5, 5.0 and Decimal("5.00") are one number."""
    if isinstance(value, Mapping):
        return str(sorted((key, _key(part)) for key, part in value.items()))
    if isinstance(value, list | tuple):
        return str([_key(part) for part in value])
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return f"{Decimal(str(value)).normalize():f}" if number else repr(value)


def published_cases(folder: Path) -> Iterator[Case]:
    """All cases of the published files."""
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        resources = tuple(document["resources"])
        for test in document["tests"]:
            title = f"{path.stem}: {test['title']}"
            yield Case(title, test["view"], resources, test)


def _columns(paths: Mapping[str, tuple[str, str]]) -> list[Document]:
    return [{"name": name, "path": path, "type": kind} for name, (path, kind) in paths.items()]


VIEWS: tuple[Document, ...] = (
    {
        "resource": "Patient",
        "select": [
            {
                "column": _columns(
                    {
                        "id": ("getResourceKey()", "string"),
                        "gender": ("gender", "code"),
                        "birth_date": ("birthDate", "date"),
                        "family": ("name.where(use = 'official').family.first()", "string"),
                    }
                )
            },
            {"forEachOrNull": "address", "column": _columns({"city": ("city", "string")})},
        ],
    },
    {
        "resource": "Condition",
        "select": [
            {
                "column": _columns(
                    {
                        "patient": ("subject.getReferenceKey(Patient)", "string"),
                        "onset": ("onset.ofType(dateTime)", "dateTime"),
                    }
                )
            },
            {
                "forEach": "code.coding",
                "column": _columns({"system": ("system", "uri"), "code": ("code", "code")}),
            },
        ],
    },
    {
        "resource": "Encounter",
        "select": [
            {
                "column": _columns(
                    {
                        "patient": ("subject.getReferenceKey(Patient)", "string"),
                        "class": ("class.code", "code"),
                        "start": ("period.start", "dateTime"),
                        "after_2000": ("period.start > @2000-01-01", "boolean"),
                        "type": ("type.coding.code.first()", "code"),
                    }
                )
            }
        ],
        "where": [{"path": "status = 'finished'"}],
    },
)


def run() -> Report:
    """Decide every case, then time three views; without the data, say so."""
    shared = Path(os.environ.get("WARDROUND_SHARED", "../shared"))
    if not (shared / CASES).is_dir():
        note = (
            "not measured: no published cases; WARDROUND_SHARED names the folder that holds data/"
        )
        return Report(results=[], figures={}, notes=[note])
    cases = list(published_cases(shared / CASES))
    decided = [case.passes() for case in cases]
    failed = [case.title for case, passed in zip(cases, decided, strict=True) if not passed]
    return Report(
        results=[measure(view, shared / EXPORT) for view in VIEWS],
        figures={"passed": sum(decided), "total": len(decided)},
        notes=[
            *(f"not as published: {title}" for title in failed),
            "a rate is of one core and of parsed resources; orjson parses the same lines alone",
        ],
    )


def measure(document: Document, folder: Path) -> Mapping[str, Cell]:
    """One view over one exported file, again and again for at least a second."""
    lines = (folder / f"{document['resource']}.000.ndjson").read_bytes().splitlines()
    view = View.parse(document)
    resources = [orjson.loads(line) for line in lines]
    rows, view_s = _repeated(lambda: sum(len(view.rows(resource)) for resource in resources))
    _, parse_s = _repeated(lambda: len([orjson.loads(line) for line in lines]))
    return {
        "view": view.resource_type,
        "columns": len(view.columns),
        "resources": len(resources),
        "rows": rows,
        "rows_per_s": round(rows / view_s),
        "resources_per_s": round(len(resources) / view_s),
        "orjson_resources_per_s": round(len(resources) / parse_s),
    }


def _repeated(work: Callable[[], int]) -> tuple[int, float]:
    """The work's result, and the seconds that one time of it took at best."""
    began, best = time.perf_counter(), float("inf")
    while time.perf_counter() - began < MINIMUM_S:
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best
