"""A ViewDefinition's JSON, checked whole, into compiled blocks.

All problems of a document are reported together. A key that is unknown is a problem too: a
misspelt ``where`` would otherwise show records that the view was written to leave out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wardround.clinical.views.blocks import Block, Each, Path, Repeat, Union
from wardround.clinical.views.columns import Cell, ViewColumn, finisher
from wardround.clinical.views.compiler import Compiler
from wardround.clinical.views.constants import VALUE_KEYS, constant_value
from wardround.clinical.views.failures import INVALID_VIEW, PathProblem
from wardround.clinical.views.fhir_types import type_named
from wardround.clinical.views.items import Evaluate, Item
from wardround.clinical.views.metadata import METADATA
from wardround.errors import WardroundError, WardroundErrors

_ELEMENT = frozenset({"id", "extension", "modifierExtension"})
_VIEW_KEYS = frozenset({"resource", "constant", "select", "where"}) | METADATA | _ELEMENT
_ITERATIONS = ("forEach", "forEachOrNull", "repeat")
_SELECT_KEYS = frozenset({"column", "select", "unionAll", *_ITERATIONS}) | _ELEMENT
_COLUMN_KEYS = frozenset({"name", "path", "type", "collection", "description", "tag"}) | _ELEMENT
_WHERE_KEYS = frozenset({"path", "description"}) | _ELEMENT
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")
_RESOURCE = re.compile(r"[A-Z][A-Za-z]{0,63}")
_TYPE_BASE = "http://hl7.org/fhir/StructureDefinition/"
_MAXIMUM_NESTING = 32


@dataclass(frozen=True, slots=True)
class Definition:
    """A view, ready to run."""

    resource_type: str
    conditions: tuple[Path, ...]
    block: Block


def read_definition(document: object) -> Definition:
    """Return what a ViewDefinition says.

    Raises:
        WardroundError: ``WR-DATA-030`` to ``-033``, all that is found together.
    """
    reader = _Reader()
    definition = reader.view(document)
    if reader.problems:
        raise (
            reader.problems[0]
            if len(reader.problems) == 1
            else WardroundErrors(tuple(reader.problems))
        )
    return definition


class _Reader:
    def __init__(self) -> None:
        self.problems: list[WardroundError] = []
        self._compiler = Compiler({})

    def view(self, document: object) -> Definition:
        view = self._object(document, "", _VIEW_KEYS)
        if view.get("resourceType", "ViewDefinition") != "ViewDefinition":
            self._problem(
                "resourceType", "The resource is no ViewDefinition.", "Name another file."
            )
        resource = view.get("resource")
        if not isinstance(resource, str) or not _RESOURCE.fullmatch(resource):
            self._problem("resource", "The view names no resource type.", 'Add one: "Patient".')
            resource = ""
        self._compiler = Compiler(dict(self._constants(view)))
        conditions = tuple(
            Path(self._path(where.get("path"), f"{place}.path"), f"{place}.path")
            for where, place in self._objects(view, "where", "", _WHERE_KEYS)
        )
        blocks = self._blocks(view, "select", "", 0)
        if not blocks:
            self._problem("select", "The view selects nothing.", "Add a select with a column.")
        block = Block((), blocks, None, "select")
        self._check_names(block)
        return Definition(resource, conditions, block)

    def _constants(self, view: Mapping[str, object]) -> Iterator[tuple[str, Item]]:
        keys = frozenset({"name"}) | frozenset(VALUE_KEYS) | _ELEMENT
        names: set[str] = set()
        for constant, place in self._objects(view, "constant", "", keys):
            name = self._name(constant, place)
            if name in names or name == "rowIndex":
                self._problem(f"{place}.name", "A name is used twice.", "Rename the constant.")
            names.add(name)
            value = constant_value(constant)
            if value is None:
                self._problem(
                    place,
                    "A constant does not have exactly one value of the type that its key names.",
                    'Give it one, such as "valueString" with a text.',
                )
            else:
                yield name, value

    def _blocks(
        self, parent: Mapping[str, object], key: str, place: str, nesting: int
    ) -> tuple[Block, ...]:
        return tuple(
            self._block(select, here, nesting + 1)
            for select, here in self._objects(parent, key, place, _SELECT_KEYS)
        )

    def _block(self, select: Mapping[str, object], place: str, nesting: int) -> Block:
        if nesting > _MAXIMUM_NESTING:
            self._problem(place, "Selects are nested too deeply.", "Write the view flatter.")
            return Block((), (), None, place)
        own = tuple(
            self._cell(column, here)
            for column, here in self._objects(select, "column", place, _COLUMN_KEYS)
        )
        parts: list[Block | Union] = [*self._blocks(select, "select", place, nesting)]
        branches = self._blocks(select, "unionAll", place, nesting)
        if branches:
            self._check_union(branches, f"{place}.unionAll")
            parts.append(Union(branches))
        if not own and not parts:
            self._problem(place, "A select has no column.", "Add one, or remove the select.")
        return Block(own, tuple(parts), self._iteration(select, place), place)

    def _iteration(self, select: Mapping[str, object], place: str) -> Each | Repeat | None:
        keys = [key for key in _ITERATIONS if key in select]
        if not keys:
            return None
        if len(keys) > 1:
            self._problem(
                place, f"A select has both {keys[0]} and {keys[1]}.", "Put one into the other."
            )
        key = keys[0]
        here = f"{place}.{key}"
        if key != "repeat":
            return Each(Path(self._path(select[key], here), here), key == "forEachOrNull")
        paths = select[key]
        if not isinstance(paths, list) or not paths:
            self._problem(here, "A repeat is no list of paths.", 'Write it as ["item"].')
            paths = []
        return Repeat(
            tuple(
                Path(self._path(path, f"{here}[{number}]"), f"{here}[{number}]")
                for number, path in enumerate(paths)
            )
        )

    def _cell(self, column: Mapping[str, object], place: str) -> Cell:
        name = self._name(column, place)
        type_name = self._type(column, place)
        collection = column.get("collection", False)
        if not isinstance(collection, bool):
            self._problem(f"{place}.collection", "It is neither true nor false.", "Mend it.")
        path = column.get("path")
        return Cell(
            ViewColumn(name, type_name, collection is True),
            self._path(path, f"{place}.path", type_name),
            finisher(type_name, collection=collection is True),
            f"{place}.path",
            null=0 if isinstance(path, str) and path.strip() == "%rowIndex" else None,
        )

    def _type(self, column: Mapping[str, object], place: str) -> str | None:
        stated = column.get("type")
        if stated is None:
            return None
        name = type_named(stated.removeprefix(_TYPE_BASE)) if isinstance(stated, str) else None
        if name is None:
            self._problem(
                f"{place}.type", "It is no type that FHIR has.", 'Name one, such as "string".'
            )
        return name

    def _name(self, element: Mapping[str, object], place: str) -> str:
        name = element.get("name")
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
        self._problem(
            f"{place}.name",
            "A name is missing, or not of letters, digits and underscores.",
            "Begin it with a letter.",
        )
        return ""

    def _path(self, path: object, place: str, type_name: str | None = None) -> Evaluate:
        if not isinstance(path, str) or not path.strip():
            self._problem(place, "A path is missing, or no text.", "Write a FHIRPath expression.")
            return _nothing
        try:
            return self._compiler.compile(path, type_name)
        except PathProblem as problem:
            self.problems.append(problem.at(place))
            return _nothing

    def _check_union(self, branches: tuple[Block, ...], place: str) -> None:
        first, *others = (
            [
                (cell.column.name, cell.column.type, cell.column.collection)
                for cell in branch.cells()
            ]
            for branch in branches
        )
        for number, other in enumerate(others, start=1):
            if other != first:
                self._problem(
                    f"{place}[{number}]",
                    "The branches of a union differ in their columns.",
                    "Give all the same names, types and order.",
                )

    def _check_names(self, block: Block) -> None:
        seen: set[str] = set()
        for cell in block.cells():
            if cell.column.name and cell.column.name in seen:
                place = cell.place.removesuffix(".path") + ".name"
                self._problem(place, "Two columns have one name.", "Rename one of them.")
            seen.add(cell.column.name)

    def _objects(
        self, parent: Mapping[str, object], key: str, place: str, keys: frozenset[str]
    ) -> list[tuple[Mapping[str, object], str]]:
        """The objects of a list, each with its place."""
        found = parent.get(key, [])
        here = f"{place}.{key}" if place else key
        if not isinstance(found, list):
            self._problem(here, "It should be a list.", "Write it in square brackets.")
            return []
        return [
            (self._object(entry, f"{here}[{number}]", keys), f"{here}[{number}]")
            for number, entry in enumerate(found)
        ]

    def _object(self, value: object, place: str, keys: frozenset[str]) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            self._problem(place or "view", "It should be a JSON object.", "Write it in braces.")
            return {}
        for key in value:
            # An underscore marks what FHIR says about a primitive, such as an extension of it.
            if not isinstance(key, str) or key.removeprefix("_") not in keys:
                self._problem(
                    place or "view",
                    f"There is an unknown key: {str(key)[:40]!r}.",
                    f"Known are {sorted(keys - METADATA - _ELEMENT)}.",
                )
        return value

    def _problem(self, place: str, problem: str, remedy: str) -> None:
        self.problems.append(WardroundError(INVALID_VIEW, problem, remedy, path=place))


def _nothing(items: list[Item], scope: object) -> list[Item]:
    return []
