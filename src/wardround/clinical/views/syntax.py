"""A FHIRPath expression as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from wardround.clinical.views.items import Item


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in the expression; None for the empty collection ``{}``."""

    value: Item | None


@dataclass(frozen=True, slots=True)
class This:
    """``$this``, and the start of every path that does not begin otherwise."""


@dataclass(frozen=True, slots=True)
class Constant:
    """``%name``."""

    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """``source.name``; ``rooted`` where it is the first step, which may name a resource type."""

    source: Node
    name: str
    rooted: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """``source.name(arguments)``."""

    source: Node
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """``source[index]``."""

    source: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Sign:
    """``-operand``, or ``+operand``."""

    negative: bool
    operand: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands joined by one operator, from left to right, as in ``a or b or c``."""

    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TypeTest:
    """``source.ofType(type)``, ``source as type`` (the same here) and ``source is type``."""

    source: Node
    type_name: str
    question: bool


Node: TypeAlias = Literal | This | Constant | Member | Call | Index | Sign | Chain | TypeTest
