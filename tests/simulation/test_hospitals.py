"""The artificial hospitals hold every real biopsy once, and break only what is marked broken."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import requires
from wardround.clinical import ConceptGraph, FeatureTable, Mapping, harmonise
from wardround.simulation.hospitals import (
    FEATURES,
    OUTCOME,
    DemoHospital,
    Form,
    write_demo_hospitals,
)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[DemoHospital]:
    requires.package("sklearn")
    return write_demo_hospitals(tmp_path_factory.mktemp("hospitals"))


@pytest.fixture(scope="module")
def tables(hospitals: list[DemoHospital]) -> list[FeatureTable]:
    return [
        harmonise(
            Mapping.load(hospital.mapping_path),
            hospital.folder,
            ConceptGraph.load(),
            FEATURES,
            OUTCOME,
        )
        for hospital in hospitals
    ]


def test_sizes_and_forms(hospitals: list[DemoHospital], tables: list[FeatureTable]) -> None:
    assert [(h.name, len(t)) for h, t in zip(hospitals, tables, strict=True)] == [
        ("north-general", 231),
        ("lakeside", 162),
        ("st-anna", 108),
        ("harbour", 68),
    ]
    assert [h.form for h in hospitals] == [Form.FHIR, Form.SQL, Form.CSV, Form.OMOP]


def test_the_broken_records_and_only_they_are_set_aside(
    hospitals: list[DemoHospital], tables: list[FeatureTable]
) -> None:
    for hospital, table in zip(hospitals, tables, strict=True):
        assert table.records_total == hospital.records_total
        assert not any("broken" in patient for patient in table.patient_ids)
        assert not any(patient.startswith("9000") for patient in table.patient_ids)  # OMOP's
    reasons = {h.name: set(t.quarantine.summary()) for h, t in zip(hospitals, tables, strict=True)}
    assert reasons == {
        "north-general": {"unknown_unit", "not_exact", "incomplete_date", "missing_value"},
        "lakeside": {
            "outside_plausible_range",
            "unreadable_number",
            "impossible_date",
            "missing_value",
            "conflicting_values",
        },
        "st-anna": {
            "unreadable_number",
            "outside_plausible_range",
            "unknown_category",
            "wrong_column_count",
            "conflicting_values",
            "duplicate_record",
        },
        "harbour": {"missing_value", "unknown_unit", "unknown_category"},
    }
    assert tables[0].quarantine.resources() == {"unreadable_line": 1, "not_final": 11}


def test_the_real_values_survive_every_unit_and_form(tables: list[FeatureTable]) -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    # scikit-learn's first ten columns are the means, in the data set's own order.
    real = np.column_stack([data.data[:, :10], data.target == 0])
    read = np.vstack([table.matrix([*FEATURES, OUTCOME]) for table in tables])
    for values in (real, read):
        assert values.shape == (569, 11)
    real, read = (values[np.lexsort(np.round(values, 9).T)] for values in (real, read))
    np.testing.assert_allclose(read, real, rtol=1e-12, atol=0)


def test_hospitals_differ_mildly_and_have_both_classes(tables: list[FeatureTable]) -> None:
    shares = [table.columns[OUTCOME].mean() for table in tables]
    assert all(0.15 < share < 0.6 for share in shares)
    assert max(shares) - min(shares) > 0.1


def test_ages_are_plausible_and_follow_nothing(tables: list[FeatureTable]) -> None:
    age = np.concatenate([table.columns["age_years"] for table in tables])
    outcome = np.concatenate([table.columns[OUTCOME] for table in tables])
    assert age.min() >= 18
    assert age.max() <= 100
    assert abs(np.corrcoef(age, outcome)[0, 1]) < 0.12


def test_the_recipe_is_repeatable(hospitals: list[DemoHospital], tmp_path: Path) -> None:
    for first, again in zip(hospitals, write_demo_hospitals(tmp_path), strict=True):
        for file in sorted(first.folder.rglob("*.*")):
            again_here = again.folder / file.relative_to(first.folder)
            assert file.read_bytes() == again_here.read_bytes(), file.name


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    requires.package("sklearn")
    write_demo_hospitals(tmp_path)
    with pytest.raises(FileExistsError):
        write_demo_hospitals(tmp_path)


def test_what_is_invented_is_marked(hospitals: list[DemoHospital]) -> None:
    for hospital in hospitals:
        assert "SYNTHETIC" in (hospital.folder / "README.txt").read_text("utf-8")
        for file in hospital.folder.glob("*.ndjson"):
            lines = file.read_text("utf-8").splitlines()
            assert sum("HTEST" not in line for line in lines) <= 1  # the line cut off on purpose
        for file in hospital.folder.glob("*.csv"):
            assert file.read_text("utf-8").splitlines()[0].count("[synthetic]") >= 3
        for file in hospital.folder.glob("*.db"):
            with closing(sqlite3.connect(file)) as database:
                tables = [row[0] for row in database.execute("SELECT sql FROM sqlite_master")]
            assert "".join(filter(None, tables)).count("_synthetic") == 4
        for file in hospital.folder.glob("omop/person.csv"):
            people = file.read_text("utf-8").splitlines()[1:]
            assert all("[synthetic]" in person for person in people)
            assert "SYNTHETIC" in (file.parent / "cdm_source.csv").read_text("utf-8")


def test_local_concepts_of_omop_have_ids_that_omop_leaves_free(
    hospitals: list[DemoHospital],
) -> None:
    extract = hospitals[3].folder / "omop"
    with (extract / "concept.csv").open(encoding="utf-8", newline="") as file:
        concepts = list(csv.DictReader(file))
    assert [one["concept_code"] for one in concepts] == [*FEATURES, OUTCOME]
    assert all(int(one["concept_id"]) > 2_000_000_000 for one in concepts)
