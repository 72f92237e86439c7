"""A ViewDefinition, read once and run over resources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from wardround.clinical.views.blocks import Row
from wardround.clinical.views.columns import ViewColumn
from wardround.clinical.views.failures import (
    NOT_BOOLEAN,
    NOT_JSON,
    Failure,
    too_much,
)
from wardround.clinical.views.items import Items, Scope
from wardround.clinical.views.reader import Definition, read_definition
from wardround.errors import WardroundError

__all__ = ["View", "ViewColumn"]


class View:
    """A table over one type of resource (SQL on FHIR v2, ViewDefinition).

    ``columns`` stand in the order of a row. A view has no state: it may be run over any number of
    resources, in any order.
    """

    def __init__(self, definition: Definition) -> None:
        """Use ``View.parse`` or ``View.load``."""
        self._definition = definition
        self.resource_type = definition.resource_type
        self.columns: tuple[ViewColumn, ...] = tuple(
            cell.column for cell in definition.block.cells()
        )

    def __repr__(self) -> str:
        return f"View({self.resource_type}, {[column.name for column in self.columns]})"

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> View:
        """Read a ViewDefinition, given as JSON.

        Raises:
            WardroundError: ``WR-DATA-030`` where it is no valid view, ``-031`` where a path is no
                FHIRPath, ``-032`` where it uses what is not known here, ``-033`` where it uses an
                undefined constant; several problems as one error.
        """
        return cls(read_definition(document))

    @classmethod
    def load(cls, path: Path) -> View:
        """Read a ViewDefinition's file.

        Raises:
            WardroundError: also ``WR-DATA-010`` where it can't be opened, ``-038`` where it is
                not JSON.
        """
        try:
            document = orjson.loads(path.read_bytes())
        except OSError as error:
            raise WardroundError(
                "WR-DATA-010",
                f"The view can't be read: {error.strerror}.",
                "Check its name and its permissions.",
                path=path.name,
            ) from None
        except orjson.JSONDecodeError:
            raise WardroundError(
                NOT_JSON,
                "The view is not JSON.",
                "A ViewDefinition is one JSON object in UTF-8; mend the file.",
                path=path.name,
            ) from None
        return cls.parse(document)

    def rows(self, resource: Mapping[str, object]) -> list[Row]:
        """The rows of one resource, each a tuple in the order of ``columns``.

        There are none for a resource of another type, or for one that the view's ``where`` leaves
        out.

        Raises:
            WardroundError: ``WR-DATA-034`` to ``-037``. It concerns this resource alone, names a
                place in the view and never shows a value; the next resource may be fine.
        """
        if resource.get("resourceType") != self.resource_type:
            return []
        items: Items = [resource if isinstance(resource, dict) else dict(resource)]
        scope = Scope(resource)
        try:
            if not self._kept(items, scope):
                return []
            return self._definition.block.rows(items, scope)
        except RecursionError:
            raise too_much("Python's depth of recursion").at("view") from None

    def _kept(self, items: Items, scope: Scope) -> bool:
        for condition in self._definition.conditions:
            found = condition(items, scope)
            if len(found) > 1 or (found and not isinstance(found[0], bool)):
                raise Failure(
                    NOT_BOOLEAN,
                    "A condition of the view finds something that is neither true nor false.",
                    "Compare it with something, or ask whether it exists().",
                ).at(condition.place)
            if not found or not found[0]:
                return False
        return True
