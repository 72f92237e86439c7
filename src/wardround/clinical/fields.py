"""What one field of a source means: the entries of a mapping, as a steward writes them.

A field names its concept and says where its values stand and how they are written; which of a
patient's several values counts is said by ``choose``, never guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)

from wardround.clinical.dates import DateFormat
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.errors import WardroundError

OBSERVATION_VALUE: Final = "Observation.value"
OBSERVATION_COMPONENT: Final = "Observation.component.value"
OBSERVATION_DATE: Final = "Observation.effectiveDateTime"
BIRTH_DATE: Final = "Patient.birthDate"
GENDER: Final = "Patient.gender"
CONDITION: Final = "Condition.code"
PROCEDURE: Final = "Procedure.code"
MEDICATION: Final = "MedicationRequest.medication"

OF_PATIENT: Final = frozenset({BIRTH_DATE, GENDER})
"""Elements of the Patient resource itself, which no code finds."""

PRESENCE: Final = frozenset({CONDITION, PROCEDURE, MEDICATION})
"""Elements whose being there is the value: it says yes, and its absence nothing."""

EVENTS: Final = frozenset(
    {"condition_occurrence", "drug_exposure", "procedure_occurrence", "visit_occurrence", "death"}
)
"""OMOP's tables whose rows say yes by being there; a number in them is how much, not whether."""

_UNDATED: Final = OF_PATIENT | PRESENCE
"""Elements whose values come without their own date."""


def _date_format(text: str) -> str:
    DateFormat(text)
    return text


Text: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=500)]
DateForm: TypeAlias = Annotated[Text, AfterValidator(_date_format)]
Texts: TypeAlias = Annotated[tuple[Text, ...], Strict(False)]
ConceptId: TypeAlias = Annotated[int, Strict(), Field(ge=0, lt=2**31)]
ValueMap: TypeAlias = dict[str, bool | str]
"""From a value as the source writes it to true, false or a level of the concept."""


class Choice(StrEnum):
    """Which of a patient's values of a field counts.

    ``only`` admits several values only where all agree. The others set aside values that can't be
    used and choose among the rest; ``latest`` and ``earliest`` go by the values' own dates.
    """

    ONLY = "only"
    LATEST = "latest"
    EARLIEST = "earliest"
    MEAN = "mean"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"


class Frozen(BaseModel):
    """A part of a mapping: frozen, and a key that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Field(Frozen):
    """What every field has.

    ``value_map`` or a ``coding`` of the concept graph reads categories and booleans. ``absent``
    is the value of a patient about whom the source says nothing here: where no diagnosis means
    that there is none, the steward says so.
    """

    concept: Text
    value_map: ValueMap | None = None
    coding: Text | None = None
    choose: Choice = Field(default=Choice.ONLY, strict=False)
    absent: bool | float | str | None = None

    def codes(self, graph: ConceptGraph) -> dict[str, float]:
        """What each written value is in a feature table: 0 or 1, or the position of a level."""
        concept = graph.concept(self.concept)
        if self.coding is not None:
            return graph.coded(concept.id, self.coding) or {}
        return {
            written: as_number(value, concept) for written, value in (self.value_map or {}).items()
        }


class ColumnField(_Field):
    """What one column of a table means.

    A number needs ``unit`` or ``unit_column``, a date ``date_format`` unless its column is one of
    dates, a boolean or a category ``value_map`` or ``coding``; with ``present`` a boolean is true
    wherever there is any value. ``missing`` are values of this column that stand for none, such as
    the 0 of a cholesterol that was not measured. ``where`` picks the rows that the
    field is about, in a table that has one row per result; ``date_column`` says when they are of.
    """

    column: Text
    present: bool = False
    unit: Text | None = None
    unit_column: Text | None = None
    date_format: DateForm | None = None
    missing: Texts = ()
    where: dict[str, Texts | str] = Field(default_factory=dict)
    date_column: Text | None = None
    date_column_format: DateForm | None = None

    def words(self) -> str:
        """Return where the values stand, for a reader."""
        rows = ", ".join(f"{name} is {_listed(values)}" for name, values in self.where.items())
        return f'column "{self.column}"' + (f" where {rows}" if rows else "")

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that must be read for this field."""
        more = (self.unit_column, self.date_column, *self.where)
        return (self.column, *(name for name in more if name is not None))


class OmopField(_Field):
    """What OMOP's rows with certain concept ids mean; descendants of the ids count as well.

    Numbers carry their unit's concept id. ``unit`` is for rows that state none. With ``concept``
    the row's own concept id is what the value map or coding reads, as for a person's gender.
    """

    domain: Literal[
        "person",
        "measurement",
        "observation",
        "condition_occurrence",
        "drug_exposure",
        "procedure_occurrence",
        "death",
        "visit_occurrence",
    ]
    concept_ids: tuple[ConceptId, ...] = Field(default=(), strict=False)
    value: Literal["value", "value_text", "day", "presence", "concept"] = "value"
    unit: Text | None = None

    def words(self) -> str:
        """Return where the values stand, for a reader."""
        ids = _listed(tuple(map(str, self.concept_ids)))
        return f"{self.value} of {self.domain}" + (f" with concept {ids}" if ids else "")


class FhirField(_Field):
    """What one element of FHIR resources means.

    Resources are found by ``system`` and ``code``; a component of an Observation by its own as
    well. Numbers carry their own UCUM unit; ``unit`` is for those that carry none. A coded value
    is read by ``value_map`` (by code) and the code system ``value_system`` that its codes are of;
    a boolean value needs neither. A diagnosis, procedure or medication is there: that is true.
    """

    element: Literal[
        "Observation.value",
        "Observation.component.value",
        "Observation.effectiveDateTime",
        "Patient.birthDate",
        "Patient.gender",
        "Condition.code",
        "Procedure.code",
        "MedicationRequest.medication",
    ] = OBSERVATION_VALUE
    system: Text | None = None
    code: Texts | Text | None = None
    component_system: Text | None = None
    component_code: Text | None = None
    value_system: Text | None = None
    unit: Text | None = None

    def words(self) -> str:
        """Return where the values stand, for a reader."""
        if self.code is None:
            return self.element
        part = f", component {self.component_code}" if self.component_code else ""
        return f"{self.element} of {self.system}|{_listed(self.code)}{part}"

    @property
    def all_codes(self) -> tuple[str, ...]:
        """Every code by which resources are found."""
        return (self.code,) if isinstance(self.code, str) else self.code or ()


AnyField: TypeAlias = ColumnField | OmopField | FhirField


def as_number(value: bool | float | str, concept: Concept) -> float:
    """A mapped value as a feature table holds it. Raises `ValueError` for an unknown level."""
    return float(concept.levels.index(value)) if isinstance(value, str) else float(value)


def problems_of(
    field: AnyField, concept: Concept, graph: ConceptGraph, path: str
) -> Iterator[WardroundError]:
    """Every contradiction between a field and the graph."""
    yield from _map_problems(field, concept, graph, path)
    yield from _choice_problems(field, concept, path)
    match field:
        case ColumnField():
            yield from _column_problems(field, concept, path)
        case OmopField():
            yield from _omop_problems(field, concept, path)
        case FhirField():
            yield from _fhir_problems(field, concept, path)
    if field.unit is not None and concept.unit is not None:
        try:
            graph.path(field.unit, concept.unit, concept.id)
        except WardroundError as error:
            yield WardroundError(error.code, error.problem, error.remedy, path=f"{path}.unit")


def _map_problems(
    field: AnyField, concept: Concept, graph: ConceptGraph, path: str
) -> Iterator[WardroundError]:
    mapped = concept.type in (ConceptType.BOOLEAN, ConceptType.CATEGORY)
    if not mapped and (field.value_map is not None or field.coding is not None):
        yield contradiction(
            f"A {concept.type} has no value map.", "Remove value_map and coding.", path
        )
    if field.value_map is not None and field.coding is not None:
        yield contradiction("value_map and coding say the same.", "Keep one of them.", path)
    if field.coding is not None and mapped and graph.coded(concept.id, field.coding) is None:
        known = ", ".join(one.coding for one in graph.value_maps(concept.id)) or "none"
        yield contradiction(
            f"The coding {field.coding!r} of {concept.id!r} is unknown.",
            f"Known codings: {known}. Or write a value_map.",
            f"{path}.coding",
        )
    values: list[bool | float | str] = [*(field.value_map or {}).values()]
    if field.absent is not None:
        values.append(field.absent)
    if not all(_can_be(value, concept) for value in values):
        levels = f"one of {', '.join(concept.levels)}" if concept.levels else "true or false"
        yield contradiction(
            f"A value is mapped to something that {concept.id!r} can't be.",
            f"It is {levels}." if mapped else "It is a number in the concept's unit.",
            path,
        )


def _choice_problems(field: AnyField, concept: Concept, path: str) -> Iterator[WardroundError]:
    number, level = concept.type is ConceptType.NUMERIC, concept.type is ConceptType.CATEGORY
    if (field.choose is Choice.MEAN and not number) or (
        field.choose in (Choice.MINIMUM, Choice.MAXIMUM) and level
    ):
        yield contradiction(
            f"A {concept.type} has no {field.choose.value}.",
            "Only numbers have a mean, and a category's levels have no order that counts.",
            path,
        )


def _can_be(value: bool | float | str, concept: Concept) -> bool:
    match concept.type:
        case ConceptType.CATEGORY:
            return isinstance(value, str) and value in concept.levels
        case ConceptType.BOOLEAN:
            return isinstance(value, bool)
        case _:
            if isinstance(value, bool | str):
                return False
            return -sys.float_info.max <= value <= sys.float_info.max


def _column_problems(field: ColumnField, concept: Concept, path: str) -> Iterator[WardroundError]:
    wanted = {
        ConceptType.NUMERIC: ("unit", "unit_column"),
        ConceptType.DATE: ("date_format",),
        ConceptType.BOOLEAN: ("value_map", "coding", "present"),
        ConceptType.CATEGORY: ("value_map", "coding"),
    }[concept.type]
    remedy = (
        "A number needs unit or unit_column, a boolean or category value_map or coding; "
        "a date in text needs date_format."
    )
    for key in ("unit", "unit_column", "date_format", "present"):
        if getattr(field, key) not in (None, False) and key not in wanted:
            yield contradiction(
                f"{key} must not be given for the {concept.type} concept {concept.id!r}.",
                remedy,
                path,
            )
    given = [key for key in wanted if getattr(field, key) not in (None, False)]
    if len(given) > 1 or (not given and concept.type is not ConceptType.DATE):
        yield contradiction(
            f"{' or '.join(wanted)} is needed for the {concept.type} concept {concept.id!r}, "
            "one of them.",
            remedy,
            path,
        )
    if field.choose in (Choice.LATEST, Choice.EARLIEST) and field.date_column is None:
        yield contradiction(
            f"choose = {field.choose.value!r} needs date_column.",
            "Name the column that says when a value is of.",
            path,
        )


def _omop_problems(field: OmopField, concept: Concept, path: str) -> Iterator[WardroundError]:
    if not field.concept_ids and (
        field.domain not in ("person", "death") or field.value == "concept"
    ):
        yield contradiction(
            "Rows of this domain are found by their concept ids.", "Add concept_ids.", path
        )
    mapped = field.value_map is not None or field.coding is not None
    fits = {
        ConceptType.BOOLEAN: field.value == "presence" or (mapped and field.value != "day"),
        ConceptType.CATEGORY: mapped and field.value in ("value", "value_text", "concept"),
        ConceptType.DATE: field.value == "day",
        ConceptType.NUMERIC: field.value in ("value", "value_text"),
    }
    if not fits[concept.type] or (mapped and field.value == "presence"):
        yield contradiction(
            f"value = {field.value!r} does not give the {concept.type} concept {concept.id!r}.",
            "Presence gives a boolean, value a number, day a date; value_text, concept, or value "
            "with a value_map, a boolean or category.",
            path,
        )
    elif field.domain in EVENTS and concept.type is ConceptType.BOOLEAN and mapped:
        codes = field.value_map or {}
        if field.value != "concept" or (codes and not any(codes.values())):
            yield contradiction(
                f"A row of {field.domain} says yes by being there, whatever else it holds.",
                'Give value = "presence" (--take presence) instead of value_map and coding.',
                path,
            )


def _fhir_problems(field: FhirField, concept: Concept, path: str) -> Iterator[WardroundError]:
    coded = field.element not in OF_PATIENT
    if coded != (field.code is not None) or coded != (field.system is not None):
        yield contradiction(
            "A resource is found by its system and code, and the Patient's own elements are not.",
            "Give both for an element of Observation, Condition, Procedure or MedicationRequest, "
            "neither for an element of Patient.",
            path,
        )
    component = field.element == OBSERVATION_COMPONENT
    if component != (field.component_code is not None) or component != (
        field.component_system is not None
    ):
        yield contradiction(
            "A component is found by component_system and component_code, and only a component is.",
            "Give both for Observation.component.value, neither elsewhere.",
            path,
        )
    dated = field.element in (OBSERVATION_DATE, BIRTH_DATE)
    if dated and concept.type != ConceptType.DATE:
        yield contradiction(
            f"{field.element} is a date, {concept.id!r} is not.",
            "Map it to the concept of a date.",
            path,
        )
    if field.element in PRESENCE and concept.type != ConceptType.BOOLEAN:
        yield contradiction(
            f"{field.element} is there or is not, {concept.id!r} is no boolean.",
            "Map it to the concept of a diagnosis, procedure or medication.",
            path,
        )
    if field.choose in (Choice.LATEST, Choice.EARLIEST) and field.element in _UNDATED:
        yield contradiction(
            f"{field.element} does not say when it is of.",
            "Only of an Observation's values the latest or earliest can be told.",
            path,
        )
    reads_codes = field.value_map is not None or field.coding is not None
    if concept.type is ConceptType.CATEGORY and not reads_codes:
        yield contradiction(
            f"A category is read by value_map or coding, and {concept.id!r} is one.",
            "Add one of them, with value_system for an Observation.",
            path,
        )
    if field.element == GENDER:
        if not reads_codes:
            yield contradiction(
                "Patient.gender needs value_map or coding.", 'Add coding = "fhir".', path
            )
    elif reads_codes != (field.value_system is not None):
        yield contradiction(
            "value_map (or coding) and value_system belong together.",
            "Name the code system whose codes the value map lists.",
            path,
        )


def contradiction(problem: str, remedy: str, path: str) -> WardroundError:
    """Two things in a mapping that can't both hold."""
    return WardroundError("WR-DATA-005", problem, remedy, path=path)


def _listed(values: tuple[str, ...] | str) -> str:
    return values if isinstance(values, str) else ", ".join(values)
