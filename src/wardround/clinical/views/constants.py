"""A view's constants, each of one FHIR type."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from wardround.clinical.views.fhir_types import (
    DECIMAL,
    INTEGERS,
    PRIMITIVES,
    TEMPORALS,
    choice_key,
    fits,
)
from wardround.clinical.views.items import Item
from wardround.clinical.views.temporal import Temporal

VALUE_KEYS = {choice_key("value", name): name for name in PRIMITIVES - {"xhtml"}}


def constant_value(constant: Mapping[str, object]) -> Item | None:
    """Return the constant's value, or None where it has not exactly one of the type it names."""
    keys = [key for key in constant if key.startswith("value")]
    if len(keys) != 1 or keys[0] not in VALUE_KEYS:
        return None
    type_name, value = VALUE_KEYS[keys[0]], constant[keys[0]]
    if type_name in TEMPORALS:
        return _moment(value, type_name)
    if not fits(value, type_name):
        return None
    if type_name in INTEGERS and isinstance(value, int):
        least = {"positiveInt": 1, "unsignedInt": 0}.get(type_name, -(2**63))
        return value if least <= value < 2**63 else None
    if type_name == DECIMAL and isinstance(value, float):
        return Decimal(repr(value))
    return value


def _moment(value: object, type_name: str) -> Temporal | None:
    if not isinstance(value, str) or not fits(value, type_name):
        return None
    moment = Temporal.read(value)
    if moment is None or type_name not in ("dateTime", "instant"):
        return moment
    return moment.as_moment()
