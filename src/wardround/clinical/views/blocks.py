"""A view's selects as a tree of blocks, each of which makes rows of an element.

The rows follow SQL on FHIR's processing model: a block's columns beside every combination of the
rows of its parts; a union puts its branches' rows one below the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from wardround.clinical.views.columns import Cell
from wardround.clinical.views.failures import Failure, too_much
from wardround.clinical.views.items import Evaluate, Item, Items, Scope

Row: TypeAlias = tuple[object, ...]

MAXIMUM_ROWS = 100_000
_NO_COLUMNS: list[Row] = [()]


@dataclass(frozen=True, slots=True)
class Path:
    """A compiled path of the view and where it stands there."""

    evaluate: Evaluate
    place: str

    def __call__(self, items: Items, scope: Scope) -> Items:
        """What the path finds; a failure names its place."""
        try:
            found = self.evaluate(items, scope)
            scope.spend(1 + len(found))
        except Failure as failure:
            raise failure.at(self.place) from None
        return found


@dataclass(frozen=True, slots=True)
class Each:
    """``forEach``, or ``forEachOrNull``: its null row is the block's."""

    path: Path
    or_null: bool


@dataclass(frozen=True, slots=True)
class Repeat:
    """``repeat``: the children by every path, theirs, and so on, a parent before its children."""

    paths: tuple[Path, ...]

    def elements(self, items: Items, scope: Scope) -> Items:
        """All elements reached; a path that leads to no child for ever runs into the limit."""
        found: Items = []
        waiting = self._children(items, scope)
        while waiting:
            element = waiting.pop()
            found.append(element)
            waiting += self._children([element], scope)
        return found

    def _children(self, items: Items, scope: Scope) -> Items:
        """The children, the first one last."""
        return [child for path in self.paths for child in path(items, scope)][::-1]


@dataclass(frozen=True, slots=True)
class Union:
    """``unionAll``: branches of the same columns."""

    branches: tuple[Block, ...]

    def rows(self, items: Items, scope: Scope) -> list[Row]:
        """The rows of all branches."""
        return [row for branch in self.branches for row in branch.rows(items, scope)]

    def cells(self) -> Iterator[Cell]:
        """The columns, which are those of any branch."""
        return self.branches[0].cells()


@dataclass(frozen=True, slots=True)
class Block:
    """One select: what it iterates over, its columns, and what it combines them with."""

    own: tuple[Cell, ...]
    parts: tuple[Block | Union, ...]
    iteration: Each | Repeat | None
    place: str

    def cells(self) -> Iterator[Cell]:
        """All columns in the order of the row."""
        yield from self.own
        for part in self.parts:
            yield from part.cells()

    def rows(self, items: Items, scope: Scope) -> list[Row]:
        """The rows of an element, given as a collection of one."""
        iteration = self.iteration
        if iteration is None:
            return self._of_one(items, scope)
        if isinstance(iteration, Repeat):
            elements = iteration.elements(items, scope)
        else:
            elements = iteration.path(items, scope)
            if not elements and iteration.or_null:
                return [tuple(cell.null for cell in self.cells())]
        return self._of_each(elements, scope)

    def _of_each(self, elements: list[Item], scope: Scope) -> list[Row]:
        outer = scope.row
        result: list[Row] = []
        for number, element in enumerate(elements):
            scope.row = number
            result += self._of_one([element], scope)
            self._bound(len(result))
        scope.row = outer
        return result

    def _of_one(self, items: Items, scope: Scope) -> list[Row]:
        rows = [self._cells_of(items, scope)] if self.own else _NO_COLUMNS
        for part in self.parts:
            more = part.rows(items, scope)
            self._bound(len(rows) * len(more))
            rows = [(*left, *right) for left in rows for right in more]
        return rows

    def _cells_of(self, items: Items, scope: Scope) -> Row:
        row: list[object] = []
        try:
            for cell in self.own:
                row.append(cell.finish(cell.evaluate(items, scope)))
        except Failure as failure:
            raise failure.at(self.own[len(row)].place) from None
        return tuple(row)

    def _bound(self, rows: int) -> None:
        if rows > MAXIMUM_ROWS:
            raise too_much(f"{MAXIMUM_ROWS} rows").at(self.place)
