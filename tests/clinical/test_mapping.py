"""A mapping says possible things only, and every problem has a code, a place and a remedy."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import ConceptGraph, Mapping
from wardround.errors import WardroundError, WardroundErrors

GRAPH = ConceptGraph.load()
CSV = """
version = 1
index_date = "specimen_date"
[[sources]]
name = "biopsies"
kind = "csv"
files = ["biopsies.csv"]
patient = "ID"
[[sources.fields]]
concept = "radius_mean"
column = "Radius"
unit = "mm"
[[sources.fields]]
concept = "malignant"
column = "Dx"
value_map = { M = true, B = false }
[[sources.fields]]
concept = "specimen_date"
column = "Taken"
date_format = "DD.MM.YYYY"
"""
FHIR = """
version = 1
[[sources]]
name = "ehr"
kind = "fhir"
files = ["Observation.ndjson"]
[[sources.fields]]
concept = "radius_mean"
system = "http://example.org"
code = "radius"
"""


def parse(text: str) -> Mapping:
    return Mapping.parse(text.encode(), GRAPH)


@pytest.mark.parametrize("text", [CSV, FHIR])
def test_a_good_mapping_is_accepted(text: str) -> None:
    assert parse(text).version == 1


@pytest.mark.parametrize(
    ("text", "old", "new", "code", "path"),
    [
        (CSV, '"radius_mean"', '"radius"', "WR-DATA-001", "sources[0].fields[0]"),
        (CSV, '"mm"', '"millimetre"', "WR-DATA-002", "sources[0].fields[0].unit"),
        (CSV, '"mm"', '"kg"', "WR-DATA-003", "sources[0].fields[0].unit"),
        (CSV, 'unit = "mm"', "", "WR-DATA-005", "sources[0].fields[0]"),
        (
            CSV,
            'unit = "mm"',
            'unit = "mm"\nunit_column = "U"',
            "WR-DATA-005",
            "sources[0].fields[0]",
        ),
        (CSV, 'unit = "mm"', 'units = "mm"', "WR-DATA-005", "sources[0].fields[0].units"),
        (CSV, 'patient = "ID"', "", "WR-DATA-005", "sources[0].patient"),
        (CSV, '"csv"', '"spreadsheet"', "WR-DATA-005", "sources[0]"),
        (CSV, "version = 1", "version = 2", "WR-DATA-005", "version"),
        (CSV, "DD.MM.YYYY", "DD.MM.YY", "WR-DATA-005", "sources[0].fields[2].date_format"),
        (CSV, "M = true", "M = 1", "WR-DATA-005", "sources[0].fields[1].value_map.M"),
        (
            CSV,
            'index_date = "specimen_date"',
            'index_date = "radius_mean"',
            "WR-DATA-005",
            "index_date",
        ),
        (
            CSV,
            'index_date = "specimen_date"',
            'index_date = "birth_date"',
            "WR-DATA-005",
            "index_date",
        ),
        (CSV, '"malignant"', '"radius_mean"', "WR-DATA-007", "sources[0].fields[1]"),
        (CSV, "version = 1", "version = ", "WR-DATA-004", "mapping.toml:2"),
        (FHIR, 'code = "radius"', "", "WR-DATA-005", "sources[0].fields[0]"),
        (
            FHIR,
            'code = "radius"',
            'code = "radius"\nunit_column = "mm"',
            "WR-DATA-005",
            "sources[0].fields[0].unit_column",
        ),
        (
            FHIR,
            'code = "radius"',
            'code = "r"\nelement = "Patient.name"',
            "WR-DATA-005",
            "sources[0].fields[0].element",
        ),
        (
            FHIR,
            'code = "radius"',
            'code = "r"\nelement = "Patient.birthDate"',
            "WR-DATA-005",
            "sources[0].fields[0]",
        ),
        (
            FHIR,
            'code = "radius"',
            'code = "r"\nvalue_map = { y = true }',
            "WR-DATA-005",
            "sources[0].fields[0]",
        ),
    ],
)
def test_a_bad_mapping_is_refused(text: str, old: str, new: str, code: str, path: str) -> None:
    assert old in text
    with pytest.raises(WardroundError) as caught:
        parse(text.replace(old, new, 1))
    assert (caught.value.code, caught.value.path) == (code, path)
    assert caught.value.remedy


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(WardroundErrors) as caught:
        parse(CSV.replace('"mm"', '"furlong"').replace('"malignant"', '"malady"'))
    assert [error.code for error in caught.value.errors] == ["WR-DATA-002", "WR-DATA-001"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"[" * 5000, b""])
def test_bytes_that_are_no_mapping(content: bytes) -> None:
    with pytest.raises(WardroundError) as caught:
        Mapping.parse(content, GRAPH)
    assert caught.value.code in ("WR-DATA-004", "WR-DATA-005")


@given(content=st.binary(max_size=200))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    with pytest.raises(WardroundError):
        Mapping.parse(content, GRAPH)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WardroundError) as caught:
        Mapping.load(tmp_path / "mapping.toml")
    assert caught.value.code == "WR-DATA-010"


def test_the_signed_form_ignores_layout_and_follows_meaning() -> None:
    relaid = CSV.replace(" = ", "=") + "\n# a comment\n"
    assert parse(relaid).to_payload() == parse(CSV).to_payload()
    assert parse(CSV.replace("M = true", "M = false")).digest != parse(CSV).digest
