"""FHIRPath's operators on collections (N1, section 6): an empty operand mostly gives none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from wardround.clinical.views.decimals import calculate, compare_numbers, is_number
from wardround.clinical.views.failures import mistyped, unsupported
from wardround.clinical.views.items import Evaluate, Item, Items, Scope, one, short, truth
from wardround.clinical.views.temporal import Temporal

_Binary: TypeAlias = Callable[[Items, Items, Scope], Items]


def equal(left: Item, right: Item) -> bool | None:
    """Whether two items are equal; None where their precision does not tell."""
    if isinstance(left, str) and isinstance(right, str):
        return _equal_texts(left, right)
    if is_number(left) and is_number(right):
        return compare_numbers(left, right) == 0
    if isinstance(left, Temporal) or isinstance(right, Temporal):
        a, b = _moment(left), _moment(right)
        if a is None or b is None or bool(a.date) != bool(b.date):
            return False
        order = a.compare(b)
        return None if order is None else order == 0
    if left is right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            equal(value, right[key]) is True for key, value in left.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        same = len(left) == len(right)
        return same and all(equal(a, b) is True for a, b in zip(left, right, strict=True))
    return type(left) is type(right) and left == right


def compare(left: Item, right: Item) -> int | None:
    """Return -1, 0 or 1, or None where the precision of dates does not tell.

    Two texts are compared as dates where both are written like dates, since nothing else tells
    that they are.
    """
    if is_number(left) and is_number(right):
        return compare_numbers(left, right)
    a, b = _moment(left), _moment(right)
    texts = isinstance(left, str) and isinstance(right, str)
    if a and b and not (texts and min(len(a.date), len(b.date)) < 2 and (a.date or b.date)):
        return a.compare(b)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    raise mistyped("A path compares values of types that have no order.")


def distinct(items: Items, scope: Scope) -> Items:
    """The items without repetitions, in order."""
    found: Items = []
    texts: set[str] = set()
    others: Items = []  # which a differently written item may equal
    temporals = any(isinstance(item, Temporal) for item in items)
    for item in items:
        if isinstance(item, str):
            if item in texts:
                continue
            texts.add(item)
            if not _like_moment(item) and not temporals:
                found.append(item)
                continue
        scope.spend((1 + len(others)) * (10 if isinstance(item, dict) else 1))
        if not any(equal(item, other) is True for other in others):
            found.append(item)
            others.append(item)
    return found


def chain(operator: str, operands: list[Evaluate]) -> Evaluate:
    """Operands joined by one operator."""
    match operator:
        case "and":
            return _logical(operands, decisive=False)
        case "or":
            return _logical(operands, decisive=True)
        case "|":
            return _union(operands)
        case "~" | "!~":
            raise unsupported(f"The operator {operator}")
    binary = _BINARY[operator]
    first, *rest = operands

    def run(items: Items, scope: Scope) -> Items:
        left = first(items, scope)
        for operand in rest:
            left = binary(left, operand(items, scope), scope)
        return left

    return run


def _logical(operands: list[Evaluate], *, decisive: bool) -> Evaluate:
    word = "An operand of or" if decisive else "An operand of and"

    def run(items: Items, scope: Scope) -> Items:
        unknown = False
        for operand in operands:
            value = truth(operand(items, scope), word)
            if value is decisive:
                return [decisive]
            unknown = unknown or value is None
        return [] if unknown else [not decisive]

    return run


def _union(operands: list[Evaluate]) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        return distinct([item for operand in operands for item in operand(items, scope)], scope)

    return run


def _xor(left: Items, right: Items, _: Scope) -> Items:
    a, b = truth(left, "An operand of xor"), truth(right, "An operand of xor")
    return [] if a is None or b is None else [a != b]


def _implies(left: Items, right: Items, _: Scope) -> Items:
    a, b = truth(left, "An operand of implies"), truth(right, "An operand of implies")
    if a is False or b is True:
        return [True]
    return [] if a is None or b is None else [False]


def _equals(left: Items, right: Items, scope: Scope) -> Items:
    if not left or not right:
        return []
    if len(left) != len(right):
        return [False]
    scope.spend(len(left))
    unknown = False
    for a, b in zip(left, right, strict=True):
        same = equal(a, b)
        if same is False:
            return [False]
        unknown = unknown or same is None
    return [] if unknown else [True]


def _differs(left: Items, right: Items, scope: Scope) -> Items:
    return [not same for same in _equals(left, right, scope)]


def _ordering(test: Callable[[int], bool]) -> _Binary:
    def run(left: Items, right: Items, _: Scope) -> Items:
        a, b = one(left, "An operand of < or >"), one(right, "An operand of < or >")
        if a is None or b is None:
            return []
        order = compare(a, b)
        return [] if order is None else [test(order)]

    return run


def _arithmetic(operator: str) -> _Binary:
    def run(left: Items, right: Items, _: Scope) -> Items:
        what = f"An operand of {operator}"
        a, b = one(left, what), one(right, what)
        if a is None or b is None:
            return []
        if operator == "+" and isinstance(a, str) and isinstance(b, str):
            return [short(a + b)]
        found = calculate(operator, a, b)
        return [] if found is None else [found]

    return run


def _join(left: Items, right: Items, scope: Scope) -> Items:
    parts = [one(side, "An operand of &") for side in (left, right)]
    if not all(part is None or isinstance(part, str) for part in parts):
        raise mistyped("The operator & joins text and finds something else.")
    text = short("".join(part for part in parts if isinstance(part, str)))
    scope.spend(len(text) // 100)
    return [text]


def _member(left: Items, right: Items, scope: Scope) -> Items:
    wanted = one(left, "What stands before in, or after contains,")
    if wanted is None:
        return []
    scope.spend(len(right))
    return [any(equal(wanted, item) is True for item in right)]


def _contains(left: Items, right: Items, scope: Scope) -> Items:
    return _member(right, left, scope)


def _equal_texts(left: str, right: str) -> bool | None:
    if left == right:
        return True
    # Of texts only moments can be equal when written differently: in another zone.
    if not _like_moment(left) or not _like_moment(right):
        return False
    a, b = Temporal.read(left), Temporal.read(right)
    if a is None or b is None:
        return False
    order = a.compare(b)
    return None if order is None else order == 0


def _like_moment(text: str) -> bool:
    return len(text) >= 16 and text[10] == "T"


def _moment(value: Item) -> Temporal | None:
    if isinstance(value, str):
        return Temporal.read(value)
    return value if isinstance(value, Temporal) else None


_BINARY: dict[str, _Binary] = {
    "xor": _xor,
    "implies": _implies,
    "=": _equals,
    "!=": _differs,
    "<": _ordering(lambda order: order < 0),
    ">": _ordering(lambda order: order > 0),
    "<=": _ordering(lambda order: order <= 0),
    ">=": _ordering(lambda order: order >= 0),
    "+": _arithmetic("+"),
    "-": _arithmetic("-"),
    "*": _arithmetic("*"),
    "/": _arithmetic("/"),
    "div": _arithmetic("div"),
    "mod": _arithmetic("mod"),
    "&": _join,
    "in": _member,
    "contains": _contains,
}
