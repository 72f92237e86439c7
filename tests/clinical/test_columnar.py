"""Tables row by row: who a row is about, which row is one too many, and where batches end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

import requires
from hospital_forms import GRAPH, TODAY, Form, parse, write_csv
from wardround.clinical import FeatureTable
from wardround.clinical.facts import Extract
from wardround.clinical.fields import ColumnField
from wardround.clinical.sources.columnar import Shape, is_wide, read_table
from wardround.clinical.tables import Batch, csv_table
from wardround.clinical.tables.csv_files import CsvTable

WEIGHT = ColumnField(concept="body_weight", column="KG", unit="kg")
HEADER = ("PID", "KG", "TEST", "UNIT")


class InSmallBatches(CsvTable):
    """A table that hands over few rows at a time."""

    rows = 2

    def batches(
        self, columns: Sequence[str], batch_rows: int = 0, *, text: Collection[str] = ()
    ) -> Iterator[Batch]:
        assert batch_rows == 0
        return super().batches(columns, self.rows, text=text)


def read(
    folder: Path, rows: Sequence[Sequence[object]], field: ColumnField = WEIGHT, batch: int = 2
) -> Extract:
    """Read rows from two files."""
    write_csv(folder / "1.csv", HEADER, rows[:3])
    write_csv(folder / "2.csv", HEADER, rows[3:] or [("z", 1, "", "")])
    table = csv_table("labs", folder, ["1.csv", "2.csv"])
    table.__class__ = InSmallBatches
    InSmallBatches.rows = batch
    shape = Shape("PID", ".", TODAY.toordinal(), wide=is_wide([field]))
    return read_table(table, [field], shape, GRAPH)


ROWS = (
    ("a", 70, "w", ""),
    ("b", 71, "w", ""),
    ("a", 70, "w", ""),
    ("", 72, "w", ""),
    ("c", "", "w", ""),
    ("b", 73, "x", ""),
    ("d", "x", "w", ""),
    ("", 75, "w", ""),
    ("d", 74, "w", ""),
)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 100])
def test_batches_and_files_change_nothing(tmp_path: Path, batch: int) -> None:
    found = read(tmp_path, ROWS, batch=batch)
    assert [*found.patients] == ["a", "b", "c", "d"]
    assert [found.where(place) for place in found.first_places.tolist()] == [
        "1.csv:2",
        "1.csv:3",
        "2.csv:3",
        "2.csv:5",
    ]
    facts = found.facts["body_weight"]
    assert [found.patients[one] for one in facts.patients.tolist()] == [
        *"ababdd"[:3],
        "b",
        "d",
        "d",
    ]
    assert sorted((one.reason.value, one.where) for one in found.set_aside) == [
        ("duplicate_record", "1.csv:4"),
        ("duplicate_record", "2.csv:4"),
        ("duplicate_record", "2.csv:7"),
        ("no_patient_id", "2.csv:2"),
        ("no_patient_id", "2.csv:6"),
    ]


@pytest.mark.parametrize(
    "more", [{"where": {"TEST": "w"}}, {"where": {"TEST": ("w", "v")}}, {"choose": "mean"}]
)
def test_a_table_of_results_has_many_rows_for_a_patient(
    tmp_path: Path, more: dict[str, object]
) -> None:
    field = ColumnField.model_validate(
        {"concept": "body_weight", "column": "KG", "unit": "kg"} | more
    )
    found = read(tmp_path, ROWS, field)
    assert {one.reason.value for one in found.set_aside} == {"no_patient_id"}
    assert len(found.facts["body_weight"]) == (6 if "choose" in more else 5)


def table_of(folder: Path, text: str) -> FeatureTable:
    return Form(parse(text), folder).table(("body_weight", "diabetes"))


BOTH = """version = 1
[[sources]]
name = "labs"
kind = "{}"
files = ["labs.{}"]
patient = "PID"
decimal = ","
[[sources.fields]]
concept = "body_weight"
column = "KG"
unit = "kg"
[[sources.fields]]
concept = "diabetes"
column = "KG"
value_map = {{ "70.5" = true, "70,5" = true, "80" = false }}
"""


def test_a_column_may_be_number_and_text_at_once(tmp_path: Path) -> None:
    workbook = requires.package("openpyxl").Workbook()
    workbook.active.append(("PID", "KG"))
    workbook.active.append(("a", 70.5))
    workbook.active.append(("b", 80))
    workbook.save(tmp_path / "labs.xlsx")
    write_csv(tmp_path / "labs.csv", ("PID", "KG"), [("a", "70,5"), ("b", "80")])
    for kind, ending in (("excel", "xlsx"), ("csv", "csv")):
        table = table_of(tmp_path, BOTH.format(kind, ending))
        assert table.columns["body_weight"].tolist() == [70.5, 80]
        assert table.columns["diabetes"].tolist() == [1, 0]
