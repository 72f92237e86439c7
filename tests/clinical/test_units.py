"""Conversions hold to published values, round trips are exact, and kinds are never confused."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import ConceptGraph
from wardround.clinical.concept_files import shipped_texts
from wardround.clinical.ucum import Unit, UnitSyntaxError
from wardround.clinical.unit_spellings import OVERRULED, SPELLINGS, plain_characters
from wardround.clinical.units import Bridge, Conversion, Equations, find_path, find_unit

GRAPH = ConceptGraph.load()


# Conventional to SI units as the AMA Manual of Style, 11th edition, section 17.5, has them.
PUBLISHED = [
    ("glucose", "mg/dL", "mmol/L", 0.0555),
    ("total_cholesterol", "mg/dL", "mmol/L", 0.0259),
    ("triglycerides", "mg/dL", "mmol/L", 0.0113),
    ("creatinine", "mg/dL", "umol/L", 88.4),
    ("urea_nitrogen", "mg/dL", "mmol/L", 0.357),
    ("uric_acid", "mg/dL", "umol/L", 59.48),
    ("bilirubin_total", "mg/dL", "umol/L", 17.104),
    ("calcium", "mg/dL", "mmol/L", 0.25),
    ("calcium", "meq/L", "mmol/L", 0.5),
    ("magnesium", "mg/dL", "mmol/L", 0.411),
    ("magnesium", "meq/L", "mmol/L", 0.5),
    ("sodium", "meq/L", "mmol/L", 1.0),
    ("phosphate", "mg/dL", "mmol/L", 0.323),
    ("iron", "ug/dL", "umol/L", 0.179),
    ("lactate", "mg/dL", "mmol/L", 0.111),
    ("ammonia", "ug/dL", "umol/L", 0.587),
    ("total_t4", "ug/dL", "nmol/L", 12.87),
    ("free_t4", "ng/dL", "pmol/L", 12.87),
    ("cortisol", "ug/dL", "nmol/L", 27.588),
    ("testosterone", "ng/dL", "nmol/L", 0.0347),
    ("estradiol", "pg/mL", "pmol/L", 3.671),
    ("progesterone", "ng/mL", "nmol/L", 3.18),
    ("vitamin_b12", "pg/mL", "pmol/L", 0.738),
    ("vitamin_d", "ng/mL", "nmol/L", 2.496),
    ("folate", "ng/mL", "nmol/L", 2.266),
    ("homocysteine", "mg/L", "umol/L", 7.397),
    ("insulin", "u[iU]/mL", "pmol/L", 6.0),
    ("hemoglobin", "g/dL", "mmol/L", 0.6206),
    ("c_peptide", "ng/mL", "nmol/L", 0.331),
    ("parathyroid_hormone", "pg/mL", "pmol/L", 0.106),
    ("albumin_creatinine_ratio", "mg/mmol", "mg/g", 8.84),
    ("alt", "U/L", "ukat/L", 0.0167),
    ("alt", "[iU]/L", "U/L", 1.0),
    ("tsh", "uU/mL", "m[iU]/L", 1.0),
    ("arterial_pco2", "mm[Hg]", "kPa", 0.133),
    ("st_depression", "mV", "mm", 10.0),
]  # fmt: skip


@pytest.mark.parametrize(("concept", "source", "target", "factor"), PUBLISHED)
def test_a_conversion_is_the_published_one(
    concept: str, source: str, target: str, factor: float
) -> None:
    path = GRAPH.path(source, target, concept)
    assert float(path.factor) == pytest.approx(factor, rel=5e-3)
    assert GRAPH.path(target, source, concept).factor == 1 / path.factor


# NGSP per cent and IFCC mmol/mol as ngsp.org tabulates them.
@pytest.mark.parametrize(
    ("ngsp", "ifcc"), [(5, 31), (6, 42), (6.5, 48), (7, 53), (8, 64), (9, 75), (10, 86), (12, 108)]
)
def test_hba1c_follows_the_master_equation(ngsp: float, ifcc: float) -> None:
    there = GRAPH.path("%", "mmol/mol", "hba1c").apply(np.array([ngsp]))
    assert there.round() == [ifcc]
    back = GRAPH.path("mmol/mol", "%", "hba1c").apply(there)
    np.testing.assert_allclose(back, [ngsp], rtol=1e-14)


def test_a_scale_shuts_out_what_ucum_would_make_of_its_units() -> None:
    assert GRAPH.path("mmol/mol", "%").factor == Fraction(1, 10)
    assert GRAPH.path("mmol/mol", "%", "hba1c").factor == Fraction("0.09148")
    for other in ("1", "mmol/L", "g/dL"):
        assert GRAPH.find_path(other, "%", "hba1c") is None
    assert GRAPH.path("%{Hb}", "mmol/mol{Hb}", "hba1c").offset != 0


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("Cel", "[degF]", 37.0, 98.6),
        ("[degF]", "Cel", 98.6, 37.0),
        ("°F", "°C", 104.0, 40.0),
        ("Cel", "K", 0.0, 273.15),
        ("K", "Cel", 310.15, 37.0),
    ],
)
def test_temperatures(source: str, target: str, value: float, expected: float) -> None:
    path = find_path(source, target)
    assert path is not None
    np.testing.assert_allclose(path.apply(np.array([value])), [expected], rtol=1e-14)


@pytest.mark.parametrize(
    ("concept", "source"),
    [
        ("total_cholesterol", "meq/L"),  # no ion
        ("crp", "nmol/L"),  # no molar mass is stated
        ("lipoprotein_a", "mg/dL"),  # its mass varies
        ("tsh", "mmol/L"),
        ("hemoglobin", "%"),
        ("d_dimer", "ng/mL{DDU}"),  # half of the other unit, about
        ("urine_leukocyte_esterase", "1"),
        ("leukocytes", "Kelvin/uL"),
    ],
)
def test_what_does_not_convert_is_refused(concept: str, source: str) -> None:
    unit = GRAPH.concept(concept).unit or "kg"
    assert GRAPH.find_path(source, unit, concept) is None


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("mg/dl", "mg/dL"),
        ("mmHg", "mm[Hg]"),
        ("µmol/L", "umol/L"),
        ("μmol/l", "umol/L"),
        ("IU/L", "[iU]/L"),
        ("x10^9/L", "10*9/L"),
        ("×10⁹/L", "10*9/L"),
        ("K/uL", "10*9/L"),
        ("Tsd./µl", "10*9/L"),
        ("Mio/µl", "10*12/L"),
        ("G/l", "10*9/L"),
        ("%", "%"),
        ("kg/m²", "kg/m2"),
        ("bpm", "/min"),
        ("Jahre", "a"),
        ("years", "a"),
        (" mg/dl ", "mg/dL"),
        ("mEq/L", "meq/L"),
        ("mL/min/1.73 m²", "mL/min/{1.73_m2}"),
        ("MG/DL", "mg/dL"),
        ("mm/Std", "mm/h"),
    ],
)
def test_a_hospital_s_spelling_is_understood(written: str, code: str) -> None:
    found, meant = find_unit(written), Unit.parse(code)
    assert found is not None
    assert (found.factor, found.kinds, found.offset) == (meant.factor, meant.kinds, meant.offset)


@pytest.mark.parametrize("written", ["Mg/DL", "mg / dl", "mgdl", "mmhG", "jahre", "beat", "", "  "])
def test_a_spelling_that_is_not_in_the_table_is_not_guessed(written: str) -> None:
    assert find_unit(written) is None


def test_every_spelling_leads_to_a_unit_and_can_be_reached() -> None:
    for written, code in SPELLINGS.items():
        assert Unit.parse(code)
        assert plain_characters(written) == written


def test_spellings_that_ucum_reads_otherwise_are_known_and_few() -> None:
    found = set()
    for written, code in SPELLINGS.items():
        try:
            ucum = Unit.parse(written)
        except UnitSyntaxError:
            continue
        meant = Unit.parse(code)
        if (ucum.factor, ucum.kinds, ucum.offset) != (meant.factor, meant.kinds, meant.offset):
            found.add(written)
    assert found == OVERRULED


@pytest.mark.parametrize("concept", [c.id for c in GRAPH.concepts if c.unit is not None])
def test_paths_of_a_concept_s_common_units_return(concept: str) -> None:
    unit = GRAPH.concept(concept).unit
    assert unit is not None
    for path in GRAPH.common_units(concept):
        back = GRAPH.path(unit, path.source, concept)
        assert path.factor * back.factor == 1
        assert path.offset * back.factor + back.offset == 0


AFFINE = st.sampled_from(["Cel", "[degF]", "[degRe]", "K", "[degR]"])
MASSES = ["kg", "g", "mg", "[lb_av]", "[oz_av]", "[stone_av]", "[gr]", "t"]


@given(source=AFFINE, target=AFFINE, value=st.fractions(max_denominator=10**6))
def test_a_round_trip_is_exact(source: str, target: str, value: Fraction) -> None:
    there, back = find_path(source, target), find_path(target, source)
    assert there is not None
    assert back is not None
    reached = value * there.factor + there.offset
    assert reached * back.factor + back.offset == value


@given(units=st.lists(st.sampled_from(MASSES), min_size=2, max_size=5))
def test_any_way_round_gives_the_same(units: list[str]) -> None:
    product = Fraction(1)
    for source, target in pairwise(units):
        path = find_path(source, target)
        assert path is not None
        product *= path.factor
    direct = find_path(units[0], units[-1])
    assert direct is not None
    assert product == direct.factor


@given(
    mass=st.fractions(min_value=Fraction(1, 100), max_value=10**5, max_denominator=1000),
    charges=st.integers(1, 4),
    source=st.sampled_from(["mg/dL", "g/L", "meq/L", "mmol/L", "mol/m3", "ug/mL"]),
    target=st.sampled_from(["mg/dL", "g/L", "meq/L", "mmol/L", "umol/mL"]),
)
def test_bridges_can_be_crossed_both_ways(
    mass: Fraction, charges: int, source: str, target: str
) -> None:
    equations = Equations(
        (Bridge("mol", "g", mass, ""), Bridge("mol", "eq", Fraction(charges), ""))
    )
    there, back = find_path(source, target, equations), find_path(target, source, equations)
    assert there is not None
    assert back is not None
    assert there.factor * back.factor == 1


def test_a_conversion_reversed_undoes_it() -> None:
    edge = Conversion("a", "b", Fraction(9, 5), Fraction(32))
    back = edge.reversed()
    assert (back.factor, back.offset) == (Fraction(5, 9), Fraction(-160, 9))


# Abridged standard atomic weights, IUPAC 2021.
WEIGHTS = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Na": 22.990, "Mg": 24.305, "P": 30.974,
    "S": 32.06, "Cl": 35.45, "K": 39.098, "Ca": 40.078, "Fe": 55.845, "Co": 58.933, "I": 126.90,
}  # fmt: skip


def test_molar_masses_are_those_of_the_formulas() -> None:
    rows = re.findall(r'molar_mass = "([\d.]+)", formula = "(\w+)"', "".join(shipped_texts()))
    assert len(rows) > 20
    for mass, formula in rows:
        atoms = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
        computed = sum(WEIGHTS[atom] * int(number or 1) for atom, number in atoms)
        assert float(mass) == pytest.approx(computed, rel=1e-4), formula


@pytest.mark.parametrize(
    ("source", "target", "concept", "words"),
    [
        (
            "mg/dL",
            "mmol/L",
            "total_cholesterol",
            "mg/dL -> mmol/L (/ 38.665, molar mass of cholesterol 386.65 g/mol)",
        ),
        ("Cel", "[degF]", None, "Cel -> [degF] (x 1.8 + 32)"),
        ("Cel", "K", None, "Cel -> K (+ 273.15)"),
        ("lbs", "kg", None, "lbs -> kg (x 0.45359237)"),
        ("10*3/uL", "10*9/L", None, "10*9/L"),
    ],
)
def test_a_path_says_what_it_does(
    source: str, target: str, concept: str | None, words: str
) -> None:
    assert GRAPH.path(source, target, concept).words() == words
