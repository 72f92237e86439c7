"""OMOP in the long shape: an extract of OHDSI against its own files, and the same in databases."""

from __future__ import annotations

import csv
import io
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import requires
from columns import CANARY, Postgres, cells
from wardround.clinical import Reason
from wardround.clinical.tables import Omop, OmopDomain, omop_tables
from wardround.errors import WardroundError

LONG = ["patient", "concept_id", "value", "value_text", "unit", "day"]

SMALL = {
    "person": """person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,\
race_concept_id,ethnicity_concept_id
1,8507,1960,2,29,0,0
2,8532,1971,,,8527,0
""",
    "measurement": """person_id,measurement_concept_id,measurement_date,operator_concept_id,\
value_as_number,value_as_concept_id,unit_concept_id,unit_source_value,value_source_value
1,3000963,2020-05-01,4172703,13.5,0,8713,gm/dl,13.5
1,3000963,2020-06-01,4171756,5,0,8713,,<5
2,3000963,,0,,45884084,0,mmol,
2,777,2020-07-01,0,7,0,0,,
""",
    "death": "person_id,death_date,cause_concept_id\n2,2021-01-31,\n",
    "concept": """concept_id,concept_name,vocabulary_id,concept_code,standard_concept
3000963,"Hemoglobin [Mass/volume] in Blood",LOINC,718-7,S
8713,gram per deciliter,UCUM,g/dL,S
45884084,Positive,LOINC,LA6576-8,S
""",
    "concept_ancestor": """ancestor_concept_id,descendant_concept_id
100,100
100,3000963
""",
}
EXPECTED = [
    ["1", 3000963, 13.5, "13.5", "g/dL", date(2020, 5, 1).toordinal()],
    ["1", 3000963, None, "<5", "g/dL", date(2020, 6, 1).toordinal()],
    ["2", 777, 7, None, None, date(2020, 7, 1).toordinal()],
    ["2", 3000963, None, "Positive", "mmol", None],
]


def rows(table: Any) -> list[list[Any]]:
    """The rows, sorted: a database that joins tables hands them over in any order."""
    found = [list(row) for row in zip(*cells(table, LONG, 1000), strict=True)]
    return sorted(found, key=lambda row: [(cell is None, cell) for cell in row])


def write_files(folder: Path, **changed: str | None) -> Path:
    folder.mkdir()
    for name, text in {**SMALL, **changed}.items():
        if text is not None:
            (folder / f"{name.upper()}.csv").write_text(text)
    return folder


def write_sqlite(path: Path, *, epoch: bool) -> str:
    """As OHDSI's tools fill SQLite: dates as seconds since 1970; or as others do, as text."""
    connection = sqlite3.connect(path)
    with connection:
        for name, text in SMALL.items():
            header, *body = csv.reader(io.StringIO(text))
            types = [
                f"{c} {'REAL' if c.endswith(('_date', 'number', 'person_id')) else kind(c)}"
                for c in header
            ]
            if not epoch:
                types = [t.replace("_date REAL", "_date DATE") for t in types]
            connection.execute(f"CREATE TABLE {name} ({', '.join(types)})")
            marks = ", ".join("?" * len(header))
            for row in body:
                values = [
                    seconds(v) if epoch and c.endswith("_date") and v else v or None
                    for c, v in zip(header, row, strict=True)
                ]
                connection.execute(f"INSERT INTO {name} VALUES ({marks})", values)
    connection.close()
    return f"sqlite:///{path}"


def kind(column: str) -> str:
    return "INTEGER" if column.endswith(("_id", "_of_birth")) and "voc" not in column else "TEXT"


def seconds(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def write_postgres(database: Postgres, schema: str) -> str:
    statements = [f"CREATE SCHEMA {schema}"]
    for name, text in SMALL.items():
        header, *body = csv.reader(io.StringIO(text))
        types = {c: kind(c) for c in header}
        types |= {c: "date" for c in header if c.endswith("_date")}
        types |= {c: "numeric" for c in header if c.endswith("_number")}
        columns = ", ".join(f"{c} {t}" for c, t in types.items())
        statements.append(f"CREATE TABLE {schema}.{name} ({columns})")
        for row in body:
            values = ", ".join(f"'{v}'" if v else "NULL" for v in row)
            statements.append(f"INSERT INTO {schema}.{name} VALUES ({values})")
    database.run(";".join(statements))
    return database.url


@pytest.fixture(params=["folder", "zip", "sqlite", "sqlite epoch", "postgres"])
def omop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Omop]:
    schema = None
    source: str | Path
    match request.param:
        case "folder":
            source = write_files(tmp_path / "omop")
        case "zip":
            source = tmp_path / "omop.zip"
            with zipfile.ZipFile(source, "w") as archive:
                for path in write_files(tmp_path / "omop").iterdir():
                    archive.write(path, f"export/{path.name}")
                archive.writestr("__MACOSX/export/._PERSON.csv", b"\0\1")
        case "postgres":
            schema = "cdm"
            source = write_postgres(database := request.getfixturevalue("database"), schema)
            request.addfinalizer(lambda: database.run("DROP SCHEMA cdm CASCADE"))
        case other:
            source = write_sqlite(tmp_path / "omop.db", epoch=other == "sqlite epoch")
    with omop_tables(source, schema=schema) as opened:
        yield opened


def test_measurements_in_the_long_shape(omop: Omop) -> None:
    assert rows(omop.table(OmopDomain.MEASUREMENT)) == EXPECTED


def test_a_concept_brings_those_below_it(omop: Omop) -> None:
    assert rows(omop.table(OmopDomain.MEASUREMENT, [100])) == [EXPECTED[at] for at in (0, 1, 3)]
    assert rows(omop.table(OmopDomain.MEASUREMENT, [100], descendants=False)) == []
    assert rows(omop.table(OmopDomain.MEASUREMENT, [777])) == EXPECTED[2:3]
    assert rows(omop.table(OmopDomain.MEASUREMENT, [])) == []


def test_persons_and_deaths(omop: Omop) -> None:
    born = date(1960, 2, 29).toordinal()
    assert rows(omop.table(OmopDomain.PERSON, [8507, 8532])) == [
        ["1", 8507, None, None, None, born],
        ["2", 8532, None, None, None, None],
    ]
    assert rows(omop.table(OmopDomain.DEATH)) == [
        ["2", 0, None, None, None, date(2021, 1, 31).toordinal()]
    ]
    assert omop.domains() == (OmopDomain.PERSON, OmopDomain.MEASUREMENT, OmopDomain.DEATH)


def test_codes_say_how_often_and_what_they_are(omop: Omop) -> None:
    first, second = omop.codes(OmopDomain.MEASUREMENT)
    assert (first.concept_id, first.occurrences, first.patients, first.numbers) == (
        3000963,
        3,
        2,
        1,
    )
    assert (first.vocabulary, first.code, first.unit) == ("LOINC", "718-7", None)
    assert first.name == "Hemoglobin [Mass/volume] in Blood"
    assert (second.concept_id, second.occurrences, second.name) == (777, 1, None)


def test_a_domain_that_is_not_there(omop: Omop) -> None:
    with pytest.raises(WardroundError) as caught:
        omop.table(OmopDomain.VISIT)
    assert caught.value.code == "WR-DATA-058"


def test_a_vocabulary_as_athena_writes_it(tmp_path: Path) -> None:
    concept = SMALL["concept"].replace('"', "").replace(",", "\t")
    concept += '777\t"Odd" name\tLOINC\t1-1\tS\n'
    with omop_tables(write_files(tmp_path / "omop", concept=concept)) as omop:
        names = {code.concept_id: code.name for code in omop.codes(OmopDomain.MEASUREMENT)}
    assert names == {3000963: "Hemoglobin [Mass/volume] in Blood", 777: '"Odd" name'}


def test_without_a_vocabulary_concepts_are_numbers(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "omop", concept=None, concept_ancestor=None)
    with omop_tables(folder) as omop:
        assert [row[3:5] for row in rows(omop.table(OmopDomain.MEASUREMENT))] == [
            ["13.5", "g/dL"], ["<5", "g/dL"], [None, None], [None, "mmol"],
        ]  # fmt: skip
        assert omop.codes(OmopDomain.MEASUREMENT)[0].name is None


def test_bad_cells_of_an_extract_are_set_aside_with_their_line(tmp_path: Path) -> None:
    bad = SMALL["measurement"].replace("2020-07-01,0,7,", f"2020-07-41,0,{CANARY},")
    bad = bad.replace("1,3000963,2020-06-01", "1.5,3000963,2020-06-01")
    with omop_tables(write_files(tmp_path / "omop", measurement=bad)) as omop:
        found = rows(omop.table(OmopDomain.MEASUREMENT))
        assert sorted((entry.reason, entry.where) for entry in omop.rejected) == [
            (Reason.IMPOSSIBLE_DATE, "MEASUREMENT.csv:5"),
            (Reason.UNREADABLE_NUMBER, "MEASUREMENT.csv:3"),
            (Reason.UNREADABLE_NUMBER, "MEASUREMENT.csv:5"),
        ]
    assert found[1] == ["2", 777, None, None, None, None]
    assert found[3][0] is None


def test_what_is_no_omop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.zip").write_bytes(CANARY.encode())
    sqlite3.connect(tmp_path / "none.db").execute("CREATE TABLE t (a)").connection.close()
    both = write_files(tmp_path / "both")
    (both / "person.csv").write_text(SMALL["person"])
    for source in (
        tmp_path / "empty",
        tmp_path / "none.zip",
        f"sqlite:///{tmp_path / 'none.db'}",
        both,
    ):
        with pytest.raises(WardroundError) as caught:
            omop_tables(source)
        assert caught.value.code == "WR-DATA-058"
    with pytest.raises(WardroundError) as caught:
        omop_tables(tmp_path / "gone.zip")
    assert caught.value.code == "WR-DATA-010"


@given(
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=3)), max_size=8)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(cuts=[(6, b"\x21")])
def test_no_damaged_zip_makes_it_crash(cuts: list[tuple[int, bytes]], tmp_path: Path) -> None:
    path = tmp_path / "omop.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in SMALL.items():
            archive.writestr(f"{name}.csv", text)
    content = bytearray(path.read_bytes())
    for at, change in cuts:
        at %= len(content)
        content[at : at + len(change)] = change
    path.write_bytes(content)
    try:
        with omop_tables(path) as omop:
            rows(omop.table(OmopDomain.MEASUREMENT))
    except WardroundError as error:
        assert error.code.startswith("WR-DATA-0")


def test_an_extract_of_ohdsi_is_read_whole() -> None:
    archive = requires.shared("data/omop_synthea27nj") / "Synthea27Nj_5.4.zip"
    with zipfile.ZipFile(archive) as files, omop_tables(archive) as omop:
        assert omop.domains() == tuple(OmopDomain)
        for domain, concept, day in (
            (OmopDomain.MEASUREMENT, "measurement_concept_id", "measurement_date"),
            (OmopDomain.OBSERVATION, "observation_concept_id", "observation_date"),
            (OmopDomain.CONDITION, "condition_concept_id", "condition_start_date"),
            (OmopDomain.DRUG, "drug_concept_id", "drug_exposure_start_date"),
            (OmopDomain.PROCEDURE, "procedure_concept_id", "procedure_date"),
            (OmopDomain.VISIT, "visit_concept_id", "visit_start_date"),
            (OmopDomain.DEATH, "cause_concept_id", "death_date"),
        ):
            text = files.read(f"{domain.upper()}.csv").decode()
            written = [*csv.DictReader(io.StringIO(text))]
            found = [*zip(*cells(omop.table(domain), LONG, 5000), strict=True)]
            assert [(row[0], int(row[1]), row[5]) for row in found] == [
                (row["person_id"], int(row[concept]), date.fromisoformat(row[day]).toordinal())
                for row in written
            ]
            if domain is OmopDomain.MEASUREMENT:
                assert [row[2] for row in found] == [
                    float(row["value_as_number"]) if row["value_as_number"] else None
                    for row in written
                ]
            counts = Counter(int(row[concept]) for row in written)
            assert {c.concept_id: c.occurrences for c in omop.codes(domain)} == counts
        top = omop.codes(OmopDomain.MEASUREMENT)[0]
        assert (top.vocabulary, top.unit) == ("LOINC", "mm[Hg]")
        assert omop.rejected == ()
        assert [file.name for file in omop.table(OmopDomain.DEATH)._backend.files] == [
            "DEATH.csv",
            "CONCEPT.csv",
        ]
