"""FHIRPath's functions on one text, and its conversions (N1, sections 5.5 and 5.6).

Regular expressions are left out: a pattern can be written that runs for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from wardround.clinical.numbers import read_number
from wardround.clinical.quarantine import Reason
from wardround.clinical.views.decimals import decimal, is_number
from wardround.clinical.views.failures import mistyped, too_much
from wardround.clinical.views.items import (
    MAXIMUM_TEXT,
    Evaluate,
    Item,
    Items,
    Scope,
    one,
    short,
)
from wardround.clinical.views.temporal import Temporal

Build: TypeAlias = Callable[[Evaluate, Sequence[Evaluate]], Evaluate]
_Compute: TypeAlias = Callable[..., Item | None]
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def _on_one(compute: _Compute) -> Build:
    """A function of one item and single arguments; empty where any of them is."""

    def build(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
        def run(items: Items, scope: Scope) -> Items:
            values = [one(source(items, scope), "The input of a function")]
            values += [one(argument(items, scope), "An argument") for argument in arguments]
            if any(value is None for value in values):
                return []
            scope.spend(sum(len(value) for value in values if isinstance(value, str)) // 100)
            found = compute(*values)
            return [] if found is None else [found]

        return run

    return build


def _text(value: Item) -> str:
    if not isinstance(value, str):
        raise mistyped("A function of text finds something else.")
    return value


def _integer(value: Item) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise mistyped("An argument should be an integer and is not.")
    return value


def _substring(value: Item, start: Item, length: Item = None) -> str | None:
    text, begin = _text(value), _integer(start)
    if not 0 <= begin < len(text):
        return None
    if length is None:
        return text[begin:]
    return text[begin : begin + max(_integer(length), 0)]


def _replace(value: Item, pattern: Item, substitute: Item) -> str:
    text, old, new = _text(value), _text(pattern), _text(substitute)
    places = text.count(old)
    if len(text) + places * len(new) > MAXIMUM_TEXT:
        raise too_much(f"{MAXIMUM_TEXT} characters")
    return text.replace(old, new)


def _to_text(value: Item) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Temporal):
        return value.text
    return short(format(decimal(value), "f")) if is_number(value) else None


def _to_integer(value: Item) -> int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    found = _INTEGER.fullmatch(value) if isinstance(value, str) else None
    return int(found[0]) if found else None


def _to_decimal(value: Item) -> Decimal | None:
    if isinstance(value, bool):
        return Decimal(int(value))
    if is_number(value):
        return decimal(value)
    if not isinstance(value, str) or len(value) > 40 or isinstance(read_number(value), Reason):
        return None
    return decimal(Decimal(value))


def _to_boolean(value: Item) -> bool | None:
    if isinstance(value, bool):
        return value
    text = _to_text(value) or ""
    if text.lower() in ("true", "t", "yes", "y", "1", "1.0"):
        return True
    return False if text.lower() in ("false", "f", "no", "n", "0", "0.0") else None


TEXT_FUNCTIONS: dict[str, tuple[int, int, Build]] = {
    "startsWith": (1, 1, _on_one(lambda a, b: _text(a).startswith(_text(b)))),
    "endsWith": (1, 1, _on_one(lambda a, b: _text(a).endswith(_text(b)))),
    "contains": (1, 1, _on_one(lambda a, b: _text(b) in _text(a))),
    "indexOf": (1, 1, _on_one(lambda a, b: _text(a).find(_text(b)))),
    "substring": (1, 2, _on_one(_substring)),
    "length": (0, 0, _on_one(lambda a: len(_text(a)))),
    "lower": (0, 0, _on_one(lambda a: _text(a).lower())),
    "upper": (0, 0, _on_one(lambda a: _text(a).upper())),
    "trim": (0, 0, _on_one(lambda a: _text(a).strip())),
    "replace": (2, 2, _on_one(_replace)),
    "toString": (0, 0, _on_one(_to_text)),
    "toInteger": (0, 0, _on_one(_to_integer)),
    "toDecimal": (0, 0, _on_one(_to_decimal)),
    "toBoolean": (0, 0, _on_one(_to_boolean)),
}
