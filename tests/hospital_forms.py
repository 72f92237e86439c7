"""One small hospital with everything nasty in it, written as each kind of source."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import requires
from columns import Postgres
from fhir_server import FakeClock, FhirServerDouble, InProcess
from wardround.clinical import ConceptGraph, FeatureTable, Mapping
from wardround.clinical.fhir import FhirServer
from wardround.clinical.fields import FhirField
from wardround.clinical.harmonise import Harmonised, find_routes, needed
from wardround.clinical.opening import Surroundings
from wardround.clinical.warehouse import Warehouse

GRAPH = ConceptGraph.load()
TODAY = date(2026, 1, 1)
WANTED = ("body_weight", "hemoglobin", "glucose", "sex", "diabetes", "birth_date")
BASE = "https://ehr.example/fhir"
STAMP = "2026-01-01T00:00:00+00:00"

PEOPLE = (
    ("1001", date(1961, 5, 17), "F"),
    ("1002", date(1950, 2, 28), "M"),
    ("1003", date(1972, 2, 29), "F"),
    ("1004", date(1980, 12, 31), "M"),
    ("1005", date(1999, 1, 1), "F"),
    ("1006", date(1944, 7, 7), "M"),
    ("1007", date(1933, 3, 3), "F"),
    ("1008", date(2000, 10, 10), "M"),
    ("1009", date(2001, 11, 11), "X"),
    ("1010", date(1901, 1, 2), "F"),
    ("1011", date(1985, 6, 30), "M"),
)
RESULTS: tuple[tuple[str, str, float | None, str | None, date], ...] = (
    # Of weights the latest counts, in whatever unit; of haemoglobins the mean; glucose once only.
    ("1001", "weight", 71.5, "kg", date(2020, 1, 1)),
    ("1001", "weight", 70500.0, "g", date(2021, 1, 1)),
    ("1001", "weight", 9999.0, "kg", date(2022, 1, 1)),
    ("1001", "hb", 13.0, "g/dL", date(2020, 1, 1)),
    ("1001", "hb", 140.0, "g/L", date(2020, 1, 2)),
    ("1001", "glucose", 5.5, "mmol/L", date(2020, 1, 1)),
    ("1001", "glucose", 5.5, "mmol/L", date(2020, 5, 1)),
    ("1002", "weight", 80.25, "kg", date(2020, 1, 1)),
    ("1002", "weight", None, "kg", date(2023, 1, 1)),
    ("1002", "hb", 12.5, "g/dL", date(2020, 1, 1)),
    ("1002", "hb", 12.5, "furlong", date(2020, 1, 1)),
    ("1002", "glucose", 99.0, "mg/dL", date(2020, 1, 1)),
    # Two weights of one day
    ("1003", "weight", 60.0, "kg", date(2020, 1, 1)),
    ("1003", "weight", 61.0, "kg", date(2020, 1, 1)),
    ("1003", "hb", 11.0, "g/dL", date(2020, 1, 1)),
    ("1003", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    # Two glucoses that differ
    ("1004", "weight", 90.0, "kg", date(2020, 1, 1)),
    ("1004", "hb", 15.0, "g/dL", date(2020, 1, 1)),
    ("1004", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    ("1004", "glucose", 6.0, "mmol/L", date(2020, 1, 2)),
    # No weight at all; a weight of the future; no unit where one is needed
    ("1005", "hb", 15.0, "g/dL", date(2020, 1, 1)),
    ("1005", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    ("1006", "weight", 75.0, "kg", date(2031, 1, 1)),
    ("1006", "hb", 15.0, "g/dL", date(2020, 1, 1)),
    ("1006", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    ("1007", "weight", 55.0, "kg", date(2020, 1, 1)),
    ("1007", "hb", 15.0, None, date(2020, 1, 1)),
    ("1007", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    ("1008", "weight", 0.0, "kg", date(2020, 1, 1)),
    ("1008", "hb", 15.0, "g/dL", date(2020, 1, 1)),
    ("1008", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    # A sex that the value map does not name
    ("1009", "weight", 66.0, "kg", date(2020, 1, 1)),
    ("1009", "hb", 15.0, "g/dL", date(2020, 1, 1)),
    ("1009", "glucose", 5.0, "mmol/L", date(2020, 1, 1)),
    # A tiny difference that converting units makes is none
    ("1010", "weight", 45.5, "kg", date(1999, 12, 31)),
    ("1010", "weight", 45.6, "kg", date(2000, 1, 1)),
    ("1010", "hb", 9.9, "g/dL", date(2020, 1, 1)),
    ("1010", "glucose", 14.7, "mmol/L", date(2020, 1, 1)),
    ("1010", "glucose", 0.0147, "mol/L", date(2020, 1, 1)),
    ("1011", "weight", 101.0, "kg", date(2020, 2, 29)),
    ("1011", "hb", 16.0, "g/dL", date(2020, 1, 1)),
    ("1011", "glucose", 4.0, "mmol/L", date(2020, 1, 1)),
)
DIAGNOSES = (
    *((patient, "Z00.0") for patient, _, _ in PEOPLE),
    ("1001", "E11.9"),
    ("1001", "E11.9"),
    ("1010", "E11"),
    ("1004", "E11"),
)
USED = ("1001", "1002", "1010", "1011")

CODES = {"weight": "29463-7", "hb": "718-7", "glucose": "15074-8"}
OMOP_CODES = {"weight": 3025315, "hb": 3000963, "glucose": 3020491}
CHOICES = {
    "weight": ("body_weight", "latest"),
    "hb": ("hemoglobin", "mean"),
    "glucose": ("glucose", "only"),
}
TABLES: dict[str, tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]] = {
    "people": (("PID", "DOB", "SEX"), PEOPLE),
    "results": (("PID", "TEST", "VALUE", "UNIT", "DAY"), RESULTS),
    "diagnoses": (("PID", "ICD"), DIAGNOSES),
}
TYPES = {"VALUE": "DOUBLE PRECISION", "DOB": "DATE", "DAY": "DATE"}


@dataclass(frozen=True)
class Form:
    """A hospital in one form: its mapping, its folder, and how its server is reached, if any."""

    mapping: Mapping
    folder: Path
    server: FhirServerDouble | None = None

    def warehouse(self, wanted: Sequence[str] = WANTED) -> Warehouse:
        routes = find_routes(self.mapping, GRAPH, wanted)
        return Warehouse(
            self.mapping,
            self.folder,
            GRAPH,
            needed(self.mapping, routes),
            today=lambda: TODAY,
            surroundings=self.surroundings,
        )

    def surroundings(self, here: Surroundings) -> Surroundings:
        server = self.server
        if server is None:
            return here
        return replace(here, connect=lambda _source, _folder: client(server))

    def table(self, wanted: Sequence[str] = WANTED) -> FeatureTable:
        warehouse = self.warehouse(wanted)
        warehouse.refresh()
        return table_of(warehouse, wanted)


def table_of(warehouse: Warehouse, wanted: Sequence[str] = WANTED) -> FeatureTable:
    """The feature table of a warehouse as it stands."""
    return Harmonised(warehouse, find_routes(warehouse.mapping, GRAPH, wanted)).table(wanted)


def client(server: FhirServerDouble) -> FhirServer:
    return FhirServer(server.base, InProcess(server.app()), clock=FakeClock())


def parse(text: str) -> Mapping:
    return Mapping.parse(text.encode(), GRAPH)


# Tables


def columnar_mapping(place: Callable[[str], str], *, dated: bool) -> str:
    """The mapping of the three tables; ``place`` is a source's own keys."""
    form = 'date_format = "YYYY-MM-DD"\n' if dated else ""
    when = 'date_column_format = "YYYY-MM-DD"\n' if dated else ""
    text = f"""version = 1
[[sources]]
name = "people"
{place("people")}
patient = "PID"
[[sources.fields]]
concept = "birth_date"
column = "DOB"
{form}[[sources.fields]]
concept = "sex"
column = "SEX"
value_map = {{ F = "female", M = "male", female = "female", male = "male" }}
[[sources]]
name = "results"
{place("results")}
patient = "PID"
"""
    for test, (concept, choose) in CHOICES.items():
        text += f"""[[sources.fields]]
concept = "{concept}"
column = "VALUE"
unit_column = "UNIT"
where = {{ TEST = "{test}" }}
choose = "{choose}"
date_column = "DAY"
{when}"""
    return f"""{text}[[sources]]
name = "diagnoses"
{place("diagnoses")}
patient = "PID"
[[sources.fields]]
concept = "diabetes"
column = "ICD"
present = true
absent = false
where = {{ ICD = ["E11", "E11.9"] }}
"""


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])


def as_csv(folder: Path) -> Form:
    for name, (header, rows) in TABLES.items():
        write_csv(folder / f"{name}.csv", header, rows)
    place = 'kind = "csv"\nfiles = ["{}.csv"]'.format
    return Form(parse(columnar_mapping(place, dated=True)), folder)


def as_split_csv(folder: Path) -> Form:
    """The same in two files for each table."""
    for name, (header, rows) in TABLES.items():
        write_csv(folder / f"{name}-1.csv", header, rows[:5])
        write_csv(folder / f"{name}-2.csv", header, rows[5:])
    place = 'kind = "csv"\nfiles = ["{0}-1.csv", "{0}-2.csv"]'.format
    return Form(parse(columnar_mapping(place, dated=True)), folder)


def as_excel(folder: Path) -> Form:
    workbook = requires.package("openpyxl").Workbook()
    requires.package("python_calamine")
    workbook.remove(workbook.active)
    for name, (header, rows) in TABLES.items():
        page = workbook.create_sheet(name)
        page.append(header)
        for row in rows:
            page.append([int(row[0]), *row[1:]])
    workbook.save(folder / "all.xlsx")
    place = 'kind = "excel"\nfiles = ["all.xlsx"]\nsheet = "{}"'.format
    return Form(parse(columnar_mapping(place, dated=False)), folder)


def as_parquet(folder: Path) -> Form:
    import duckdb

    with duckdb.connect() as connection:
        for name, (header, rows) in TABLES.items():
            connection.execute(_create(name, header)).fetchall()
            marks = ", ".join("?" for _ in header)
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", [*rows]).fetchall()
            target = folder / f"{name}.parquet"
            connection.execute(f"COPY {name} TO '{target}' (FORMAT parquet)").fetchall()
    place = 'kind = "parquet"\nfiles = ["{}.parquet"]'.format
    return Form(parse(columnar_mapping(place, dated=False)), folder)


def as_sqlite(folder: Path) -> Form:
    connection = sqlite3.connect(folder / "ehr.db")
    with connection:
        for name, (header, rows) in TABLES.items():
            connection.execute(_create(name, header))
            marks = ", ".join("?" for _ in header)
            written = [[_sqlite(cell) for cell in row] for row in rows]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", written)
    connection.close()
    place = 'kind = "sql"\nurl = "sqlite:///ehr.db"\ntable = "{}"'.format
    return Form(parse(columnar_mapping(place, dated=False)), folder)


def as_postgres(folder: Path, database: Postgres) -> Form:
    for name, (header, rows) in TABLES.items():
        quoted = ", ".join(f"({', '.join(map(_literal, row))})" for row in rows)
        database.run(
            f"DROP TABLE IF EXISTS {name}; {_create(name, header)};"
            f" INSERT INTO {name} VALUES {quoted};"
        )

    def place(name: str) -> str:
        columns = ", ".join(f'{one} AS "{one}"' for one in TABLES[name][0])
        query = f"SELECT {columns} FROM {name}".replace('"', '\\"')
        return f'kind = "sql"\nurl = "{database.url}"\nquery = "{query}"'

    return Form(parse(columnar_mapping(place, dated=False)), folder)


def _create(name: str, header: Sequence[str]) -> str:
    columns = ", ".join(f"{one} {TYPES.get(one, 'VARCHAR(40)')}" for one in header)
    return f"CREATE TABLE {name} ({columns})"


def _sqlite(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, date) else cell


def _literal(cell: Any) -> str:
    if cell is None:
        return "NULL"
    return str(cell) if isinstance(cell, float) else f"'{cell}'"


# OMOP

OMOP_TABLES = {
    "person": (
        "person_id",
        "gender_concept_id",
        "year_of_birth",
        "month_of_birth",
        "day_of_birth",
        "race_concept_id",
        "ethnicity_concept_id",
    ),
    "measurement": (
        "person_id",
        "measurement_concept_id",
        "measurement_date",
        "value_as_number",
        "unit_source_value",
    ),
    "condition_occurrence": ("person_id", "condition_concept_id", "condition_start_date"),
}
_GENDERS = {"F": 8532, "M": 8507, "X": 0}
_ICD = {"Z00.0": 440012, "E11": 201826, "E11.9": 201826}


def omop_rows(table: str) -> list[tuple[Any, ...]]:
    match table:
        case "person":
            return [
                (int(one), _GENDERS[sex], born.year, born.month, born.day, 8527, 38003564)
                for one, born, sex in PEOPLE
            ]
        case "measurement":
            return [
                (int(one), OMOP_CODES[test], day, value, unit)
                for one, test, value, unit, day in RESULTS
            ]
        case _:
            return [(int(one), _ICD[code], date(2019, 1, 1)) for one, code in DIAGNOSES]


def omop_mapping(place: str) -> str:
    text = f"""version = 1
[[sources]]
name = "cdm"
kind = "omop"
{place}
[[sources.fields]]
concept = "birth_date"
domain = "person"
value = "day"
[[sources.fields]]
concept = "sex"
domain = "person"
concept_ids = [8507, 8532, 0]
value = "concept"
value_map = {{ 8507 = "male", 8532 = "female" }}
[[sources.fields]]
concept = "diabetes"
domain = "condition_occurrence"
concept_ids = [201826]
value = "presence"
absent = false
"""
    for test, (concept, choose) in CHOICES.items():
        text += f"""[[sources.fields]]
concept = "{concept}"
domain = "measurement"
concept_ids = [{OMOP_CODES[test]}]
choose = "{choose}"
"""
    return text


def as_omop_files(folder: Path) -> Form:
    (folder / "cdm").mkdir()
    for name, header in OMOP_TABLES.items():
        write_csv(folder / "cdm" / f"{name.upper()}.csv", header, omop_rows(name))
    return Form(parse(omop_mapping('files = "cdm"')), folder)


def as_omop_database(folder: Path) -> Form:
    connection = sqlite3.connect(folder / "cdm.db")
    with connection:
        for name, header in OMOP_TABLES.items():
            columns = ", ".join(f"{one} {_omop_type(one)}" for one in header)
            connection.execute(f"CREATE TABLE {name} ({columns})")
            marks = ", ".join("?" for _ in header)
            written = [[_sqlite(cell) for cell in row] for row in omop_rows(name)]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", written)
    connection.close()
    return Form(parse(omop_mapping('url = "sqlite:///cdm.db"')), folder)


def _omop_type(column: str) -> str:
    if column.endswith("_date"):
        return "DATE"
    if column == "value_as_number":
        return "NUMERIC"
    return "VARCHAR(50)" if column == "unit_source_value" else "INTEGER"


# FHIR

LOINC, ICD, UCUM = "http://loinc.org", "http://hl7.org/fhir/sid/icd-10", "http://unitsofmeasure.org"
FHIR_FIELDS = """[[sources.fields]]
concept = "birth_date"
element = "Patient.birthDate"
[[sources.fields]]
concept = "sex"
element = "Patient.gender"
coding = "fhir"
[[sources.fields]]
concept = "diabetes"
element = "Condition.code"
system = "http://hl7.org/fhir/sid/icd-10"
code = ["E11", "E11.9"]
absent = false
""" + "".join(
    f"""[[sources.fields]]
concept = "{concept}"
system = "http://loinc.org"
code = "{CODES[test]}"
choose = "{choose}"
"""
    for test, (concept, choose) in CHOICES.items()
)


def field(concept: str, code: str, system: str = LOINC, **more: Any) -> FhirField:
    return FhirField(concept=concept, system=system, code=code, **more)


FIELDS = (
    field("body_weight", "29463-7"),
    field("hemoglobin", "718-7", choose="mean"),
    field("glucose", "15074-8", choose="latest"),
    # one code in two systems, and one code for two fields
    field("creatinine", "2160-0"),
    field("potassium", "2160-0", system="http://other.example"),
    field("sodium", "2951-2"),
    field("chloride", "2951-2"),
    FhirField(concept="birth_date", element="Patient.birthDate"),
)
"""Fields that find each other's codes, for tests of reading."""


def resources() -> list[dict[str, Any]]:
    """The hospital as FHIR resources, each with its own id and time of change."""
    meta = {"lastUpdated": STAMP}
    genders = {"F": "female", "M": "male", "X": "other"}
    found: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": one,
            "meta": meta,
            "birthDate": born.isoformat(),
            "gender": genders[sex],
        }
        for one, born, sex in PEOPLE
    ]
    found += [observation(number, *row) for number, row in enumerate(RESULTS)]
    found += [
        {
            "resourceType": "Condition",
            "id": f"c{number}",
            "meta": meta,
            "code": {"coding": [{"system": ICD, "code": code}]},
            "subject": {"reference": f"Patient/{one}"},
        }
        for number, (one, code) in enumerate(DIAGNOSES)
    ]
    return found


def observation(
    number: int, patient: str, test: str, value: float | None, unit: str | None, day: date
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": f"o{number}",
        "meta": {"lastUpdated": STAMP},
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": CODES[test]}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": day.isoformat(),
    }
    if value is not None:
        quantity: dict[str, Any] = {"value": value}
        made["valueQuantity"] = quantity | (
            {} if unit is None else {"system": UCUM, "code": unit, "unit": unit}
        )
    return made


def fhir_mapping(place: str) -> str:
    return f'version = 1\n[[sources]]\nname = "ehr"\n{place}\n{FHIR_FIELDS}'


def as_ndjson(folder: Path) -> Form:
    kinds = ("Observation", "Patient", "Condition")
    for kind in kinds:
        lines = [json.dumps(one) for one in resources() if one["resourceType"] == kind]
        (folder / f"{kind}.ndjson").write_text("\n".join(lines) + "\n", "utf-8")
    files = ", ".join(f'"{kind}.ndjson"' for kind in kinds)
    return Form(parse(fhir_mapping(f'kind = "fhir"\nfiles = [{files}]')), folder)


def as_bundle(folder: Path) -> Form:
    entry = [{"resource": one} for one in resources()]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entry}
    (folder / "all.json").write_text(json.dumps(bundle, indent=1), "utf-8")
    return Form(parse(fhir_mapping('kind = "fhir"\nfiles = ["all.json"]')), folder)


VIEWS = {
    "people": (
        "Patient",
        (
            ("PID", "id", "id"),
            ("DOB", "birthDate", "date"),
            ("SEX", "gender", "code"),
        ),
    ),
    "results": (
        "Observation",
        (
            ("PID", "subject.reference.substring(8)", "id"),
            ("TEST", "code.coding.code", "code"),
            ("VALUE", "value.ofType(Quantity).value", "decimal"),
            ("UNIT", "value.ofType(Quantity).code", "code"),
            ("DAY", "effective.ofType(dateTime)", "dateTime"),
        ),
    ),
    "diagnoses": (
        "Condition",
        (("PID", "subject.reference.substring(8)", "id"), ("ICD", "code.coding.code", "code")),
    ),
}


def as_views(folder: Path) -> Form:
    lines = [json.dumps(one) + "\n" for one in resources()]
    (folder / "all.ndjson").write_text("".join(lines), "utf-8")
    for name, (kind, columns) in VIEWS.items():
        column = [{"name": one, "path": path, "type": of} for one, path, of in columns]
        view = {
            "resourceType": "ViewDefinition",
            "name": name,
            "status": "active",
            "resource": kind,
            "select": [{"column": column}],
        }
        (folder / f"{name}.json").write_text(json.dumps(view), "utf-8")
    text = columnar_mapping(
        'kind = "fhir-view"\nfiles = ["all.ndjson"]\nview = "{}.json"'.format, dated=False
    )
    for test, code in CODES.items():
        text = text.replace(f'TEST = "{test}"', f'TEST = "{code}"')
    return Form(parse(text), folder)


def as_search(folder: Path) -> Form:
    return _served(folder, "")


def as_bulk(folder: Path) -> Form:
    return _served(folder, 'bulk = "patient"')


def _served(folder: Path, more: str) -> Form:
    server = FhirServerDouble(BASE, resources(), page_size=10)
    return Form(
        parse(fhir_mapping(f'kind = "fhir-server"\nurl = "{BASE}"\n{more}')), folder, server
    )


FORMS: dict[str, Callable[[Path], Form]] = {
    "csv": as_csv,
    "csv in parts": as_split_csv,
    "parquet": as_parquet,
    "excel": as_excel,
    "sqlite": as_sqlite,
    "omop files": as_omop_files,
    "omop database": as_omop_database,
    "ndjson": as_ndjson,
    "bundle": as_bundle,
    "views": as_views,
    "search": as_search,
    "bulk": as_bulk,
}
"""Every form that needs no server outside of this process."""
