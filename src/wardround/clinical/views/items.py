"""What flows through a compiled path: collections of JSON values, as FHIRPath has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from wardround.clinical.views.failures import several, too_much

# A JSON value or a Decimal. JSON null is no item: an absent element is an empty collection.
Item: TypeAlias = object
Items: TypeAlias = list[Item]

# A second or so; the largest real resources take a thousandth of it.
MAXIMUM_STEPS = 1_000_000
MAXIMUM_TEXT = 1_000_000


class Scope:
    """What an expression can see besides its input, and how much work it has left."""

    __slots__ = ("resource", "row", "steps")

    def __init__(self, resource: Mapping[str, object]) -> None:
        self.resource = resource
        self.row = 0
        self.steps = 0

    def spend(self, steps: int) -> None:
        """Count work that a short expression can multiply."""
        self.steps += steps
        if self.steps > MAXIMUM_STEPS:
            raise too_much(f"{MAXIMUM_STEPS} steps")


# The first argument is what $this means: the input of the whole expression, or of where(…).
Evaluate: TypeAlias = Callable[[Items, Scope], Items]


def one(items: Items, what: str) -> Item | None:
    """The single item, or None where there is none."""
    if len(items) > 1:
        raise several(what)
    return items[0] if items else None


def truth(items: Items, what: str) -> bool | None:
    """A condition's value; a single item that is no boolean counts as true (N1, section 4.5)."""
    if not items:
        return None
    value = one(items, what)
    return value if isinstance(value, bool) else True


def short(text: str) -> str:
    """The text, unless an expression made it grow out of all bounds."""
    if len(text) > MAXIMUM_TEXT:
        raise too_much(f"{MAXIMUM_TEXT} characters")
    return text
