"""A FHIRPath tree into one closure, made once and called for every resource."""

from __future__ import annotations

from collections.abc import Mapping

from wardround.clinical.views.boundaries import boundary, static_type
from wardround.clinical.views.decimals import negated
from wardround.clinical.views.failures import (
    UNKNOWN_CONSTANT,
    PathProblem,
    syntax,
    unsupported,
)
from wardround.clinical.views.fhir_types import is_of, subtypes, type_named
from wardround.clinical.views.functions import POSITIONAL, function, whole
from wardround.clinical.views.items import Evaluate, Item, Items, Scope, one
from wardround.clinical.views.navigation import Chosen, choice, choose, extensions, member
from wardround.clinical.views.operators import chain
from wardround.clinical.views.parser import parse
from wardround.clinical.views.syntax import (
    Call,
    Chain,
    Constant,
    Index,
    Literal,
    Member,
    Node,
    Sign,
    This,
    TypeTest,
)

_SYSTEMS = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}


class Compiler:
    """Compiles the paths of one view, which share its constants."""

    def __init__(self, constants: Mapping[str, Item]) -> None:
        self._constants = constants

    def compile(self, text: str, wanted_type: str | None = None) -> Evaluate:
        """Return the closure of a path.

        ``wanted_type`` is the type of the column it fills: of a date on its own nothing else tells
        whether FHIR holds it as a ``date`` or a ``dateTime``, whose boundaries differ.

        Raises:
            PathProblem: ``WR-DATA-031`` to ``-033``.
        """
        try:
            return self._top(parse(text), wanted_type)
        except RecursionError:
            raise syntax("it is nested too deeply", 0) from None

    def _top(self, node: Node, wanted_type: str | None) -> Evaluate:
        if isinstance(node, Call) and node.name in _BOUNDARIES:
            return self._boundary(node, wanted_type)
        return self._node(node)

    def _node(self, node: Node) -> Evaluate:
        match node:
            case Literal(value):
                return _literal(value)
            case This():
                return _this
            case Constant(name):
                return self._constant(name)
            case Member(source, "extension"):
                return self._extension(source)
            case Member(source, name, rooted):
                return member(self._source(source), name, rooted=rooted)
            case Index(source, index):
                return _index(self._node(source), self._node(index))
            case Sign(negative, operand):
                return _sign(negative, self._node(operand))
            case Chain(operator, operands):
                return chain(operator, [self._node(operand) for operand in operands])
            case TypeTest():
                return self._type_test(node)
            case Call():
                return self._call(node)

    def _source(self, node: Node) -> Evaluate | None:
        return None if isinstance(node, This) else self._node(node)

    def _call(self, node: Call) -> Evaluate:
        if node.name in _BOUNDARIES:
            return self._boundary(node, None)
        if node.name == "extension" and len(node.arguments) == 1:
            url = self._node(node.arguments[0])
            return _with_url(self._extension(node.source), url)
        build = function(node.name, len(node.arguments))
        arguments = [self._node(argument) for argument in node.arguments]
        return build(self._node(node.source), arguments)

    def _extension(self, source: Node) -> Evaluate:
        """Extensions, for which a primitive element has a sibling (``_birthDate``)."""
        if isinstance(source, Member):
            return extensions(self._source(source.source), source.name, self._node(source))
        return member(self._source(source), "extension", rooted=False)

    def _boundary(self, node: Call, wanted_type: str | None) -> Evaluate:
        if len(node.arguments) > 1:
            raise unsupported(f"The function {node.name}() with {len(node.arguments)} arguments")
        digits = self._node(node.arguments[0]) if node.arguments else None
        type_name = static_type(node.source) or wanted_type
        return boundary(self._node(node.source), digits, type_name, high=_BOUNDARIES[node.name])

    def _type_test(self, node: TypeTest) -> Evaluate:
        type_name = type_named(node.type_name)
        if type_name is None:
            raise unsupported("A type that FHIR does not have")
        names = subtypes(type_name)
        if isinstance(node.source, Member) and not node.question:
            return choice(self._source(node.source.source), node.source.name, names)
        return _type_test(self._typed(node.source), names, question=node.question)

    def _typed(self, node: Node) -> Evaluate:
        """As ``_node``, but the items of a choice element keep the type in their key."""
        match node:
            case Member(source, name, False):
                return choose(self._node(source), name)
            case Member(source, name, True) if not name[:1].isupper():
                return choose(self._node(source), name)
            case Index(source, index):
                return _index(self._typed(source), self._node(index))
            case Call(source, name, arguments) if name in POSITIONAL:
                build = function(name, len(arguments))
                return build(self._typed(source), [self._node(argument) for argument in arguments])
            case Call(source, "where", (criterion,)):
                plain = _plain(self._node(criterion))
                return function("where", 1)(self._typed(source), [plain])
        return self._node(node)

    def _constant(self, name: str) -> Evaluate:
        if name in self._constants:
            return _literal(self._constants[name])
        match name:
            case "rowIndex":
                return lambda _, scope: [scope.row]
            case "resource" | "rootResource":
                return lambda _, scope: [scope.resource]
            case "ucum" | "sct" | "loinc":
                return _literal(_SYSTEMS[name])
        raise PathProblem(
            UNKNOWN_CONSTANT,
            f"A path uses the constant %{name[:40]}, which the view does not define.",
            f"Define it under constant; there are {sorted(self._constants)} and rowIndex.",
        )


_BOUNDARIES = {"lowBoundary": False, "highBoundary": True}


def _this(items: Items, _: Scope) -> Items:
    return items


def _literal(value: Item | None) -> Evaluate:
    items = [] if value is None else [value]
    return lambda _, __: items


def _index(source: Evaluate, index: Evaluate) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        number = whole(index(items, scope))
        if number is None or number < 0:
            return []
        return source(items, scope)[number : number + 1]

    return run


def _sign(negative: bool, operand: Evaluate) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        value = one(operand(items, scope), "What a sign stands before")
        if value is None:
            return []
        return [negated(value) if negative else negated(negated(value))]

    return run


def _with_url(source: Evaluate, url: Evaluate) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        wanted = one(url(items, scope), "The argument of extension()")
        return [
            item
            for item in source(items, scope)
            if wanted is not None and isinstance(item, dict) and item.get("url") == wanted
        ]

    return run


def _type_test(source: Evaluate, names: tuple[str, ...], *, question: bool) -> Evaluate:
    def matches(item: Item) -> bool:
        if isinstance(item, Chosen):
            return item.type_name in names
        return any(is_of(item, name) for name in names)

    def ask(items: Items, scope: Scope) -> Items:
        value = one(source(items, scope), "The operand of is")
        return [] if value is None else [matches(value)]

    def keep(items: Items, scope: Scope) -> Items:
        return [
            item.value if isinstance(item, Chosen) else item
            for item in source(items, scope)
            if matches(item)
        ]

    return ask if question else keep


def _plain(criterion: Evaluate) -> Evaluate:
    def run(items: Items, scope: Scope) -> Items:
        plain = [item.value if isinstance(item, Chosen) else item for item in items]
        return criterion(plain, scope)

    return run
