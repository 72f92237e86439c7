"""From files to a feature table: what is used, what is set aside and why, what stops."""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wardround.clinical import ConceptGraph, FeatureTable, Mapping, harmonise
from wardround.errors import WardroundError, WardroundErrors

GRAPH = ConceptGraph.load()
TODAY = date(2026, 1, 1)
CANARY = "73519.4242"
"""A patient's value that no error, log or repr may show."""

CSV_MAPPING = """
version = 1
index_date = "specimen_date"
[[sources]]
name = "biopsies"
kind = "csv"
files = ["biopsies.csv"]
patient = "ID"
missing = ["", "NA"]
maximum_unreadable_share = 0.5
[[sources.fields]]
concept = "radius_mean"
column = "Radius"
unit_column = "Unit"
[[sources.fields]]
concept = "malignant"
column = "Dx"
value_map = { M = true, B = false }
[[sources.fields]]
concept = "birth_date"
column = "DOB"
date_format = "DD.MM.YYYY"
[[sources.fields]]
concept = "specimen_date"
column = "Taken"
date_format = "YYYY-MM-DD"
"""
HEADER = "ID,Radius,Unit,Dx,DOB,Taken,Unmapped"
GOOD = "p1,0.014,mm,M,17.05.1961,2021-03-09,x"

FHIR_MAPPING = """
version = 1
index_date = "specimen_date"
[[sources]]
name = "ehr"
kind = "fhir"
files = ["all.ndjson"]
maximum_unreadable_share = 0.5
[[sources.fields]]
concept = "radius_mean"
system = "http://example.org"
code = "radius"
[[sources.fields]]
concept = "malignant"
system = "http://example.org"
code = "dx"
value_system = "http://example.org/dx"
value_map = { mal = true, ben = false }
[[sources.fields]]
concept = "birth_date"
element = "Patient.birthDate"
[[sources.fields]]
concept = "specimen_date"
element = "Observation.effectiveDateTime"
system = "http://example.org"
code = "radius"
"""

Resource = dict[str, object]


def person(identifier: object = "p1", born: object = "1961-05-17") -> Resource:
    return {"resourceType": "Patient", "id": identifier, "birthDate": born}


def observation(code: str, subject: object = "Patient/p1", **more: object) -> Resource:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://example.org", "code": code}]},
        "subject": {"reference": subject},
        "effectiveDateTime": "2021-03-09T10:00:00Z",
    } | more


def quantity(value: object = 0.014, unit: object = "mm", **more: object) -> Resource:
    return {"value": value, "system": "http://unitsofmeasure.org", "code": unit} | more


def coded(*codes: str, system: str = "http://example.org/dx") -> Resource:
    return {"coding": [{"system": system, "code": code} for code in codes]}


RADIUS = observation("radius", valueQuantity=quantity())
DIAGNOSIS = observation("dx", valueCodeableConcept=coded("mal"))


@pytest.fixture
def from_csv(tmp_path: Path) -> Callable[..., FeatureTable]:
    def read(*lines: str) -> FeatureTable:
        (tmp_path / "biopsies.csv").write_text("\n".join((HEADER, *lines)) + "\n", "utf-8")
        return table(tmp_path, CSV_MAPPING)

    return read


@pytest.fixture
def from_fhir(tmp_path: Path) -> Callable[..., FeatureTable]:
    def read(*resources: object) -> FeatureTable:
        lines = (line if isinstance(line, str) else json.dumps(line) for line in resources)
        (tmp_path / "all.ndjson").write_text("\n".join(lines) + "\n", "utf-8")
        return table(tmp_path, FHIR_MAPPING)

    return read


def table(folder: Path, mapping: str, extra: Sequence[str] = ("age_years",)) -> FeatureTable:
    parsed = Mapping.parse(mapping.encode(), GRAPH)
    return harmonise(parsed, folder, GRAPH, ["radius_mean"], "malignant", extra, today=TODAY)


def refusal(folder: Path, mapping: str) -> WardroundError:
    with pytest.raises(WardroundError) as caught:
        table(folder, mapping)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)
    return caught.value


# What is used


@pytest.mark.parametrize("form", ["csv", "fhir"])
def test_a_good_record_becomes_a_row(
    form: str, from_csv: Callable[..., FeatureTable], from_fhir: Callable[..., FeatureTable]
) -> None:
    got = from_csv(GOOD) if form == "csv" else from_fhir(person(), RADIUS, DIAGNOSIS)
    assert got.patient_ids == ("p1",)
    assert list(got.columns) == ["radius_mean", "malignant", "age_years"]
    np.testing.assert_array_equal(
        got.matrix(["radius_mean", "malignant", "age_years"]), [[14.0, 1.0, 59.0]]
    )
    assert got.usage == "1 used of 1"
    assert got.quarantine.summary() == {}


def test_rows_are_sorted_by_patient_whatever_the_order(
    from_csv: Callable[..., FeatureTable],
) -> None:
    other = GOOD.replace("p1", "p0").replace("0.014", "13").replace("mm", "um")
    got = from_csv(GOOD, other)
    assert got.patient_ids == ("p0", "p1")
    assert got.columns["radius_mean"].tolist() == [13.0, 14.0]


def test_provenance_says_how_a_column_came_about(from_csv: Callable[..., FeatureTable]) -> None:
    got = from_csv(GOOD)
    radius, _, age = got.provenance
    assert radius.path == (
        'column "Radius"',
        "mm -> um (x 1000), 1 value",
        "kept within 1 to 100 um",
    )
    assert radius.files[0].name == "biopsies.csv"
    assert radius.files[0].lines == 2
    assert (
        age.path[-1]
        == "Age in completed years = completed years from the date of birth to the index date"
    )
    assert age.path[0] == 'birth_date: column "DOB"'


def test_the_file_digest_is_that_of_its_bytes(
    from_csv: Callable[..., FeatureTable], tmp_path: Path
) -> None:
    got = from_csv(GOOD)
    expected = hashlib.sha256((tmp_path / "biopsies.csv").read_bytes()).hexdigest()
    assert got.provenance[0].files[0].digest == f"sha256:{expected}"


def test_columns_that_the_study_does_not_need_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "biopsies.csv").write_text("ID,Radius,Unit,Dx\np1,14,um,M\n", "utf-8")
    assert table(tmp_path, CSV_MAPPING, extra=()).patient_ids == ("p1",)


def test_a_byte_order_mark_crlf_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    text = f"\ufeff{HEADER}\r\n\r\n{GOOD}\r\n"
    (tmp_path / "biopsies.csv").write_bytes(text.encode())
    assert table(tmp_path, CSV_MAPPING).usage == "1 used of 1"


def test_another_stated_encoding_is_read(tmp_path: Path) -> None:
    mapping = CSV_MAPPING.replace('kind = "csv"', 'kind = "csv"\nencoding = "windows-1252"')
    text = f"{HEADER}\n{GOOD.replace('p1', 'Müller')}\n"
    (tmp_path / "biopsies.csv").write_bytes(text.encode("cp1252"))
    assert table(tmp_path, mapping).patient_ids == ("Müller",)
    assert refusal(tmp_path, CSV_MAPPING).code == "WR-DATA-012"


def test_an_excluded_patient_is_counted(from_csv: Callable[..., FeatureTable]) -> None:
    got = from_csv(GOOD, GOOD.replace("p1", "p2")).excluding({"p2", "someone else"})
    assert got.patient_ids == ("p1",)
    assert len(got.columns["radius_mean"]) == 1
    assert got.usage == "1 used of 2"
    assert got.quarantine.summary() == {"excluded": 1}


# What is set aside

SECOND = GOOD.replace("p1", "p2")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SECOND.replace("0.014", ""), "missing_value"),
        (SECOND.replace("0.014", "NA"), "missing_value"),
        (SECOND.replace("0.014", CANARY), "outside_plausible_range"),
        (SECOND.replace("0.014", f"{CANARY} mm"), "unreadable_number"),
        (SECOND.replace("mm", "furlong"), "unknown_unit"),
        (SECOND.replace("mm", "kg"), "unknown_unit"),
        (SECOND.replace("mm", ""), "unknown_unit"),
        (SECOND.replace("M,", "perhaps,"), "unknown_category"),
        (SECOND.replace("17.05.1961", "31.02.1961"), "impossible_date"),
        (SECOND.replace("17.05.1961", "05/17/1961"), "impossible_date"),
        (SECOND.replace("17.05.1961", "17.05.2022"), "impossible_date"),
        (SECOND.replace("2021-03-09", "2031-03-09"), "impossible_date"),
        (SECOND.replace("17.05.1961", "17.05.1861"), "outside_plausible_range"),
        (SECOND + ",one too many", "wrong_column_count"),
        (SECOND.replace("p2", ""), "no_patient_id"),
        (SECOND.replace("0.014", '"0.014"x'), "unreadable_line"),
        (SECOND.replace("mm", f'"{CANARY}'), "unreadable_line"),
        (SECOND.replace("mm", "m\0m"), "wrong_encoding"),
        (GOOD, "duplicate_record"),
    ],
)
def test_a_bad_row_is_set_aside_and_the_others_are_used(
    from_csv: Callable[..., FeatureTable], row: str, reason: str
) -> None:
    got = from_csv(GOOD, row, GOOD.replace("p1", "p3"))
    assert got.patient_ids == ("p1", "p3")
    assert got.usage == "2 used of 3"
    assert got.quarantine.summary() == {reason: 1}
    assert CANARY not in repr(got) + repr(got.quarantine) + repr(got.provenance)


def test_a_patient_with_two_differing_rows_is_not_guessed(
    from_csv: Callable[..., FeatureTable],
) -> None:
    got = from_csv(GOOD, SECOND, SECOND.replace("0.014", "0.015"))
    assert got.usage == "1 used of 3"
    assert got.quarantine.summary() == {"conflicting_values": 1, "duplicate_record": 1}


def test_the_place_of_a_bad_row_is_named(from_csv: Callable[..., FeatureTable]) -> None:
    got = from_csv(GOOD, SECOND.replace("0.014", "0"))
    (entry,) = got.quarantine
    assert (entry.where, entry.concept) == ("biopsies.csv:3", "radius_mean")


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        ([observation("radius", valueQuantity=quantity(unit="furlong"))], "unknown_unit"),
        ([observation("radius", valueQuantity=quantity(system="http://x"))], "unknown_unit"),
        ([observation("radius", valueQuantity=quantity(comparator="<"))], "not_exact"),
        ([observation("radius", valueQuantity=quantity(value="0.014"))], "missing_value"),
        ([observation("radius", valueQuantity=quantity(value=True))], "missing_value"),
        ([observation("radius", valueQuantity=[1])], "missing_value"),
        ([observation("radius", dataAbsentReason={})], "missing_value"),
        (
            [observation("radius", valueQuantity=quantity(value=float(CANARY)))],
            "outside_plausible_range",
        ),
        ([RADIUS, observation("radius", valueQuantity=quantity(0.015))], "conflicting_values"),
        ([], "missing_value"),
    ],
)
def test_a_bad_observation_sets_the_patient_aside(
    from_fhir: Callable[..., FeatureTable], resources: list[Resource], reason: str
) -> None:
    good = [one | {"subject": {"reference": "Patient/ok"}} for one in (RADIUS, DIAGNOSIS)]
    got = from_fhir(person(), DIAGNOSIS, *resources, person("ok"), *good)
    assert got.patient_ids == ("ok",)
    assert got.quarantine.summary() == {reason: 1}


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ('{"resourceType": "Observation", "va', "unreadable_line"),
        (f'"{CANARY}"', "unreadable_line"),
        ("{}", "unreadable_line"),
        ('{"a":' * 2000, "unreadable_line"),
        ('{"resourceType": "Patient", "id": "a\0"}', "wrong_encoding"),
        ('{"resourceType": "Patient", "id": "a"}\0', "wrong_encoding"),
        (person(None), "no_patient_id"),
        (person(17), "no_patient_id"),
        (observation("radius", subject="Group/p1"), "no_patient_id"),
        (observation("radius", subject="NotAPatient/p1"), "no_patient_id"),
        (observation("radius", subject=None), "no_patient_id"),
        (RADIUS | {"status": "entered-in-error"}, "not_final"),
        (RADIUS | {"status": []}, "not_final"),
    ],
)
def test_a_bad_resource_is_counted_and_harms_nobody(
    from_fhir: Callable[..., FeatureTable], resource: object, reason: str
) -> None:
    got = from_fhir(person(), RADIUS, DIAGNOSIS, resource, {"resourceType": "Encounter"})
    assert got.usage == "1 used of 1"
    assert got.quarantine.resources() == {reason: 1}


@pytest.mark.parametrize("file", ["biopsies.csv", "all.ndjson"])
def test_bytes_that_are_no_text_cost_one_line_and_show_no_value(tmp_path: Path, file: str) -> None:
    csv = file == "biopsies.csv"
    good = [HEADER, GOOD] if csv else [json.dumps(one) for one in (person(), RADIUS, DIAGNOSIS)]
    bad = GOOD.replace("p1", CANARY) if csv else json.dumps(person(CANARY))
    lines = [
        good[0].encode(),
        bad.encode().replace(b"73519", b"73519\xe4"),
        *map(str.encode, good[1:]),
    ]
    (tmp_path / file).write_bytes(b"\n".join(lines) + b"\n")
    got = table(tmp_path, CSV_MAPPING if csv else FHIR_MAPPING)
    assert got.patient_ids == ("p1",)
    entries = [one for one in got.quarantine if one.reason.value == "wrong_encoding"]
    assert [one.where for one in entries] == [f"{file}:2"]
    assert got.usage == ("1 used of 2" if csv else "1 used of 1")
    assert "73519" not in repr(got.quarantine)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"valueCodeableConcept": coded("ben")}, 0.0),
        ({"valueCodeableConcept": coded("other", "mal")}, 1.0),
        ({"valueBoolean": True}, 1.0),
        ({"valueCodeableConcept": coded("mal", system="http://elsewhere")}, "missing_value"),
        ({"valueCodeableConcept": coded("mal", "ben")}, "conflicting_values"),
        ({"valueCodeableConcept": coded("perhaps")}, "unknown_category"),
        ({"valueInteger": 1}, "unknown_category"),
    ],
)
def test_coded_values(
    from_fhir: Callable[..., FeatureTable], value: Resource, expected: float | str
) -> None:
    good = [one | {"subject": {"reference": "Patient/ok"}} for one in (RADIUS, DIAGNOSIS)]
    got = from_fhir(person(), RADIUS, observation("dx", **value), person("ok"), *good)
    if isinstance(expected, float):
        assert got.columns["malignant"].tolist() == [1.0, expected]
    else:
        assert got.quarantine.summary() == {expected: 1}


@pytest.mark.parametrize(
    "reference", ["Patient/p1", "https://ehr.example/fhir/Patient/p1", "Patient/p1/_history/2"]
)
def test_references_to_a_patient(from_fhir: Callable[..., FeatureTable], reference: str) -> None:
    subject = {"subject": {"reference": reference}}
    assert from_fhir(person(), RADIUS | subject, DIAGNOSIS | subject).patient_ids == ("p1",)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([person(), RADIUS, DIAGNOSIS]),
    key=st.sampled_from(
        ["id", "code", "subject", "status", "valueQuantity", "birthDate", "effectiveDateTime"]
    ),
    value=JSON_VALUES,
)
def test_no_shape_of_an_element_stops_a_run(
    from_fhir: Callable[..., FeatureTable], kind: Resource, key: str, value: object
) -> None:
    good = [one | {"subject": {"reference": "Patient/ok"}} for one in (RADIUS, DIAGNOSIS)]
    assert "ok" in from_fhir(person("ok"), *good, kind | {key: value}).patient_ids


# What stops


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "WR-DATA-011"),
        (f"{HEADER}\n".encode(), "WR-DATA-011"),
        (f"{HEADER}\n{GOOD}\n".encode("utf-16"), "WR-DATA-012"),
        (f"{HEADER}\n{GOOD}\n".encode("utf-16-le"), "WR-DATA-012"),
        (f"{HEADER}\np\xfc,{CANARY}\n".encode("latin-1"), "WR-DATA-012"),
        (f"{HEADER}\n{GOOD}\np2,{CANARY}".encode(), "WR-DATA-013"),
        (f'{HEADER}\n{GOOD}\np2,"{CANARY}'.encode(), "WR-DATA-013"),
        (f"{HEADER.replace('Radius', 'Size')}\n{GOOD}\n".encode(), "WR-DATA-014"),
        (f"{HEADER.replace(',', ';')}\n{GOOD}\n".encode(), "WR-DATA-014"),
        (f"{GOOD.replace('0.014', CANARY)}\n{GOOD}\n".encode(), "WR-DATA-015"),
        (f"{HEADER.replace('Unmapped', 'Radius')}\n{GOOD}\n".encode(), "WR-DATA-015"),
        (f'"{HEADER}'.encode(), "WR-DATA-015"),
        (f"{HEADER}\n{GOOD}\n{CANARY}\n{CANARY}\n".encode(), "WR-DATA-016"),
        (b"x" * (16 * 1024 * 1024 + 1), "WR-DATA-017"),
        (f"{HEADER}\n{GOOD.replace('0.014', CANARY)}\n".encode(), "WR-DATA-018"),
    ],
)
def test_a_bad_csv_file_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "biopsies.csv").write_bytes(content)
    assert refusal(tmp_path, CSV_MAPPING).code == code


def test_a_vanished_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "biopsies.csv").write_text(f"{HEADER.replace('Radius', 'Size')}\n{GOOD}\n", "utf-8")
    error = refusal(tmp_path, CSV_MAPPING)
    assert "'Radius'" in error.problem
    assert error.path == "biopsies.csv"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "WR-DATA-011"),
        (b'{"resourceType":"Encounter"}\n', "WR-DATA-011"),
        (json.dumps(person()).encode("utf-16"), "WR-DATA-012"),
        (b'{"resourceType":"Patient","id":"\xfc"}\n', "WR-DATA-012"),
        (json.dumps(person(CANARY)).encode()[:-5], "WR-DATA-013"),
        (json.dumps(person(CANARY), indent=1).encode() + b"\n", "WR-DATA-016"),
        (b'{"a":' * 2000 + b"\n", "WR-DATA-016"),
    ],
)
def test_a_bad_fhir_file_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "all.ndjson").write_bytes(content)
    assert refusal(tmp_path, FHIR_MAPPING).code == code


def test_a_whole_last_line_needs_no_line_end(tmp_path: Path) -> None:
    (tmp_path / "biopsies.csv").write_text(f"{HEADER}\n{GOOD}", "utf-8")
    assert table(tmp_path, CSV_MAPPING).usage == "1 used of 1"


@pytest.mark.parametrize("mapping", [CSV_MAPPING, FHIR_MAPPING])
def test_a_file_that_is_not_there_or_no_file(tmp_path: Path, mapping: str) -> None:
    assert refusal(tmp_path, mapping).code == "WR-DATA-010"
    (tmp_path / "biopsies.csv").mkdir()
    (tmp_path / "all.ndjson").mkdir()
    assert refusal(tmp_path, mapping).code == "WR-DATA-010"


def test_every_concept_that_is_not_mapped_is_named(tmp_path: Path) -> None:
    mapping = Mapping.parse(CSV_MAPPING.replace('index_date = "specimen_date"', "").encode(), GRAPH)
    with pytest.raises(WardroundErrors) as caught:
        harmonise(mapping, tmp_path, GRAPH, ["area_mean", "radius_mean"], "malignant")
    assert [error.code for error in caught.value.errors] == ["WR-DATA-006"] * 2
    assert "area_mean" in str(caught.value)
    assert "index_date" in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    content=st.binary(max_size=60), at=st.integers(0, 200), form=st.sampled_from(["csv", "fhir"])
)
def test_mutated_files_give_a_table_or_a_code(
    tmp_path: Path, content: bytes, at: int, form: str
) -> None:
    if form == "csv":
        whole = f"{HEADER}\n{GOOD}\n{SECOND}\n".encode()
        (tmp_path / "biopsies.csv").write_bytes(whole[:at] + content + whole[at:])
    else:
        whole = "\n".join(map(json.dumps, (person(), RADIUS, DIAGNOSIS))).encode() + b"\n"
        (tmp_path / "all.ndjson").write_bytes(whole[:at] + content + whole[at:])
    try:
        got = table(tmp_path, CSV_MAPPING if form == "csv" else FHIR_MAPPING)
    except WardroundError:
        return
    assert len(got) + got.quarantine.records == got.records_total
