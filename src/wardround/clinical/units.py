"""Conversions between units of measure: exact, and each with the reason why it holds.

UCUM alone converts what measures the same kind of thing. Three more kinds of edge belong to one
concept only: a *bridge* says how much of one kind is one of another (a mole of cholesterol is
386.65 g; an international unit of insulin is 6.00 nmol), a *scale* is a definition with a zero of
its own (HbA1c), and an edge of valence is a bridge as well (an equivalent of calcium is half a
mole).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.clinical.ucum import Unit, UnitSyntaxError
from wardround.clinical.unit_spellings import SPELLINGS, plain_characters


@dataclass(frozen=True)
class Conversion:
    """An edge of the graph: a value ``x`` in ``source`` is ``x * factor + offset`` in ``target``.

    ``reason`` says on what the edge rests, where that is more than the definition of the units.
    """

    source: str
    target: str
    factor: Fraction
    offset: Fraction = Fraction(0)
    reason: str = ""

    def reversed(self) -> Conversion:
        """Return the same edge walked the other way."""
        return Conversion(
            self.target, self.source, 1 / self.factor, -self.offset / self.factor, self.reason
        )


@dataclass(frozen=True)
class Bridge:
    """One ``source`` of a concept's substance is ``amount`` ``target``, two kinds of quantity."""

    source: str
    target: str
    amount: Fraction
    reason: str


@dataclass(frozen=True)
class Equations:
    """What holds for the values of one concept, beyond UCUM.

    Where ``scales`` are given, only they connect their units, although UCUM may see two numbers of
    one kind in them: HbA1c in per cent and in mmol/mol differ by more than a power of ten.
    """

    bridges: tuple[Bridge, ...] = ()
    scales: tuple[Conversion, ...] = ()


NO_EQUATIONS: Final = Equations()

_CLASHES: Final = (("FEU", "DDU"),)
# D-dimer in fibrinogen equivalents is about twice that in D-dimer units; how much, the assay knows.


@dataclass(frozen=True)
class UnitPath:
    """The conversions from one unit to another, in order; none when the two are the same."""

    source: str
    target: str
    steps: tuple[Conversion, ...]

    @property
    def factor(self) -> Fraction:
        """The exact factor of the whole path."""
        product_ = Fraction(1)
        for step in self.steps:
            product_ *= step.factor
        return product_

    @property
    def offset(self) -> Fraction:
        """What is added after the factor; zero but for temperatures and scales."""
        sum_ = Fraction(0)
        for step in self.steps:
            sum_ = sum_ * step.factor + step.offset
        return sum_

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert ``values`` (any shape); at most three roundings, whatever the path's length."""
        factor, offset = self.factor, self.offset
        # One multiplication and one division by whole numbers instead of one rounded factor:
        # 0.01799 mm then becomes 17.99 um and not a neighbour of it.
        scaled = values * float(factor.numerator) / float(factor.denominator)
        return scaled + float(offset) if offset else scaled

    def sum_words(self, digits: int = 12) -> str:
        """Return what is done to a value, for a reader: ``x 1.8 + 32``."""
        return _sum_words(self.factor, self.offset, digits)

    def words(self) -> str:
        """Return the path for a reader: ``mm -> um (x 1000)``."""
        if not self.steps:
            return self.target
        units = [self.source, *(step.target for step in self.steps)]
        notes = [self.sum_words()]
        notes += dict.fromkeys(step.reason for step in self.steps if step.reason)
        return f"{' -> '.join(units)} ({', '.join(notes)})"


def _sum_words(factor: Fraction, offset: Fraction, digits: int) -> str:
    # Whichever of the two is the shorter number was the one that somebody defined.
    times, over = float(factor), float(1 / factor)
    divide = factor < 1 and len(f"{over:.12g}") <= len(f"{times:.12g}") + 2
    words = f"/ {over:.{digits}g}" if divide else f"x {times:.{digits}g}"
    if not offset:
        return "the same number" if factor == 1 else words
    moved = f"{'+' if offset > 0 else '-'} {float(abs(offset)):.{digits}g}"
    return moved if factor == 1 else f"{words} {moved}"


@lru_cache(maxsize=4096)
def find_unit(text: str) -> Unit | None:
    """Return the unit that a record or a mapping names, or None.

    A hospital's spelling from the table of spellings goes before UCUM, exactly as it stands
    there: in a blood count ``K/uL`` is thousands, never kelvins.
    """
    written = plain_characters(text.strip())
    try:
        return Unit.parse(SPELLINGS.get(written, written))
    except UnitSyntaxError:
        return None


def find_path(source: str, target: str, equations: Equations = NO_EQUATIONS) -> UnitPath | None:
    """Return the conversion between two units for one concept's values, or None."""
    start, end = find_unit(source), find_unit(target)
    if start is None or end is None or _clash(start, end):
        return None
    if _same(start, end):
        return UnitPath(source, target, ())
    if equations.scales:
        return _along_scales(UnitPath(source, target, ()), start, end, equations.scales)
    bridged = _bridge(start, end, equations.bridges)
    if bridged is None:
        return None
    ratio, reason = bridged
    # (x + o1) f1 = (y + o2) f2, and only temperatures have an o; nothing bridges to them.
    factor = start.factor * ratio / end.factor
    offset = start.offset * factor - end.offset
    return UnitPath(source, target, (Conversion(source, target, factor, offset, reason),))


def _clash(one: Unit, other: Unit) -> bool:
    """Whether two annotations, though nothing to UCUM, forbid to take one unit for the other."""
    return any(
        {left, right} <= one.notes | other.notes and not {left, right} <= one.notes & other.notes
        for left, right in _CLASHES
    )


def _same(one: Unit, other: Unit) -> bool:
    return (one.factor, one.kinds, one.offset) == (other.factor, other.kinds, other.offset)


def _along_scales(
    ends: UnitPath, start: Unit, end: Unit, scales: Sequence[Conversion]
) -> UnitPath | None:
    for scale in scales:
        for edge in (scale, scale.reversed()):
            if _is(edge.source, start) and _is(edge.target, end):
                step = replace(edge, source=ends.source, target=ends.target)
                return replace(ends, steps=(step,))
    return None


def _is(text: str, unit: Unit) -> bool:
    found = find_unit(text)
    return found is not None and found.code == unit.code


def _bridge(start: Unit, end: Unit, bridges: Sequence[Bridge]) -> tuple[Fraction, str] | None:
    """Cross as few bridges as possible; return the quotient of base quantities, and the reasons."""
    missing = dict(end.kinds)
    for kind, power in start.kinds:
        missing[kind] = missing.get(kind, 0) - power
    missing = {kind: power for kind, power in missing.items() if power}
    if not missing:
        return Fraction(1), ""
    # An inverse or a square of a substance occurs (mg/mmol); more never does.
    crossings = sorted(
        product((0, -1, 1, -2, 2), repeat=len(bridges)),
        key=lambda powers: sum(map(abs, powers)),
    )
    for powers in crossings:
        gained: dict[str, int] = {}
        ratio = Fraction(1)
        for bridge, power in zip(bridges, powers, strict=True):
            one, other = find_unit(bridge.source), find_unit(bridge.target)
            if power == 0 or one is None or other is None:
                continue
            ratio *= (bridge.amount * other.factor / one.factor) ** power
            for unit, sign in ((other, power), (one, -power)):
                for kind, exponent in unit.kinds:
                    gained[kind] = gained.get(kind, 0) + sign * exponent
        if {kind: power for kind, power in gained.items() if power} == missing:
            used = [b.reason for b, power in zip(bridges, powers, strict=True) if power]
            return ratio, "; ".join(dict.fromkeys(used))
    return None
