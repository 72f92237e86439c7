"""Units are read as UCUM defines them, exactly; whatever is no unit is refused, never guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import requires
from wardround.clinical.ucum import Unit, UnitSyntaxError
from wardround.clinical.ucum_atoms import ARBITRARY, BASES, METRIC, PLAIN


@pytest.mark.parametrize(
    ("code", "factor", "kinds"),
    [
        ("m", 1, {"m": 1}),
        ("mg/dL", 10, {"g": 1, "m": -3}),
        ("mm[Hg]", 133322, {"g": 1, "m": -1, "s": -2}),
        ("10*9/L", 10**12, {"m": -3}),
        ("10^9/L", 10**12, {"m": -3}),
        ("/uL", 10**9, {"m": -3}),
        ("[in_i]", Fraction(254, 10000), {"m": 1}),
        ("[lb_av]", Fraction("453.59237"), {"g": 1}),
        ("kg.m/s2", 1000, {"g": 1, "m": 1, "s": -2}),
        ("kg.m.s-2", 1000, {"g": 1, "m": 1, "s": -2}),
        ("(mg/dL)/(h.kg)", Fraction(10, 3600 * 1000), {"m": -3, "s": -1}),
        ("mL/min/{1.73_m2}", Fraction(1, 60 * 10**6), {"m": 3, "s": -1}),
        ("mL/min/(173.10*-2.m2)", Fraction(100, 173 * 60 * 10**6), {"m": 1, "s": -1}),
        ("m[IU]/L", 1, {"[iU]": 1, "m": -3}),
        ("U/L", Fraction(1, 60000), {"mol": 1, "s": -1, "m": -3}),
        ("{score}", 1, {}),
        ("%{NGSP}", Fraction(1, 100), {}),
        ("1", 1, {}),
        ("100", 100, {}),
        ("daL", Fraction(1, 100), {"m": 3}),
        ("cd", 1, {"cd": 1}),
        ("meq/L", 1, {"eq": 1, "m": -3}),
        ("mosm/kg", Fraction(1, 10**6), {"osm": 1, "g": -1}),
        ("[pH]", 1, {"[pH]": 1}),
        ("m[H2O]", 9806650, {"g": 1, "m": -1, "s": -2}),
    ],
)
def test_a_unit_is_a_fraction_of_its_kinds(
    code: str, factor: int | Fraction, kinds: dict[str, int]
) -> None:
    unit = Unit.parse(code)
    assert (unit.factor, dict(unit.kinds), unit.offset) == (factor, kinds, 0)


@pytest.mark.parametrize(
    "code",
    [
        "", " ", "mg//dL", "kg.", ".kg", "kg/", "()", "(", "(mg", "mg)", "KG", "mmHg", "mm2Hg",
        "m 2", "m^2", "Cel/min", "mCel", "kmin", "m99", "m2.5", "µg", "kg²", "0", "mg/0",
        "{", "{a", "a}",
        "{ }", "{ä}", "[", "[]", "[in_i", "foo", "m" * 101, "Ym9.Ym9.Ym9.Ym9",
        "10*30.10*30.10*30.10*30.10*30", "m-", "1.5", "+1", "mL/min/1.73",
    ],
)  # fmt: skip
def test_what_is_no_unit_is_refused_without_repeating_it(code: str) -> None:
    with pytest.raises(UnitSyntaxError) as caught:
        Unit.parse(code)
    assert len(code) < 3 or code not in str(caught.value)


def test_temperatures_have_another_zero_and_stand_alone() -> None:
    assert Unit.parse("Cel").offset == Fraction("273.15")
    assert Unit.parse("[degF]").factor == Fraction(5, 9)


def test_substances_of_one_charge_are_not_taken_for_moles() -> None:
    """UCUM calls both a number; 2 meq/L of calcium are 1 mmol/L."""
    kinds = [Unit.parse(code).kinds for code in ("mol", "eq", "osm", "[HPF]", "[LPF]", "[iU]")]
    assert len(set(kinds)) == len(kinds)


ATOMS = sorted({*BASES, *METRIC, *PLAIN, *ARBITRARY})


@pytest.mark.parametrize("atom", ATOMS)
def test_every_atom_can_be_read(atom: str) -> None:
    assert Unit.parse(atom).factor > 0


simple = st.tuples(
    st.sampled_from(["", "k", "d", "c", "m", "u", "n"]),
    st.sampled_from(
        ["m", "g", "s", "mol", "L", "Pa", "U", "kat", "m[Hg]", "J", "bar", "[iU]", "eq"]
    ),
    st.sampled_from(["", "2", "-1", "+3"]),
).map("".join)
units = st.lists(simple, min_size=1, max_size=4).map("/".join)


@given(units)
def test_a_quotient_is_read_from_left_to_right(code: str) -> None:
    first, *others = code.split("/")
    expected = Unit.parse(first).factor
    for other in others:
        expected /= Unit.parse(other).factor
    assert Unit.parse(code).factor == expected
    if others:
        assert Unit.parse(f"{first}/({'.'.join(others)})").factor == expected


@given(units)
def test_a_unit_over_itself_is_a_number(code: str) -> None:
    itself = Unit.parse(f"({code})/({code})")
    assert (itself.factor, itself.kinds) == (1, ())


@given(st.text(max_size=120) | st.text(alphabet="mgdLl/.()[]{}0123456789+-*^%'uk", max_size=40))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        unit = Unit.parse(text)
    except UnitSyntaxError:
        return
    assert unit.factor > 0
    assert 0 < float(unit.factor) < float("inf")


# ucumvert reads UCUM's own table into pint: another parser and another table. (Its [Cal] and
# [in_i'Hg] are not UCUM's, and its mercury is the conventional one: hence the tolerance.)
SAME_KIND = [
    ("mg/dL", "g/L"), ("mm[Hg]", "kPa"), ("[in_i]", "cm"), ("[lb_av]", "kg"), ("mo", "a"),
    ("10*9/L", "10*3/uL"), ("wk", "d"), ("cm[H2O]", "Pa"), ("kat/L", "U/L"), ("kcal", "kJ"),
    ("[oz_av]", "g"),
    ("[foz_us]", "mL"), ("[gal_br]", "L"), ("[stone_av]", "[lb_av]"), ("dyn.s/cm5", "[wood'U]"),
    ("atm", "bar"), ("[MET]", "mL/min/kg"), ("Ci", "MBq"), ("RAD", "cGy"),
    ("REM", "mSv"), ("[psi]", "kPa"), ("eV", "J"), ("[ft_i]", "m"), ("[mi_i]", "km"),
    ("[gr]", "mg"), ("[drp]", "mL"), ("[Ch]", "mm"), ("[diop]", "m-1"), ("deg", "rad"),
    ("[ppm]", "%"), ("R", "C/kg"),
    ("mL/min", "L/d"), ("ug/kg/min", "mg/kg/h"), ("[S]", "s"), ("[HP]", "W"), ("[cup_us]", "mL"),
]  # fmt: skip


def test_factors_are_those_of_an_independent_reader_of_ucum() -> None:
    ucumvert = requires.package("ucumvert")
    registry = ucumvert.PintUcumRegistry()
    for source, target in SAME_KIND:
        one, other = registry.from_ucum(source), registry.from_ucum(target)
        expected = one.to(other.units).magnitude / other.magnitude
        ours = Unit.parse(source).factor / Unit.parse(target).factor
        assert Unit.parse(source).kinds == Unit.parse(target).kinds
        assert float(ours) == pytest.approx(float(expected), rel=1e-5), (source, target)
