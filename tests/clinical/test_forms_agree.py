"""The same hospital, written as every kind of source, is the same feature table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from columns import Postgres, postgres
from hospital_forms import FORMS, USED, WANTED, as_postgres
from wardround.clinical import FeatureTable

TABULAR = ("csv", "csv in parts", "parquet", "excel", "sqlite", "postgres")


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=[*FORMS, "postgres"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureTable:
    if request.param == "postgres":
        return as_postgres(tmp_path, request.getfixturevalue("database")).table()
    return FORMS[request.param](tmp_path).table()


def test_every_form_gives_the_same_table(table: FeatureTable) -> None:
    assert table.patient_ids == USED
    np.testing.assert_allclose(
        table.matrix(WANTED[:3]),
        [[70.5, 13.5, 5.5], [80.25, 12.5, 99 / 18.0156], [45.6, 9.9, 14.7], [101, 16, 4]],
        rtol=1e-4,
    )
    assert table.columns["sex"].tolist() == [0, 1, 0, 1]
    assert table.columns["diabetes"].tolist() == [1, 0, 1, 0]
    assert table.columns["birth_date"].tolist() == [716012, 711916, 693962, 724822]


def test_every_form_sets_the_same_patients_aside(table: FeatureTable) -> None:
    assert table.usage == "4 used of 11"
    assert table.quarantine.summary() == {
        "conflicting_values": 2,
        "missing_value": 1,
        "no_date": 1,
        "outside_plausible_range": 1,
        "unknown_category": 1,
        "unknown_unit": 1,
    }
    # One weight that is too large and one unit that is none, of patients who have others.
    assert table.quarantine.resources() == {"outside_plausible_range": 1, "unknown_unit": 1}


def test_every_column_says_where_it_is_from(table: FeatureTable) -> None:
    for column in table.provenance:
        (read,) = column.reads
        assert read.source in ("people", "results", "diagnoses", "cdm", "ehr")
        assert read.rows > 0
