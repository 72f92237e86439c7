"""The four artificial hospitals on paper: their sizes, case mixes and ways of writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from wardround.clinical import ConceptGraph
from wardround.ids import SiteName

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

MappedField: TypeAlias = dict[str, str | list[str] | dict[str, bool]]
"""One field of a mapping file, key to value."""


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
class CsvStyle:
    """How one hospital writes its table; ``date_format`` is strftime's, ``mapped_date`` ours."""

    delimiter: str
    decimal: str
    date_format: str
    mapped_date: str
    diagnosis: tuple[str, str]  # benign, malignant
    patient: str
    age: str | None
    birth_date: str
    specimen_date: str
    outcome: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """One hospital's size, case mix and way of writing.

    ``units`` gives, per unit of the concept graph, the unit written instead and the power of ten
    to multiply by; a hospital without ``csv`` keeps FHIR resources.
    """

    name: SiteName
    prefix: str
    size: int
    tilt: float
    units: Mapping[str, tuple[str, int]]
    coded_diagnosis: bool = False
    csv: CsvStyle | None = None


_MILLIMETRES = {"um": ("mm", -3), "um2": ("mm2", -6)}
DESIGNS = (
    Design(SiteName("lakeside"), "lk", 162, 0.35, _MILLIMETRES, coded_diagnosis=True),
    Design(
        SiteName("st-anna"),
        "sa",
        108,
        -0.35,
        {**_MILLIMETRES, "1": ("%", 2)},
        csv=CsvStyle(
            delimiter=";",
            decimal=",",
            date_format="%d.%m.%Y",
            mapped_date="DD.MM.YYYY",
            diagnosis=("benigne", "maligne"),
            patient="Case No [synthetic]",
            age="Patient Age [synthetic]",
            birth_date="Birth Date [synthetic]",
            specimen_date="Biopsy Taken [synthetic]",
            outcome="Histology",
            features=(
                "Nuclear Radius (mm)",
                "Grey Value Spread (%)",
                "Nuclear Perimeter (mm)",
                "Nuclear Area (mm2)",
                "Radius Variation (%)",
                "Compactness (%)",
                "Concavity (%)",
                "Concave Part (%)",
                "Asymmetry (%)",
                "Fractal Dimension (%)",
            ),
        ),
    ),
    Design(
        SiteName("harbour"),
        "hb",
        68,
        0.2,
        {"um2": ("mm2", -6), "1": ("[ppth]", 3)},
        csv=CsvStyle(
            delimiter=",",
            decimal=".",
            date_format="%m/%d/%Y",
            mapped_date="MM/DD/YYYY",
            diagnosis=("B", "M"),
            patient="MRN [synthetic]",
            age=None,
            birth_date="DOB [synthetic]",
            specimen_date="Collected [synthetic]",
            outcome="Dx",
            features=(
                "rad_avg_um",
                "text_avg_permille",
                "perim_avg_um",
                "area_avg_mm2",
                "smooth_avg_permille",
                "compact_avg_permille",
                "concav_avg_permille",
                "concpts_avg_permille",
                "symm_avg_permille",
                "fracdim_avg_permille",
            ),
        ),
    ),
    # The largest hospital comes last and keeps whoever the others did not draw.
    Design(SiteName("north-general"), "ng", 231, 0.0, {}),
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
