"""Numbers of JSON as FHIR means them: decimal, and as precise as they were written.

A binary float is taken for the shortest decimal that reads as it. So ``1.10`` has lost its last
digit when a reader made it a float; a reader that keeps decimals as ``Decimal`` loses nothing.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, DecimalException

from wardround.clinical.views.failures import Failure, mistyped
from wardround.clinical.views.items import Item

Number = int | float | Decimal

# FHIR asks for 18 digits at least; an operation that overflows has no result (N1, section 6.6).
_CONTEXT = Context(prec=34, Emin=-400, Emax=400)
_MAXIMUM_BITS = 256
_DEFAULT_PRECISION = 8
_MAXIMUM_PRECISION = 31


def is_number(value: Item) -> bool:
    """Whether it is a number; Python counts true and false among the integers, FHIR does not."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def decimal(value: Item) -> Decimal:
    """The number as a decimal.

    Raises:
        Failure: ``WR-DATA-036`` for what is no number, is not finite, or is far out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise mistyped("A path wants a number and finds something else.")
    if isinstance(value, int) and value.bit_length() > _MAXIMUM_BITS:
        raise _out_of_range()
    found = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    # In this order: what is not finite has no digits to speak of.
    if not found.is_finite() or abs(found.adjusted()) > 400 or len(found.as_tuple().digits) > 400:
        raise _out_of_range()
    return found


def compare_numbers(left: Item, right: Item) -> int:
    """Return -1, 0 or 1."""
    if type(left) is not type(right) or type(left) is not int:
        left, right = decimal(left), decimal(right)
    assert isinstance(left, int | Decimal) and isinstance(right, int | Decimal)
    return (left > right) - (left < right)


def calculate(operator: str, left: Item, right: Item) -> Number | None:
    """``+ - * / div mod`` of two numbers; None where there is no result, as of division by 0."""
    a, b = decimal(left), decimal(right)
    whole = isinstance(left, int) and isinstance(right, int)
    if operator in ("/", "div", "mod") and not b:
        return None
    try:
        found = _operate(operator, a, b)
    except DecimalException:
        return None
    if operator == "div" or (whole and operator != "/"):
        return int(found) if found.adjusted() < 30 else None
    return found


def negated(value: Item) -> Number:
    """``-value``."""
    found = decimal(value)
    return -int(found) if isinstance(value, int) else -found


def decimal_boundary(value: Item, *, high: bool, digits: int | None) -> Decimal | None:
    """The least or greatest decimal that rounds to what was written (FHIRPath 3.0).

    It has ``digits`` decimal places (8 unless given): cut downwards for the least, upwards for
    the greatest.
    """
    places = _DEFAULT_PRECISION if digits is None else digits
    if not 0 <= places <= _MAXIMUM_PRECISION:
        return None
    found = decimal(value)
    exponent = found.as_tuple().exponent
    assert isinstance(exponent, int)
    half = Decimal((0, (5,), min(exponent, 0) - 1))
    context = Context(prec=900, Emin=-9999, Emax=9999)
    edge = context.add(found, half) if high else context.subtract(found, half)
    rounding = ROUND_CEILING if high else ROUND_FLOOR
    return edge.quantize(Decimal((0, (1,), -places)), rounding=rounding, context=context)


def _out_of_range() -> Failure:
    return mistyped("A number is not finite, or far too large.")


def _operate(operator: str, a: Decimal, b: Decimal) -> Decimal:
    match operator:
        case "+":
            return _CONTEXT.add(a, b)
        case "-":
            return _CONTEXT.subtract(a, b)
        case "*":
            return _CONTEXT.multiply(a, b)
        case "/":
            return _CONTEXT.divide(a, b)
        case "div":
            return _CONTEXT.divide_int(a, b)
    return _CONTEXT.remainder(a, b)
