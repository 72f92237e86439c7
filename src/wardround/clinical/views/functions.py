"""FHIRPath's functions on collections (N1, section 5), and SQL on FHIR's own.

A function is made once per expression from its input and its arguments. An argument that is a
criterion is evaluated for every item, with the item as ``$this``; any other once, in the context
of the whole call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wardround.clinical.views.failures import mistyped, too_much, unsupported
from wardround.clinical.views.items import MAXIMUM_TEXT, Evaluate, Item, Items, Scope, one, truth
from wardround.clinical.views.operators import distinct
from wardround.clinical.views.texts import TEXT_FUNCTIONS

Build: TypeAlias = Callable[[Evaluate, Sequence[Evaluate]], Evaluate]


@dataclass(frozen=True, slots=True)
class Function:
    """How many arguments it takes and what it makes of them."""

    least: int
    most: int
    build: Build


def function(name: str, arguments: int) -> Build:
    """Return what builds a function.

    Raises:
        PathProblem: ``WR-DATA-032`` where there is none of the name, or not with so many arguments.
    """
    found = FUNCTIONS.get(name)
    if found is None:
        raise unsupported(f"The function {name}()" if len(name) <= 40 else "A function")
    if not found.least <= arguments <= found.most:
        raise unsupported(f"The function {name}() with {arguments} arguments")
    return found.build


def _of_items(compute: Callable[[Items], Items]) -> Build:
    def build(source: Evaluate, _: Sequence[Evaluate]) -> Evaluate:
        return lambda items, scope: compute(source(items, scope))

    return build


def _where(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    criterion = arguments[0]

    def run(items: Items, scope: Scope) -> Items:
        found = source(items, scope)
        scope.spend(len(found))
        return [item for item in found if truth(criterion([item], scope), "A criterion")]

    return run


def _select(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    projection = arguments[0]

    def run(items: Items, scope: Scope) -> Items:
        result: Items = []
        for item in source(items, scope):
            found = projection([item], scope)
            scope.spend(1 + len(found))
            result += found
        return result

    return run


def _exists(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    kept = _where(source, arguments) if arguments else source
    return lambda items, scope: [bool(kept(items, scope))]


def _all(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    criterion = arguments[0]

    def run(items: Items, scope: Scope) -> Items:
        found = source(items, scope)
        scope.spend(len(found))
        return [all(truth(criterion([item], scope), "A criterion") for item in found)]

    return run


def _all_are(wanted: bool) -> Callable[[Items], Items]:
    def compute(items: Items) -> Items:
        if not all(isinstance(item, bool) for item in items):
            raise mistyped("A function of booleans finds something else.")
        return [all(item is wanted for item in items)]

    return compute


def _not(items: Items) -> Items:
    value = truth(items, "The input of not()")
    return [] if value is None else [not value]


def _iif(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    criterion, then, *rest = arguments

    def run(items: Items, scope: Scope) -> Items:
        found = source(items, scope)
        if truth(criterion(found, scope), "The criterion of iif()"):
            return then(found, scope)
        return rest[0](found, scope) if rest else []

    return run


def _single(items: Items) -> Items:
    one(items, "The input of single()")
    return items


def _distinct(source: Evaluate, _: Sequence[Evaluate]) -> Evaluate:
    return lambda items, scope: distinct(source(items, scope), scope)


def _is_distinct(source: Evaluate, _: Sequence[Evaluate]) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        found = source(items, scope)
        return [len(distinct(found, scope)) == len(found)]

    return run


def _cut(take: bool) -> Build:
    def build(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
        number = arguments[0]

        def run(items: Items, scope: Scope) -> Items:
            count = whole(number(items, scope))
            if count is None:
                return []
            found = source(items, scope)
            return found[: max(count, 0)] if take else found[max(count, 0) :]

        return run

    return build


def _combine(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    other = arguments[0]

    def run(items: Items, scope: Scope) -> Items:
        result = source(items, scope) + other(items, scope)
        scope.spend(len(result))
        return result

    return run


def _resource_key(items: Items) -> Items:
    """Type and id, as a relative reference names the resource."""
    return [
        f"{kind}/{identifier}"
        for item in items
        if isinstance(item, dict)
        and isinstance(kind := item.get("resourceType"), str)
        and isinstance(identifier := item.get("id"), str)
    ]


def _reference_key(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        wanted = arguments[0](items, scope)[0] if arguments else None
        keys = (_key(item) for item in source(items, scope))
        return [
            key
            for key in keys
            if key is not None and (wanted is None or key.partition("/")[0] == wanted)
        ]

    return run


def _key(reference: Item) -> str | None:
    """``Patient/1`` of ``Patient/1``, ``Patient/1/_history/2`` and ``https://…/Patient/1``.

    One hospital's records name each other by relative references and by its own server's address.
    What is named otherwise (contained, a UUID in a bundle, an identifier only) has no key.
    """
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str) or text.startswith(("#", "urn:")):
        return None
    parts = text.partition("/_history/")[0].split("/")
    if len(parts) < 2 or not parts[-1] or not parts[-2][:1].isupper():
        return None
    return f"{parts[-2]}/{parts[-1]}"


def _join(source: Evaluate, arguments: Sequence[Evaluate]) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        between = one(arguments[0](items, scope), "The separator of join()") if arguments else ""
        found = source(items, scope)
        texts = [item for item in found if isinstance(item, str)]
        if not isinstance(between, str) or len(texts) != len(found):
            raise mistyped("The function join() wants text and finds something else.")
        if sum(map(len, texts)) + len(texts) * len(between) > MAXIMUM_TEXT:
            raise too_much(f"{MAXIMUM_TEXT} characters")
        result = between.join(texts)
        scope.spend(len(texts) + len(result) // 100)
        return [result]

    return run


def whole(items: Items) -> int | None:
    """An argument that is an integer."""
    value = one(items, "An argument")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise mistyped("An argument should be an integer and is not.")
    return value


# These move items about without looking at them.
POSITIONAL = {
    "first": Function(0, 0, _of_items(lambda items: items[:1])),
    "last": Function(0, 0, _of_items(lambda items: items[-1:])),
    "tail": Function(0, 0, _of_items(lambda items: items[1:])),
    "single": Function(0, 0, _of_items(_single)),
    "skip": Function(1, 1, _cut(take=False)),
    "take": Function(1, 1, _cut(take=True)),
}

FUNCTIONS = {
    **POSITIONAL,
    **{name: Function(least, most, build) for name, (least, most, build) in TEXT_FUNCTIONS.items()},
    "where": Function(1, 1, _where),
    "select": Function(1, 1, _select),
    "exists": Function(0, 1, _exists),
    "empty": Function(0, 0, _of_items(lambda items: [not items])),
    "all": Function(1, 1, _all),
    "allTrue": Function(0, 0, _of_items(_all_are(True))),
    "allFalse": Function(0, 0, _of_items(_all_are(False))),
    "count": Function(0, 0, _of_items(lambda items: [len(items)])),
    "not": Function(0, 0, _of_items(_not)),
    "hasValue": Function(
        0, 0, _of_items(lambda items: [len(items) == 1 and not isinstance(items[0], dict)])
    ),
    "iif": Function(2, 3, _iif),
    "distinct": Function(0, 0, _distinct),
    "isDistinct": Function(0, 0, _is_distinct),
    "union": Function(
        1,
        1,
        lambda source, arguments: _distinct(_combine(source, arguments), ()),
    ),
    "combine": Function(1, 1, _combine),
    "join": Function(0, 1, _join),
    "getResourceKey": Function(0, 0, _of_items(_resource_key)),
    "getReferenceKey": Function(0, 1, _reference_key),
}
