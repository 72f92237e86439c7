"""Reading a task's parameters: every key is expected, of the right type and in range, or refused.

A coordinator may send anything; a site reads it only through here. Numbers arrive as JSON, where
1.0 is written 1, so whole numbers are numbers too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError

if TYPE_CHECKING:  # the confined worker needs numpy and nothing else
    from wardround.trust.canonical import JSON


class Reader:
    """One table of parameters. Each getter raises WR-LEARN-001; `done` refuses surplus keys."""

    def __init__(self, table: Mapping[str, JSON], path: str = "task.parameters") -> None:
        self._table = table
        self._path = path
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether there is such a key; it must be read all the same."""
        return key in self._table

    def table(self, key: str) -> Reader:
        """A table inside this one."""
        value = self._get(key)
        if not isinstance(value, Mapping):
            raise self.malformed(key, "must be a table")
        return Reader(value, f"{self._path}.{key}")

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise self.malformed(key, "must be text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of distinct texts, at least one."""
        value = self._get(key)
        if not isinstance(value, list) or not value:
            raise self.malformed(key, "must be a list with something in it")
        names = tuple(item for item in value if isinstance(item, str) and item)
        if len(names) != len(value) or len(set(names)) != len(names):
            raise self.malformed(key, "must hold distinct texts")
        return names

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.malformed(key, f"must be a whole number from {low} to {high}")
        return value

    def wholes(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers from ``low`` to ``high``, at least one."""
        value = self._get(key)
        if not isinstance(value, list) or not value:
            raise self.malformed(key, "must be a list with something in it")
        found = tuple(
            item for item in value if isinstance(item, int) and not isinstance(item, bool)
        )
        if len(found) != len(value) or not all(low <= item <= high for item in found):
            raise self.malformed(key, f"must hold whole numbers from {low} to {high}")
        return found

    def truth(self, key: str) -> bool:
        """True or false."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.malformed(key, "must be true or false")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number from ``low`` to ``high``."""
        value = _finite(self._get(key))
        if value is None or not low <= value <= high:
            raise self.malformed(key, f"must be a number from {low:g} to {high:g}")
        return value

    def numbers(self, key: str, length: int) -> NDArray[np.float64]:
        """``length`` finite numbers, shape (length,)."""
        return self._vector(key, self._get(key), length)

    def rows_of_numbers(self, key: str, rows: int) -> tuple[NDArray[np.float64], ...]:
        """``rows`` lists of finite numbers, of any lengths."""
        value = self._get(key)
        if not isinstance(value, list) or len(value) != rows:
            raise self.malformed(key, f"must be {rows} lists of numbers")
        return tuple(self._vector(f"{key}[{i}]", row, None) for i, row in enumerate(value))

    def done(self) -> None:
        """Refuse a table that holds more than was asked for."""
        for key in self._table:
            if key not in self._read:
                raise self.malformed(str(key)[:60], "is not known")

    def malformed(self, key: str, must: str) -> WardroundError:
        """The refusal of one parameter."""
        return WardroundError(
            "WR-LEARN-001",
            f"A task's parameter is malformed: {key} {must}.",
            "Run the same Wardround version at the coordinator and at every site.",
            path=f"{self._path}.{key}",
        )

    def _get(self, key: str) -> JSON:
        if key not in self._table:
            raise self.malformed(key, "is missing")
        self._read.add(key)
        return self._table[key]

    def _vector(self, key: str, value: JSON, length: int | None) -> NDArray[np.float64]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise self.malformed(key, f"must be {length or 'some'} numbers")
        finite = [number for item in value if (number := _finite(item)) is not None]
        if len(finite) != len(value):
            raise self.malformed(key, "must hold finite numbers only")
        return np.array(finite, dtype=np.float64)


def _finite(value: JSON) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def no_model(model: NDArray[np.float64] | None) -> None:
    """Refuse a model that came with a task that has no use for one."""
    if model is not None:
        raise WardroundError(
            "WR-LEARN-004",
            "A model came with a task that has no use for one.",
            "Run the same Wardround version at the coordinator and at every site.",
            path="task.model",
        )
