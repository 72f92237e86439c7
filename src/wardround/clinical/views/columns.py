"""A column of a view, and how what its path finds becomes one cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from wardround.clinical.views.failures import mistyped, several
from wardround.clinical.views.fhir_types import BOOLEAN, DECIMAL, INTEGERS, PRIMITIVES
from wardround.clinical.views.items import Evaluate, Item, Items
from wardround.clinical.views.temporal import Temporal


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column's name, its FHIR type where the view states one, and whether cells are tuples.

    Cells are ``str``, ``bool``, ``int``, ``Decimal`` or None; of a complex type, JSON. A date is
    the text that FHIR has for it, and may be partial.
    """

    name: str
    type: str | None
    collection: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A column, its compiled path, and where in the view it stands."""

    column: ViewColumn
    evaluate: Evaluate
    finish: Callable[[Items], object]
    place: str
    null: object = None


def finisher(type_name: str | None, *, collection: bool) -> Callable[[Items], object]:
    """Return what makes a cell of the items found."""
    convert = _converter(type_name)

    def single(items: Items) -> object:
        if not items:
            return None
        if len(items) > 1:
            raise several("A column")
        return convert(items[0])

    return (lambda items: tuple(map(convert, items))) if collection else single


def _converter(type_name: str | None) -> Callable[[Item], Item]:
    """A value of the column's type, or a failure: a wrong type is not converted by guess."""
    if type_name == BOOLEAN:
        return _only(bool, "boolean")
    if type_name in INTEGERS:
        return _integer
    if type_name == DECIMAL:
        return _decimal
    return _text if type_name in PRIMITIVES else _as_it_is


def _only(kind: type, word: str) -> Callable[[Item], Item]:
    def convert(value: Item) -> Item:
        if not isinstance(value, kind):
            raise mistyped(f"A column of type {word} finds something else.")
        return value

    return convert


def _integer(value: Item) -> Item:
    if isinstance(value, bool) or not isinstance(value, int):
        raise mistyped("A column of type integer finds something else.")
    return value


def _decimal(value: Item) -> Item:
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise mistyped("A column of type decimal finds something else.")
    return Decimal(value)


def _text(value: Item) -> Item:
    if isinstance(value, str):
        return value
    if isinstance(value, Temporal):
        return value.text
    raise mistyped("A column of text finds something else.")


def _as_it_is(value: Item) -> Item:
    if isinstance(value, Temporal):
        return value.text
    return _decimal(value) if isinstance(value, float) else value
