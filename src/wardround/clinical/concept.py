"""What the concept graph is made of: concepts, their names and codes, and edges between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from wardround.clinical.units import NO_EQUATIONS, Equations


class ConceptType(StrEnum):
    """What kind of value a concept has; in a feature table every kind is a float64.

    Booleans are 0 and 1, dates are proleptic Gregorian ordinals (days, as ``date.toordinal``),
    categories the position of their level, counted from 0.
    """

    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    DATE = "date"


SYSTEMS: Final[Mapping[str, str]] = {
    "loinc": "http://loinc.org",
    "snomed": "http://snomed.info/sct",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
    "atc": "http://www.whocc.no/atc",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "omop": "https://athena.ohdsi.org/concept",
    "nucleus": "https://wardround.example/fhir/CodeSystem/cell-nucleus",
    "wardround": "https://wardround.example/fhir/CodeSystem/concept",
}
"""Code systems by short name. ``omop`` is the ``concept_id`` of OMOP's vocabularies."""

STEM_SYSTEMS: Final = frozenset({"icd10", "atc"})
"""Systems in which a concept's code stands for every code that begins with it."""

EVERY_BOOLEAN: Final = "*"
"""The concept of a value map that holds for every boolean."""

LANGUAGES: Final[Mapping[str, str]] = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
}
"""The languages of synonyms."""


@dataclass(frozen=True)
class Code:
    """A hook into a terminology: ``system`` is a key of :data:`SYSTEMS`. No text of it is here."""

    system: str
    code: str


@dataclass(frozen=True)
class Label:
    """One way to say a concept in one of :data:`LANGUAGES`."""

    language: str
    text: str


@dataclass(frozen=True)
class Concept:
    """One thing a record can say about a patient.

    ``unit`` is the UCUM unit of every value after harmonisation, None where a unit makes no
    sense. ``plausible`` is the closed range, in that unit, outside which a value is set aside; it
    also bounds what a hospital contributes. Booleans have (0, 1). A category has ``levels``, in
    the order of their numbers in a feature table. ``system`` (a URI) and ``code`` are the first of
    ``codes``. ``parents`` are the concepts that this one is a special case of; ``equations`` what
    connects its units beyond UCUM.
    """

    id: str
    name: str
    definition: str
    system: str
    code: str
    unit: str | None
    type: ConceptType
    plausible: tuple[float, float] | None
    labels: tuple[Label, ...] = ()
    codes: tuple[Code, ...] = ()
    levels: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    area: str = ""
    equations: Equations = field(default=NO_EQUATIONS, repr=False)

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Other ways to say it, in any language, English first."""
        return tuple(label.text for label in self.labels)

    @property
    def name_within(self) -> str:
        """The name inside a sentence: its first letter is small, unless it begins an acronym."""
        name = self.name
        return name[:1].lower() + name[1:] if name[1:2].islower() else name

    def said(self, value: float) -> str:
        """A value of a feature table as a person reads it, without its unit."""
        match self.type:
            case ConceptType.DATE:
                return date.fromordinal(int(value)).isoformat()
            case ConceptType.BOOLEAN:
                return "yes" if value else "no"
            case ConceptType.CATEGORY:
                return self.levels[int(value)]
            case ConceptType.NUMERIC:
                return f"{value:g}"

    def codes_of(self, system: str) -> tuple[str, ...]:
        """The codes in one system (a key of :data:`SYSTEMS`)."""
        return tuple(code.code for code in self.codes if code.system == system)


class DerivationMethod(StrEnum):
    """The computations by which one concept follows from others (``formulas.py``)."""

    COMPLETED_YEARS_AT_INDEX = "completed_years_at_index"
    IS_LEVEL = "is_level"
    SCALE = "scale"
    DIFFERENCE = "difference"
    RATIO = "ratio"
    PERCENTAGE = "percentage"
    TENFOLD_RATIO = "tenfold_ratio"
    SHARE_OF = "share_of"
    AT_LEAST = "at_least"
    ABOVE = "above"
    DAYS_BETWEEN = "days_between"
    WITHIN_DAYS = "within_days"
    BODY_MASS_INDEX = "body_mass_index"
    BODY_SURFACE_MOSTELLER = "body_surface_mosteller"
    MEAN_ARTERIAL_PRESSURE = "mean_arterial_pressure"
    LDL_FRIEDEWALD = "ldl_friedewald"
    EGFR_CKD_EPI_2021 = "egfr_ckd_epi_2021"
    CLEARANCE_COCKCROFT_GAULT = "clearance_cockcroft_gault"
    ANION_GAP = "anion_gap"
    CORRECTED_CALCIUM = "corrected_calcium"
    ALBUMIN_CREATININE = "albumin_creatinine"
    OSMOLALITY = "osmolality"
    HOMA_IR = "homa_ir"
    FIB4 = "fib4"
    QTC_BAZETT = "qtc_bazett"
    QTC_FRIDERICIA = "qtc_fridericia"
    CHA2DS2_VASC = "cha2ds2_vasc"
    PRODUCT = "product"


@dataclass(frozen=True)
class Derivation:
    """An edge that computes ``target`` from ``inputs`` (and, ``at_index``, the index date).

    ``words`` say how, for a reader; ``source`` where the method comes from. An ``estimate`` is a
    model of the thing, not the thing: a route takes it only where nothing exact leads there.
    """

    target: str
    method: DerivationMethod
    inputs: tuple[str, ...]
    words: str = ""
    source: str = ""
    parameter: float | None = None
    estimate: bool = False

    @property
    def at_index(self) -> bool:
        """Whether the index date is a further, last input."""
        return self.method is DerivationMethod.COMPLETED_YEARS_AT_INDEX


@dataclass(frozen=True)
class ValueMap:
    """How one coding writes the values of a concept.

    ``concept`` may be :data:`EVERY_BOOLEAN`. ``values`` leads from the code to a level of a
    category, or to True or False. A code that is not in it has no value: its record is set aside,
    never guessed.
    """

    concept: str
    coding: str
    values: Mapping[str, str | bool]
    words: str = ""
