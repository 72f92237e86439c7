"""The four artificial hospitals on paper: their sizes, case mixes, forms and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from wardround.clinical import ConceptGraph
from wardround.ids import SiteName
from wardround.simulation.records import Form

FEATURES = (
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
)
OUTCOME = "malignant"


@dataclass(frozen=True, repr=False)
class Biopsy:
    """One real biopsy: its features as exact decimals in the concepts' units, and diagnosis."""

    features: Mapping[str, Decimal]
    malignant: bool


@dataclass(frozen=True, repr=False)
class Patient:
    """A biopsy with an invented identifier and dates."""

    id: str
    biopsy: Biopsy
    born: date
    sampled: date

    @property
    def age(self) -> int:
        """Completed years on the day of the biopsy."""
        before_birthday = (self.sampled.month, self.sampled.day) < (self.born.month, self.born.day)
        return self.sampled.year - self.born.year - before_birthday


@dataclass(frozen=True)
class Design:
    """One hospital's size, case mix and way of writing.

    ``units`` gives, per unit of the concept graph, the unit written instead and the power of ten
    to multiply by.
    """

    name: SiteName
    prefix: str
    size: int
    tilt: float
    form: Form
    units: Mapping[str, tuple[str, int]]


_MILLIMETRES = {"um": ("mm", -3), "um2": ("mm2", -6)}
DESIGNS = (
    Design(SiteName("lakeside"), "lk", 162, 0.35, Form.SQL, _MILLIMETRES),
    Design(SiteName("st-anna"), "sa", 108, -0.35, Form.CSV, {**_MILLIMETRES, "1": ("%", 2)}),
    Design(SiteName("harbour"), "hb", 68, 0.2, Form.OMOP, {"um2": ("mm2", -6), "1": ("[ppth]", 3)}),
    # The largest hospital comes last and keeps whoever the others did not draw.
    Design(SiteName("north-general"), "ng", 231, 0.0, Form.FHIR, {}),
)


def invented(identifier: str) -> Patient:
    """Return a wholly invented patient, the body of a broken record."""
    values = ("14", "19", "90", "650", "0.1", "0.1", "0.09", "0.05", "0.18", "0.06")
    features = dict(zip(FEATURES, map(Decimal, values), strict=True))
    return Patient(identifier, Biopsy(features, False), date(1961, 5, 17), date(2021, 3, 9))


def written(design: Design, feature: str, value: Decimal) -> tuple[Decimal, str]:
    """Return a value and its unit as the hospital writes them."""
    unit = ConceptGraph.load().concept(feature).unit or "1"
    other, power = design.units.get(unit, (unit, 0))
    return value.scaleb(power), other
