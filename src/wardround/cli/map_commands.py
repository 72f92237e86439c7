"""The command that would map a suggested field, or what to find out before there can be one.

A command is only printed where what it maps is what the records say. In OMOP a row of a diagnosis,
a drug or a procedure says yes by being there, whatever number it carries; a row of an observation
may be a question, whose answer, if the source keeps it, stands in another column.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround.clinical.concept import Concept, ConceptType
from wardround.clinical.fields import (
    BIRTH_DATE,
    CONDITION,
    EVENTS,
    GENDER,
    MEDICATION,
    OBSERVATION_COMPONENT,
    OBSERVATION_VALUE,
    PROCEDURE,
)
from wardround.clinical.graph import ConceptGraph
from wardround.clinical.profile import FieldKind, FieldProfile
from wardround.clinical.suggest import LIKELY, Suggestion
from wardround.clinical.survey import Long
from wardround.clinical.tables.omop_domains import OmopDomain

BORN, SEX = "person day", "person concept"
"""What a survey calls the fields of OMOP's table of persons."""

MALE, FEMALE = "8507", "8532"
"""OMOP's concept ids of the two sexes that a person may have."""

_ELEMENTS = {
    "Observation": OBSERVATION_VALUE,
    "Observation.component": OBSERVATION_COMPONENT,
    "Condition": CONDITION,
    "Procedure": PROCEDURE,
    "MedicationRequest": MEDICATION,
}


@dataclass(frozen=True)
class Offer:
    """A command, empty where there is none, and what to know or to do about it, if anything."""

    command: str = ""
    note: str = ""


def best_of(hits: Sequence[Suggestion], graph: ConceptGraph) -> Suggestion | None:
    """The suggestion to offer a command for: the likeliest, or what every OMOP source has.

    The day of birth and the sex of OMOP's persons are known by the model itself, and need no score.
    """
    if hits and hits[0].score >= LIKELY:
        return hits[0]
    return next((one for one in hits if _of_person(one, graph)), None)


def offer(
    folder: Path,
    one: Suggestion,
    profile: FieldProfile,
    graph: ConceptGraph,
    long: Long | None = None,
) -> Offer:
    """The command that would map a suggested field, for a person to check and run."""
    start = ["wardround", "site", "data", "map", str(folder), one.source, one.concept]
    found: list[str] | str
    note = ""
    if long is not None and ("local", one.field) in profile.codes:  # a table that was read by test
        found = ["--column", long.value, "--where", f"{long.by}={one.field}"]
        found += ["--unit-column", long.unit] if long.unit is not None else _unit(one)
        found += [*_date_format(one), *_values(one)]
    elif one.field in (BORN, SEX) or _omop_code(one.field) is not None:
        found, note = _omop(one, profile, graph)
    elif (element := _element(one.field)) is not None:
        found = element
        if graph.concept(one.concept).type is ConceptType.CATEGORY and one.field != GENDER:
            found = "add --value CODE=LEVEL for each answer, and --value-system."
    else:
        found = ["--column", one.field, *_unit(one), *_date_format(one), *_values(one)]
    if isinstance(found, str):
        return Offer(note=f"{one.concept}: {one.source}, {one.field}: no command; {found}")
    return Offer(shlex.join([*start, *found]), note)


def _unit(one: Suggestion) -> list[str]:
    return [] if one.reading.unit is None else ["--unit", one.reading.unit]


def _date_format(one: Suggestion) -> list[str]:
    return [] if one.reading.date_format is None else ["--date-format", one.reading.date_format]


def _values(one: Suggestion) -> list[str]:
    words = []
    for written, meaning in (one.reading.value_map or {}).items():
        shown = str(meaning).lower() if isinstance(meaning, bool) else meaning
        words += ["--value", f"{written}={shown}"]
    return words


def _element(field: str) -> list[str] | None:
    """The options for a surveyed FHIR field, None where it is none."""
    first, *codes = field.split(" ")
    if first in (BIRTH_DATE, GENDER):
        return ["--element", first, *(["--coding", "fhir"] if first == GENDER else [])]
    if first in _ELEMENTS and codes and all("|" in code for code in codes):
        component = ["--component", codes[1]] if len(codes) > 1 else []
        return ["--element", _ELEMENTS[first], "--code", codes[0], *component]
    return None


def _of_person(one: Suggestion, graph: ConceptGraph) -> bool:
    """Whether the field is one of OMOP's person, and says this concept."""
    if one.field == SEX:
        return {MALE, FEMALE} <= (graph.coded(one.concept, "omop") or {}).keys()
    return one.field == BORN and one.concept == "birth_date"


def _omop_code(field: str) -> tuple[OmopDomain, str] | None:
    domain, _, code = field.partition(" ")
    if domain in set(OmopDomain) and code.isascii() and code.isdigit():
        return OmopDomain(domain), code
    return None


def _omop(
    one: Suggestion, profile: FieldProfile, graph: ConceptGraph
) -> tuple[list[str] | str, str]:
    """The options for a field of an OMOP source, or why there are none; and what else to know."""
    if one.field in (BORN, SEX):
        if not _of_person(one, graph):
            return "the table of persons does not say this.", ""
        if one.field == BORN:
            return ["--domain", "person", "--take", "day"], ""
        sexes = ["--concept-id", MALE, "--concept-id", FEMALE, "--coding", "omop"]
        note = f"In OMOP {MALE} is male and {FEMALE} female; who has another id has no value."
        return ["--domain", "person", "--take", "concept", *sexes], note
    found = _omop_code(one.field)
    assert found is not None
    domain, code = found
    if code == "0":
        return "concept 0 stands for whatever the vocabulary does not know.", ""
    where = ["--domain", domain, "--concept-id", code]
    concept = graph.concept(one.concept)
    if domain in EVENTS:
        return _event(where, concept)
    if concept.type is ConceptType.NUMERIC:
        return _number(where, concept, profile)
    if concept.type is ConceptType.DATE:
        return "if the day of the row is meant, add --take day.", ""
    return _answer(where, one, concept, profile), ""


def _event(where: list[str], concept: Concept) -> tuple[list[str] | str, str]:
    """A row of a diagnosis, drug, procedure or visit: that it is there, and when."""
    match concept.type:
        case ConceptType.BOOLEAN:
            return [*where, "--take", "presence"], _PRESENCE
        case ConceptType.DATE:
            return [*where, "--take", "day"], _SEVERAL
        case ConceptType.CATEGORY:
            return (
                "give --take concept with the --concept-id of each level, and --value ID=LEVEL.",
                "",
            )
        case _:
            return "a row there is an event, and holds no such number.", ""


_PRESENCE = (
    "With --take presence a row with the id is a yes. Add --concept-id for each other id that "
    "means the same, and --absent false if it is a no for whoever has no such row."
)
_SEVERAL = (
    "Of a patient with several values that differ none is used, unless --choose says which "
    "(latest, earliest, mean, minimum or maximum)."
)


def _number(
    where: list[str], concept: Concept, profile: FieldProfile
) -> tuple[list[str] | str, str]:
    if profile.kind is FieldKind.EMPTY:
        return "its rows hold no number.", ""
    if not profile.quantiles:
        return (
            "its rows hold texts: map those by hand that are numbers, with --take value_text.",
            "",
        )
    if concept.unit is not None and not profile.units:
        return f"its rows state no unit: add --unit, such as --unit {concept.unit}.", ""
    if not profile.decimal_marks:
        return [*where, "--take", "value"], _SEVERAL
    if "." not in profile.decimal_marks or len(profile.units) > 1:
        return "its numbers are texts of another form: let the source hold them as numbers.", ""
    unit = [] if concept.unit is None else ["--unit", next(iter(profile.units))]
    return [*where, "--take", "value_text", *unit], _SEVERAL


def _answer(
    where: list[str], one: Suggestion, concept: Concept, profile: FieldProfile
) -> list[str] | str:
    """A yes or no, or a level, that an observation or a measurement answers."""
    if profile.kind is FieldKind.EMPTY:
        itself = (
            "--take presence"
            if concept.type is ConceptType.BOOLEAN
            else "--take concept and --value ID=LEVEL"
        )
        return (
            f"its rows hold no answer. If a row says it by being there, add {itself}; if it is a "
            "question, the source does not tell what was answered."
        )
    mapped, texts = one.reading.value_map or {}, profile.categories
    told = bool(mapped) and mapped.keys() == texts.keys() and len(texts) == profile.distinct
    numbers = bool(profile.quantiles) and not profile.decimal_marks
    if told and (not numbers or len(set(mapped.values())) > 1):
        return [*where, "--take", "value" if numbers else "value_text", *_values(one)]
    column = "value" if numbers else "value_text"
    return f"say what each answer means: --take {column} and --value ANSWER=MEANING for each."
