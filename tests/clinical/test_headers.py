"""Column names that also state a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical.headers import Header, split_header
from wardround.clinical.units import find_unit


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("Cholesterol (mg/dl)", "Cholesterol", "mg/dl"),
        ("Größe [cm]", "Größe", "cm"),
        ("Gewicht in kg", "Gewicht", "kg"),
        ("weight_kg", "weight", "kg"),
        ("chol_mg_dl", "chol", "mg/dL"),
        ("RR syst. [mmHg]", "RR syst.", "mmHg"),
        ("Temperatur (°C), axillar", "Temperatur , axillar", "°C"),
        ("GLUCOSE (MG/DL)", "GLUCOSE", "MG/DL"),
    ],
)
def test_a_unit_in_a_header_is_found(text: str, name: str, unit: str) -> None:
    assert split_header(text) == Header(name, unit)
    assert find_unit(unit) is not None


@pytest.mark.parametrize(
    "text", ["Raucher (J/N)", "sex (m/f)", "Diabetes", "GOT (ASAT)", "signs", "Hb_2", "alive (T/F)"]
)
def test_what_is_no_unit_stays_in_the_name(text: str) -> None:
    assert split_header(text) == Header(text, None)


@given(st.text(max_size=60))
def test_any_header_has_a_name_and_at_most_one_unit_that_is_known(text: str) -> None:
    header = split_header(text)
    assert header.unit is None or find_unit(header.unit) is not None
    assert header.unit is not None or header.name == text
