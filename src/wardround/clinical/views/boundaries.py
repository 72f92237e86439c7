"""``lowBoundary()`` and ``highBoundary()`` of numbers, dates and times (FHIRPath 3.0)."""

from __future__ import annotations

from wardround.clinical.views.decimals import decimal_boundary, is_number
from wardround.clinical.views.failures import mistyped
from wardround.clinical.views.fhir_types import MOMENTS, TEMPORALS, type_named
from wardround.clinical.views.functions import POSITIONAL, whole
from wardround.clinical.views.items import Evaluate, Item, Items, Scope, one
from wardround.clinical.views.syntax import Call, Index, Node, TypeTest
from wardround.clinical.views.temporal import Temporal


def static_type(node: Node) -> str | None:
    """The type of a date that the path itself states, as by ``ofType(dateTime)``."""
    while isinstance(node, Index) or (
        isinstance(node, Call) and (node.name in POSITIONAL or node.name == "where")
    ):
        node = node.source
    if not isinstance(node, TypeTest) or node.question:
        return None
    stated = type_named(node.type_name)
    return stated if stated in TEMPORALS else None


def boundary(
    source: Evaluate, digits: Evaluate | None, type_name: str | None, *, high: bool
) -> Evaluate:
    """The function's closure; ``type_name`` tells a dateTime from a date."""

    def run(items: Items, scope: Scope) -> Items:
        value = one(source(items, scope), "The input of a boundary")
        if value is None:
            return []
        precision = whole(digits(items, scope)) if digits is not None else None
        found = _boundary(value, precision, type_name, high)
        return [] if found is None else [found]

    return run


def _boundary(value: Item, digits: int | None, type_name: str | None, high: bool) -> Item | None:
    if is_number(value):
        return decimal_boundary(value, high=high, digits=digits)
    moment = Temporal.read(value) if isinstance(value, str) else value
    if not isinstance(moment, Temporal):
        raise mistyped("A boundary is asked of something that is no number, date or time.")
    if type_name in MOMENTS:
        moment = moment.as_moment()
    return moment.boundary(high=high, digits=digits)
