"""The shipped graph is complete and consistent; paths are exact and the shortest."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.clinical import ConceptGraph, ConceptType
from wardround.errors import WardroundError

GRAPH = ConceptGraph.load()
FEATURES = [
    "radius_mean",
    "texture_mean",
    "perimeter_mean",
    "area_mean",
    "smoothness_mean",
    "compactness_mean",
    "concavity_mean",
    "concave_points_mean",
    "symmetry_mean",
    "fractal_dimension_mean",
]


@pytest.mark.parametrize("feature", FEATURES)
def test_a_model_input_has_a_unit_and_a_finite_range(feature: str) -> None:
    concept = GRAPH.concept(feature)
    assert concept.type is ConceptType.NUMERIC
    assert concept.unit in GRAPH.units
    assert concept.plausible is not None
    low, high = concept.plausible
    assert -np.inf < low < high < np.inf


def test_ids_and_codes_are_unique() -> None:
    ids = [concept.id for concept in GRAPH.concepts]
    codes = [(concept.system, concept.code) for concept in GRAPH.concepts]
    assert len(set(ids)) == len(ids)
    assert len(set(codes)) == len(codes)


def test_a_boolean_is_bounded_by_zero_and_one() -> None:
    assert GRAPH.concept("malignant").plausible == (0.0, 1.0)


def test_age_follows_from_the_birth_date() -> None:
    derivation = GRAPH.derivation("age_years")
    assert derivation is not None
    assert derivation.inputs == ("birth_date",)
    assert GRAPH.derivation("radius_mean") is None


def test_an_unknown_concept_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(WardroundError, match="radius_mean") as caught:
        GRAPH.concept("radius_maen")
    assert caught.value.code == "WR-DATA-001"


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("mm", "um", Fraction(1000)),
        ("um", "mm", Fraction(1, 1000)),
        ("[in_i]", "mm", Fraction(254, 10)),
        ("mm2", "um2", Fraction(10**6)),
        ("%", "1", Fraction(1, 100)),
        ("%", "[ppth]", Fraction(10)),
        ("um", "um", Fraction(1)),
        ("kg", "ug", Fraction(10**9)),
    ],
)
def test_paths_are_exact(source: str, target: str, factor: Fraction) -> None:
    assert GRAPH.path(source, target).factor == factor


def test_a_path_is_the_shortest_and_says_what_it_does() -> None:
    path = GRAPH.path("m", "mm")
    assert path.words() == "m -> cm -> mm (x 1000)"
    assert GRAPH.path("mm", "m").words() == "mm -> cm -> m (/ 1000)"
    assert GRAPH.path("um", "um").words() == "um"


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("furlong", "um", "WR-DATA-002"),
        ("um", "furlong", "WR-DATA-002"),
        ("kg", "um", "WR-DATA-003"),
    ],
)
def test_units_that_do_not_meet_are_refused(source: str, target: str, code: str) -> None:
    with pytest.raises(WardroundError) as caught:
        GRAPH.path(source, target)
    assert caught.value.code == code
    assert GRAPH.find_path(source, target) is None


@given(
    value=st.floats(min_value=1e-6, max_value=1e6),
    units=st.sampled_from(
        [("um", "mm"), ("um2", "cm2"), ("1", "%"), ("a", "mo"), ("kg", "[lb_av]")]
    ),
)
def test_there_and_back_keeps_a_value(value: float, units: tuple[str, str]) -> None:
    there = GRAPH.path(*units).apply(np.array([value]))
    back = GRAPH.path(units[1], units[0]).apply(there)
    np.testing.assert_allclose(back, [value], rtol=1e-15 * 4)
