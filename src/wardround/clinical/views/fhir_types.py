"""FHIR's data types as far as JSON shows them.

There is no model of the resources here: the name of a choice element (``valueQuantity``) and the
form of a value are all that tells a type. Where they do not, the question fails; it is not guessed.
"""

from __future__ import annotations

import re
from decimal import Decimal

from wardround.clinical.views.failures import mistyped
from wardround.clinical.views.items import Item
from wardround.clinical.views.temporal import Temporal

BOOLEAN = "boolean"
INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})
DECIMAL = "decimal"
TEMPORALS = frozenset({"date", "dateTime", "instant", "time"})
MOMENTS = frozenset({"dateTime", "instant"})
TEXTS = frozenset(
    {"string", "code", "id", "markdown", "uri", "url", "canonical", "oid", "uuid"}
    | {"base64Binary", "xhtml"}
)
PRIMITIVES = frozenset({BOOLEAN, DECIMAL}) | INTEGERS | TEMPORALS | TEXTS

_SUBTYPES = {
    "string": ("string", "code", "id", "markdown"),
    "uri": ("uri", "url", "canonical", "oid", "uuid"),
    "integer": ("integer", "positiveInt", "unsignedInt"),
    "Quantity": ("Quantity", "Age", "Distance", "Duration", "Count", "SimpleQuantity"),
}
# System.String and its like; Quantity and Boolean differ in nothing but the first letter.
_SYSTEM = {
    "String": "string",
    "Boolean": BOOLEAN,
    "Integer": "integer",
    "Decimal": DECIMAL,
    "Date": "date",
    "DateTime": "dateTime",
    "Time": "time",
}
_COMPLEX = frozenset(
    {
        "Address",
        "Age",
        "Annotation",
        "Attachment",
        "CodeableConcept",
        "CodeableReference",
        "Coding",
        "ContactDetail",
        "ContactPoint",
        "Count",
        "DataRequirement",
        "Distance",
        "Dosage",
        "Duration",
        "Expression",
        "Extension",
        "HumanName",
        "Identifier",
        "Meta",
        "Money",
        "Narrative",
        "ParameterDefinition",
        "Period",
        "Quantity",
        "Range",
        "Ratio",
        "RatioRange",
        "Reference",
        "RelatedArtifact",
        "SampledData",
        "Signature",
        "Timing",
        "TriggerDefinition",
        "UsageContext",
    }
)
_BY_SUFFIX = {name[0].upper() + name[1:]: name for name in PRIMITIVES | _COMPLEX}
_RESOURCE = re.compile(r"[A-Z][A-Za-z]*")


def type_named(name: str) -> str | None:
    """FHIR's own name for a type, or None for what can't be one."""
    name = _SYSTEM.get(name, name)
    return name if name in PRIMITIVES or _RESOURCE.fullmatch(name) else None


def subtypes(name: str) -> tuple[str, ...]:
    """The type and those derived from it."""
    return _SUBTYPES.get(name, (name,))


def choice_key(element: str, type_name: str) -> str:
    """The JSON key of a choice element: ``value`` and ``Quantity`` make ``valueQuantity``."""
    return element + type_name[0].upper() + type_name[1:]


def choice_of(key: str, element: str) -> str | None:
    """The type in a choice element's key, or None where ``key`` is no choice of ``element``."""
    return _BY_SUFFIX.get(key[len(element) :]) if key.startswith(element) else None


def is_of(value: Item, type_name: str) -> bool:
    """Whether a value, whose type no key tells, has the type.

    Raises:
        Failure: ``WR-DATA-036`` where that can't be known.
    """
    if isinstance(value, dict):
        resource = value.get("resourceType")
        if isinstance(resource, str):
            return type_name in (resource, "Resource", "DomainResource")
        if type_name in PRIMITIVES:
            return False
        raise mistyped(
            "A path asks for the type of an element that has one type only, and not of value[x]."
        )
    if type_name not in PRIMITIVES:
        return False
    return fits(value, type_name)


def fits(value: Item, type_name: str) -> bool:
    """Whether a primitive type can hold the value, judged by the value's form."""
    if isinstance(value, bool):
        return type_name == BOOLEAN
    if isinstance(value, int):
        return type_name in INTEGERS or type_name == DECIMAL
    if isinstance(value, float | Decimal):
        return type_name == DECIMAL
    if isinstance(value, Temporal):
        return type_name in TEMPORALS
    if isinstance(value, str):
        return type_name in TEXTS or (type_name in TEMPORALS and _is_temporal(value, type_name))
    return False


def _is_temporal(text: str, type_name: str) -> bool:
    moment = Temporal.read(text)
    if moment is None:
        return False
    if type_name == "time":
        return not moment.date
    return bool(moment.date) and not (type_name == "date" and moment.timed)
