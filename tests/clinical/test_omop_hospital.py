"""A real OMOP extract against its own CSV files, read by other means."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

import requires
from hospital_forms import OMOP_TABLES, Form, as_omop_files, omop_mapping, parse, write_csv

MAPPING = """version = 1
[[sources]]
name = "cdm"
kind = "omop"
files = "Synthea27Nj_5.4.zip"
[[sources.fields]]
concept = "sex"
domain = "person"
concept_ids = [8507, 8532]
value = "concept"
coding = "omop"
[[sources.fields]]
concept = "birth_date"
domain = "person"
value = "day"
[[sources.fields]]
concept = "body_weight"
domain = "measurement"
concept_ids = [3025315]
choose = "latest"
[[sources.fields]]
concept = "hypertension"
domain = "condition_occurrence"
concept_ids = [320128]
value = "presence"
absent = false
"""
WANTED = ("sex", "birth_date", "body_weight", "hypertension")


def test_a_real_extract_is_read_as_it_stands() -> None:
    folder = requires.shared("data/omop_synthea27nj")
    table = Form(parse(MAPPING), folder).table(WANTED)
    with zipfile.ZipFile(folder / "Synthea27Nj_5.4.zip") as archive:

        def rows(name: str) -> list[dict[str, str]]:
            text = archive.read(f"{name}.csv").decode()
            return [
                {key.lower(): cell for key, cell in row.items()}
                for row in csv.DictReader(io.StringIO(text))
            ]

        people = {row["person_id"]: row for row in rows("PERSON")}
        weights: dict[str, list[tuple[str, float]]] = defaultdict(list)
        for row in rows("MEASUREMENT"):
            if row["measurement_concept_id"] == "3025315":
                weights[row["person_id"]].append(
                    (row["measurement_date"], float(row["value_as_number"]))
                )
        ill = {
            row["person_id"]
            for row in rows("CONDITION_OCCURRENCE")
            if row["condition_concept_id"] == "320128"
        }
    assert table.usage == f"{len(people)} used of {len(people)}"
    assert table.patient_ids == tuple(sorted(people))
    for at, person in enumerate(table.patient_ids):
        assert table.columns["body_weight"][at] == max(weights[person])[1]
        assert table.columns["hypertension"][at] == (person in ill)
        assert table.columns["sex"][at] == (people[person]["gender_concept_id"] == "8507")


def test_two_diagnoses_are_no_duplicate_record(tmp_path: Path) -> None:
    table = as_omop_files(tmp_path).table()
    assert "duplicate_record" not in table.quarantine.summary()


@pytest.mark.parametrize(("unit", "expected"), [("8840", 5.551), ("8753", 100.0), ("0", None)])
def test_a_unit_is_known_by_its_concept_id_alone(
    tmp_path: Path, unit: str, expected: float | None
) -> None:
    cdm = tmp_path / "cdm"
    cdm.mkdir()
    write_csv(cdm / "person.csv", OMOP_TABLES["person"], [(1, 8507, 1960, 1, 1, 0, 0)])
    header = (
        "person_id",
        "measurement_concept_id",
        "measurement_date",
        "value_as_number",
        "unit_concept_id",
    )
    row = (1, 3020491, "2020-01-01", 100, unit)
    write_csv(cdm / "measurement.csv", header, [row])
    table = Form(parse(omop_mapping('files = "cdm"')), tmp_path).table(("glucose",))
    if expected is None:
        assert table.quarantine.summary() == {"unknown_unit": 1}
    else:
        assert table.columns["glucose"][0] == pytest.approx(expected, rel=1e-3)


def test_a_cell_that_can_not_be_loaded_is_not_lost(tmp_path: Path) -> None:
    form = as_omop_files(tmp_path)
    path = tmp_path / "cdm" / "MEASUREMENT.csv"
    path.write_text(path.read_text().replace("101.0", "a hundred"))
    table = form.table()
    assert table.quarantine.resources()["unreadable_number"] == 1
    assert table.quarantine.summary()["missing_value"] == 2


def test_a_coded_text_is_read_by_a_value_map(tmp_path: Path) -> None:
    cdm = tmp_path / "cdm"
    cdm.mkdir()
    people = [(n, 8507, 1960, 1, 1, 0, 0) for n in range(3)]
    write_csv(cdm / "person.csv", OMOP_TABLES["person"], people)
    header = ("person_id", "observation_concept_id", "observation_date", "value_as_string")
    rows = [(0, 43054909, "2020-01-01", "Never"), (1, 43054909, "2020-01-01", "often")]
    write_csv(cdm / "observation.csv", header, rows)
    mapping = parse(
        """version = 1
[[sources]]
name = "cdm"
kind = "omop"
files = "cdm"
[[sources.fields]]
concept = "smoking_status"
domain = "observation"
concept_ids = [43054909]
value = "value_text"
value_map = { Never = "never" }
"""
    )
    table = Form(mapping, tmp_path).table(("smoking_status",))
    assert table.patient_ids == ("0",)
    assert table.quarantine.summary() == {"missing_value": 1, "unknown_category": 1}
