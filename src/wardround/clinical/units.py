"""Units of measure (UCUM codes) and the exact conversions between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wardround.errors import WardroundError


@dataclass(frozen=True)
class Conversion:
    """An edge of the graph: one ``source`` is ``factor`` ``target``."""

    source: str
    target: str
    factor: Fraction

    def reversed(self) -> Conversion:
        """Return the same edge walked the other way."""
        return Conversion(self.target, self.source, 1 / self.factor)


@dataclass(frozen=True)
class UnitPath:
    """The conversions from one unit to another, in order; none when the two are the same."""

    source: str
    target: str
    steps: tuple[Conversion, ...]

    @property
    def factor(self) -> Fraction:
        """The exact factor of the whole path."""
        product = Fraction(1)
        for step in self.steps:
            product *= step.factor
        return product

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert ``values`` (any shape); at most two roundings, whatever the path's length."""
        factor = self.factor
        # One multiplication and one division by whole numbers instead of one rounded factor:
        # 0.01799 mm then becomes 17.99 um and not a neighbour of it.
        return values * float(factor.numerator) / float(factor.denominator)

    def words(self) -> str:
        """Return the path for a reader: ``mm -> um (x 1000)``."""
        if not self.steps:
            return self.target
        units = [self.source, *(step.target for step in self.steps)]
        factor = self.factor
        shown = f"x {float(factor):.12g}" if factor >= 1 else f"/ {float(1 / factor):.12g}"
        return f"{' -> '.join(units)} ({shown})"


class UnitGraph:
    """The known units as nodes, their conversions as edges that can be walked both ways."""

    def __init__(self, units: Iterable[str], conversions: Iterable[Conversion]) -> None:
        self._edges: dict[str, list[Conversion]] = {unit: [] for unit in units}
        for conversion in conversions:
            self._edges.setdefault(conversion.source, []).append(conversion)
            self._edges.setdefault(conversion.target, []).append(conversion.reversed())

    @property
    def units(self) -> frozenset[str]:
        """Every unit that the graph knows."""
        return frozenset(self._edges)

    def find(self, source: str, target: str) -> UnitPath | None:
        """Return the shortest path, or None where either unit is unknown or none leads there."""
        if source not in self._edges or target not in self._edges:
            return None
        reached: dict[str, tuple[Conversion, ...]] = {source: ()}
        waiting = deque([source])
        while waiting:
            unit = waiting.popleft()
            if unit == target:
                return UnitPath(source, target, reached[unit])
            for edge in self._edges[unit]:
                if edge.target not in reached:
                    reached[edge.target] = (*reached[unit], edge)
                    waiting.append(edge.target)
        return None

    def path(self, source: str, target: str) -> UnitPath:
        """Return the shortest path between two units that a *mapping* or *study* names.

        Units found in records go through :meth:`find`: an error must not repeat their text.

        Raises:
            WardroundError: ``WR-DATA-002`` for an unknown unit, ``WR-DATA-003`` where the two
                measure different things.
        """
        for unit in (source, target):
            if unit not in self._edges:
                raise WardroundError(
                    "WR-DATA-002",
                    f"The unit {unit!r} is unknown.",
                    "Write it as a UCUM code, such as mm, um2, % or 1 (for a plain number).",
                )
        found = self.find(source, target)
        if found is None:
            raise WardroundError(
                "WR-DATA-003",
                f"Values in {source!r} can't be brought to {target!r}.",
                "Check which concept the field was mapped to, and the unit of its column.",
            )
        return found
