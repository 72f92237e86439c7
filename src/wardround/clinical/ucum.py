"""An exact reader of UCUM codes: every unit is a fraction of its kinds of quantity.

``mg/dL`` is 10^-3 g over 10^-1 dm3; two units can be exchanged where their kinds and powers are
the same, and the factor is then a quotient of two fractions, without any rounding. The grammar is
that of UCUM 2.1, section 2, but that ``1.73`` is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Final, TypeAlias

from wardround.clinical.ucum_atoms import AFFINE, ARBITRARY, BASES, METRIC, PLAIN, PREFIXES

Kinds: TypeAlias = tuple[tuple[str, int], ...]
"""Base kinds with their powers, sorted; empty for a plain number."""

LONGEST: Final = 100
"""Characters of a unit; no real one is half as long."""

_LARGEST_POWER: Final = 30
_MOST_BITS: Final = 480  # of a numerator or denominator: a quotient of two still fits a float

_SYMBOL = re.compile(r"(10[*^]|(?:\[[^][]*\]|[^][0-9(){}./+\-\s])+)([+-]?[0-9]+)?")
_DECIMAL = re.compile(r"[0-9]\.[0-9]+(?![0-9*^])")
_NUMBER = re.compile(r"[0-9]+")
_NOTE = re.compile(r"\{[!-z|~]*\}")


class UnitSyntaxError(ValueError):
    """A text is not a unit that this module knows; the message never repeats the text."""


@dataclass(frozen=True)
class Unit:
    """What a UCUM code measures: ``value`` in it is ``(value + offset) * factor`` of ``kinds``.

    ``code`` is the UCUM code without its annotations, which mean nothing to UCUM and are kept in
    ``notes``. ``offset`` is zero for all but temperatures.
    """

    code: str
    factor: Fraction
    kinds: Kinds
    offset: Fraction = Fraction(0)
    notes: frozenset[str] = frozenset()

    @staticmethod
    def parse(text: str) -> Unit:
        """Read a UCUM code (case matters).

        Raises:
            UnitSyntaxError: where it is none, or uses an atom outside the clinical part.
        """
        return _parse(text)

    def power(self, kind: str) -> int:
        """The power of one base kind, 0 where it does not occur."""
        return dict(self.kinds).get(kind, 0)


@lru_cache(maxsize=4096)
def _parse(text: str) -> Unit:
    if not 0 < len(text) <= LONGEST or not text.isascii():
        raise UnitSyntaxError("not 1 to 100 characters of ASCII")
    # An annotation that stands for a whole unit, such as {score}, is a number.
    code = _NOTE.sub("", re.sub(rf"(^|[./(]){_NOTE.pattern}", r"\g<1>1", text))
    if code in AFFINE:
        number, base, offset = AFFINE[code]
        unit = _parse(base)
        return Unit(code, Fraction(number) * unit.factor, unit.kinds, Fraction(offset))
    reader = _Reader(text)
    factor, kinds = reader.whole()
    if max(factor.numerator.bit_length(), factor.denominator.bit_length()) > _MOST_BITS:
        raise UnitSyntaxError("no number that large or small can be computed with")
    notes = frozenset(note[1:-1] for note in _NOTE.findall(text))
    return Unit(
        code, factor, tuple(sorted((k, p) for k, p in kinds.items() if p)), Fraction(0), notes
    )


_Quantity: TypeAlias = tuple[Fraction, dict[str, int]]


class _Reader:
    """Recursive descent over one code."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> _Quantity:
        read = self._term()
        if self._at < len(self._text):
            raise UnitSyntaxError("something follows the unit")
        return read

    def _term(self) -> _Quantity:
        """``/a``, or components joined by ``.`` and ``/``, from left to right."""
        total: _Quantity = (Fraction(1), {})
        total = _times(total, self._component(), -1) if self._next("/") else self._component()
        while True:
            if _DECIMAL.match(self._text, self._at - 1):
                # To UCUM 1.73 is 1 times 73; to whoever wrote mL/min/1.73 it is not.
                raise UnitSyntaxError("a decimal number, which UCUM does not have")
            if self._next("."):
                total = _times(total, self._component(), 1)
            elif self._next("/"):
                total = _times(total, self._component(), -1)
            else:
                return total

    def _component(self) -> _Quantity:
        if self._next("("):
            inside = self._term()
            if not self._next(")"):
                raise UnitSyntaxError("a parenthesis is not closed")
            return inside
        if self._note():
            return Fraction(1), {}
        if symbol := _SYMBOL.match(self._text, self._at):
            self._at = symbol.end()
            self._note()
            return _power(_symbol(symbol[1]), int(symbol[2] or 1))
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            self._note()
            if not (value := int(number[0])):
                raise UnitSyntaxError("a factor of zero")
            return Fraction(value), {}
        raise UnitSyntaxError("no unit where one is expected")

    def _next(self, mark: str) -> bool:
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def _note(self) -> bool:
        note = _NOTE.match(self._text, self._at)
        self._at = note.end() if note else self._at
        return note is not None


def _times(left: _Quantity, right: _Quantity, power: int) -> _Quantity:
    kinds = dict(left[1])
    for kind, exponent in right[1].items():
        kinds[kind] = kinds.get(kind, 0) + power * exponent
    return left[0] * right[0] ** power, kinds


def _power(quantity: _Quantity, power: int) -> _Quantity:
    if abs(power) > _LARGEST_POWER:
        raise UnitSyntaxError("a power that nothing has")
    return quantity[0] ** power, {kind: e * power for kind, e in quantity[1].items()}


@cache
def _atom(symbol: str) -> _Quantity | None:
    if symbol in BASES or symbol in ARBITRARY or symbol == "[iU]":
        return Fraction(1), {symbol: 1}
    defined = METRIC.get(symbol) or PLAIN.get(symbol)
    if defined is None:
        return None
    unit = _parse(defined[1])
    return Fraction(defined[0]) * unit.factor, dict(unit.kinds)


def _symbol(symbol: str) -> _Quantity:
    """An atom, or a prefix and an atom that takes one."""
    if whole := _atom(symbol):
        return whole
    for length in (1, 2):
        prefix, rest = symbol[:length], symbol[length:]
        if prefix in PREFIXES and (rest in METRIC or rest in BASES or rest == "[iU]"):
            atom = _atom(rest)
            assert atom is not None
            return atom[0] * Fraction(10) ** PREFIXES[prefix], atom[1]
    raise UnitSyntaxError("an atom that is not UCUM's")
