"""The four real heart-disease hospitals, as their mappings read them."""

import csv
from pathlib import Path

import numpy as np
import pytest

import requires
from wardround.clinical import ConceptGraph, FeatureTable, Mapping, harmonise
from wardround.errors import WardroundError
from wardround.simulation.heart import FEATURES, HEADER, OUTCOME, write_heart_hospitals
from wardround.simulation.records import DemoHospital


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[DemoHospital]:
    data = requires.shared("data/heart")
    return write_heart_hospitals(data, tmp_path_factory.mktemp("heart") / "hospitals")


@pytest.fixture(scope="module")
def tables(hospitals: list[DemoHospital]) -> dict[str, FeatureTable]:
    graph = ConceptGraph.load()
    return {
        one.name: harmonise(
            Mapping.load(one.mapping_path), one.folder, graph, FEATURES, OUTCOME, extra=()
        )
        for one in hospitals
    }


def raw(hospital: DemoHospital) -> dict[str, dict[str, str]]:
    """The file's rows by the name that a row has as a patient, read by nothing of ours."""
    (file,) = hospital.folder.glob("*.data")
    with file.open(encoding="ascii", newline="") as lines:
        rows = list(csv.reader(lines))
    return {f"row {n}": dict(zip(HEADER, row, strict=True)) for n, row in enumerate(rows, start=1)}


def test_used_and_all(tables: dict[str, FeatureTable], hospitals: list[DemoHospital]) -> None:
    assert {name: table.usage for name, table in tables.items()} == {
        "cleveland": "303 used of 303",
        "budapest": "284 used of 294",
        "switzerland": "46 used of 123",
        "long-beach": "133 used of 200",
    }
    assert [one.records_total for one in hospitals] == [303, 294, 123, 200]
    assert tables["long-beach"].quarantine.summary()["outside_plausible_range"] == 1


def test_who_is_left_out_lacks_a_value(
    tables: dict[str, FeatureTable], hospitals: list[DemoHospital]
) -> None:
    """Published comparisons drop rows that lack cholesterol too; all of theirs are among ours."""
    unused = {"chol", "slope", "ca", "thal"}
    kept = {"cleveland": 303, "budapest": 261, "switzerland": 46, "long-beach": 130}
    for one in hospitals:
        rows = raw(one)
        complete = {
            name
            for name, row in rows.items()
            if "?" not in [cell for column, cell in row.items() if column not in unused]
            and float(row["trestbps"]) > 0
        }
        assert set(tables[one.name].patient_ids) == complete
        published = {
            name
            for name, row in rows.items()
            if "?" not in [cell for column, cell in row.items() if column not in unused - {"chol"}]
        }
        assert len(published) == kept[one.name]
        assert len(published - complete) == (one.name == "long-beach")


def test_every_value_means_what_the_file_says(
    tables: dict[str, FeatureTable], hospitals: list[DemoHospital]
) -> None:
    for one in hospitals:
        table = tables[one.name]
        rows = raw(one)
        cells = {
            column: np.array([float(rows[name][column]) for name in table.patient_ids])
            for column in HEADER
            if column not in ("chol", "slope", "ca", "thal")
        }
        expected = {
            "age_years": cells["age"],
            "male": cells["sex"],
            "chest_pain_atypical": cells["cp"] == 2,
            "chest_pain_non_anginal": cells["cp"] == 3,
            "chest_pain_asymptomatic": cells["cp"] == 4,
            "resting_systolic_pressure": cells["trestbps"],
            "fasting_blood_sugar_high": cells["fbs"],
            "resting_ecg_st_t": cells["restecg"] == 1,
            "resting_ecg_hypertrophy": cells["restecg"] == 2,
            "maximum_heart_rate": cells["thalach"],
            "exercise_angina": cells["exang"],
            "st_depression": cells["oldpeak"],
            OUTCOME: cells["num"] > 0,
        }
        for name, values in expected.items():
            np.testing.assert_array_equal(table.columns[name], values, err_msg=name)


def test_one_swiss_patient_has_no_disease(tables: dict[str, FeatureTable]) -> None:
    assert int((tables["switzerland"].columns[OUTCOME] == 0).sum()) == 1


def test_a_folder_without_the_data_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "processed.va.data").write_text("63,1\n")
    with pytest.raises(WardroundError) as refused:
        write_heart_hospitals(tmp_path, tmp_path / "hospitals")
    assert refused.value.code == "WR-SIM-004"
    assert "processed.cleveland.data" in refused.value.problem
    assert "processed.va.data" not in refused.value.problem
    assert not (tmp_path / "hospitals").exists()
