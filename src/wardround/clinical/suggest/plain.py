"""Codes and types: what a source says outright, and what kind of values stand there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wardround.clinical.concept import SYSTEMS
from wardround.clinical.graph import Concept, ConceptGraph, ConceptType
from wardround.clinical.profile import FieldKind, FieldProfile
from wardround.clinical.suggest.suggestion import Evidence, Signal

_KEYS: Final[Mapping[str, str]] = {
    **{uri: key for key, uri in SYSTEMS.items()},
    **{key: key for key in SYSTEMS},
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "icd10",
}
_NAMES: Final[Mapping[str, str]] = {
    "loinc": "LOINC",
    "snomed": "SNOMED CT",
    "icd10": "ICD-10",
    "atc": "ATC",
    "rxnorm": "RxNorm",
    "omop": "OMOP",
}

_SUITS: Final[Mapping[tuple[FieldKind, ConceptType], float]] = {
    (FieldKind.NUMBER, ConceptType.NUMERIC): 0.5,
    (FieldKind.NUMBER, ConceptType.BOOLEAN): -1.0,
    (FieldKind.NUMBER, ConceptType.CATEGORY): -0.8,
    (FieldKind.NUMBER, ConceptType.DATE): -1.0,
    (FieldKind.BOOLEAN, ConceptType.BOOLEAN): 0.6,
    (FieldKind.BOOLEAN, ConceptType.CATEGORY): 0.0,
    (FieldKind.BOOLEAN, ConceptType.NUMERIC): -0.6,
    (FieldKind.BOOLEAN, ConceptType.DATE): -1.0,
    (FieldKind.CATEGORY, ConceptType.CATEGORY): 0.6,
    (FieldKind.CATEGORY, ConceptType.BOOLEAN): 0.0,
    (FieldKind.CATEGORY, ConceptType.NUMERIC): -0.8,
    (FieldKind.CATEGORY, ConceptType.DATE): -1.0,
    (FieldKind.CODE, ConceptType.CATEGORY): 0.2,
    (FieldKind.CODE, ConceptType.BOOLEAN): 0.0,
    (FieldKind.CODE, ConceptType.NUMERIC): -0.8,
    (FieldKind.CODE, ConceptType.DATE): -1.0,
    (FieldKind.DATE, ConceptType.DATE): 1.0,
    (FieldKind.DATE, ConceptType.NUMERIC): -1.0,
    (FieldKind.DATE, ConceptType.BOOLEAN): -0.8,
    (FieldKind.DATE, ConceptType.CATEGORY): -1.0,
    (FieldKind.TEXT, ConceptType.CATEGORY): 0.0,
    (FieldKind.TEXT, ConceptType.BOOLEAN): -0.3,
    (FieldKind.TEXT, ConceptType.NUMERIC): -0.7,
    (FieldKind.TEXT, ConceptType.DATE): -0.7,
    **{(FieldKind.IDENTIFIER, kind): -1.0 for kind in ConceptType},
}
"""How well what stands in a field suits a type of concept."""

_DECLARED: Final = (
    (FieldKind.DATE, ("date", "time")),
    (FieldKind.BOOLEAN, ("bool", "bit")),
    (FieldKind.NUMBER, ("int", "num", "dec", "float", "double", "real")),
    (FieldKind.TEXT, ("char", "text", "string", "clob")),
)


def code_evidence(graph: ConceptGraph, profile: FieldProfile) -> Mapping[str, Evidence]:
    """Return, by concept, what the codes that identify the field say."""
    found: dict[str, Evidence] = {}
    for system, code in profile.codes:
        key = _KEYS.get(system)
        if key is None:
            continue
        for rank, concept in enumerate(graph.with_code(key, code)):
            # Stems: the special case goes before what it is a case of.
            strength = 1.0 if rank == 0 else 0.8 * 0.9**rank
            words = f"the {_NAMES.get(key, key)} code {code} is this concept's"
            found.setdefault(concept.id, Evidence(Signal.CODE, strength, words))
    return found


def type_evidence(profile: FieldProfile, concept: Concept) -> Evidence | None:
    """Return how the kind of the values suits the concept's type; of an empty field, as declared.

    Few whole numbers may be a category's codes.
    """
    kind = profile.kind
    if kind is FieldKind.EMPTY:
        declared = profile.declared.casefold()
        kinds = (kind for kind, marks in _DECLARED if any(mark in declared for mark in marks))
        kind = next(kinds, FieldKind.EMPTY)
    strength = _SUITS.get((kind, concept.type))
    if strength is None:
        return None
    codes = kind is FieldKind.NUMBER and 2 <= profile.distinct <= 8
    if codes and concept.type is ConceptType.CATEGORY:
        strength = 0.3
    if codes and concept.type is ConceptType.BOOLEAN:
        strength = -0.3
    if codes and concept.type is ConceptType.NUMERIC:
        strength = 0.1
    seen = "declared" if profile.kind is FieldKind.EMPTY else "found"
    words = f"{_A[kind]} was {seen}, and this concept is {_CONCEPT[concept.type]}"
    return Evidence(Signal.TYPE, strength, words)


_A: Final = {kind: f"{'an' if kind.value[0] in 'aei' else 'a'} {kind.value}" for kind in FieldKind}
_CONCEPT: Final[Mapping[ConceptType, str]] = {
    ConceptType.NUMERIC: "a number",
    ConceptType.BOOLEAN: "a yes or no",
    ConceptType.CATEGORY: "a category",
    ConceptType.DATE: "a date",
}
