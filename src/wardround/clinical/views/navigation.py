"""From an element to its children, among them choice elements such as ``value[x]``."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.clinical.views.fhir_types import choice_key, choice_of, is_of
from wardround.clinical.views.items import Evaluate, Item, Items, Scope

# Steps to fewer elements than this are free; they are counted where they are multiplied.
_FEW = 16


@dataclass(frozen=True, slots=True)
class Chosen:
    """A choice element's value with the type that its key says; it never leaves a type test."""

    type_name: str
    value: Item


def member(source: Evaluate | None, name: str, *, rooted: bool) -> Evaluate:
    """``source.name``; without source, of the items in whose context the path stands.

    A first step in capitals names the type of the resource itself.
    """
    if rooted and name[:1].isupper():
        return lambda items, _: [item for item in items if _resource_type(item) == name]

    def step(items: Items, scope: Scope) -> Items:
        found: Items = []
        for item in items:
            if isinstance(item, dict):
                value = item.get(name)
                if value is None:
                    found += [chosen.value for chosen in _choices(item, name)]
                elif isinstance(value, list):
                    found += [entry for entry in value if entry is not None]
                else:
                    found.append(value)
        if len(found) > _FEW:
            scope.spend(len(found))
        return found

    if source is None:
        return step
    return lambda items, scope: step(source(items, scope), scope)


def choose(source: Evaluate, name: str) -> Evaluate:
    """As ``member``, but a choice element's values keep their type."""

    def run(items: Items, scope: Scope) -> Items:
        found: Items = []
        for item in source(items, scope):
            if isinstance(item, dict):
                value = item.get(name)
                found += _choices(item, name) if value is None else _spread(value)
        return found

    return run


def choice(source: Evaluate | None, name: str, types: tuple[str, ...]) -> Evaluate:
    """``source.name.ofType(type)``, looked up by the one key that holds such a value."""
    keys = [choice_key(name, type_name) for type_name in types]

    def run(items: Items, scope: Scope) -> Items:
        found: Items = []
        for item in items if source is None else source(items, scope):
            if isinstance(item, dict):
                for key in keys:
                    value = item.get(key)
                    if value is not None:
                        found += _spread(value)
                value = item.get(name)
                if value is not None:
                    found += [
                        entry
                        for entry in _spread(value)
                        if any(is_of(entry, type_name) for type_name in types)
                    ]
        return found

    return run


def extensions(source: Evaluate | None, name: str, element: Evaluate) -> Evaluate:
    """``source.name.extension``: also of a primitive element, whose extensions stand beside it."""
    beside = "_" + name

    def run(items: Items, scope: Scope) -> Items:
        found = _children(element(items, scope), "extension")
        for item in items if source is None else source(items, scope):
            if isinstance(item, dict) and beside in item:
                found += _children(_spread(item[beside]), "extension")
        return found

    return run


def _children(items: Items, name: str) -> Items:
    values = (item.get(name) for item in items if isinstance(item, dict))
    return [entry for value in values for entry in _spread(value)]


def _spread(value: Item) -> Items:
    if isinstance(value, list):
        return [entry for entry in value if entry is not None]
    return [] if value is None else [value]


def _choices(item: dict[str, Item], name: str) -> list[Chosen]:
    return [
        Chosen(type_name, entry)
        for key, value in item.items()
        if (type_name := choice_of(key, name)) is not None
        for entry in _spread(value)
    ]


def _resource_type(item: Item) -> Item:
    return item.get("resourceType") if isinstance(item, dict) else None
