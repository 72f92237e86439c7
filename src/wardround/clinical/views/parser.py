"""FHIRPath tokens into a tree, by precedence (FHIRPath N1, section "Operator precedence")."""

from __future__ import annotations

from decimal import Decimal

from wardround.clinical.views.failures import syntax, unsupported
from wardround.clinical.views.lexer import Kind, Token, tokens
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
from wardround.clinical.views.temporal import Temporal

_PRECEDENCE = {
    "implies": 1,
    **dict.fromkeys(("or", "xor"), 2),
    "and": 3,
    **dict.fromkeys(("in", "contains"), 4),
    **dict.fromkeys(("=", "~", "!=", "!~"), 5),
    **dict.fromkeys(("<", ">", "<=", ">="), 6),
    "|": 7,
    **dict.fromkeys(("is", "as"), 8),
    **dict.fromkeys(("+", "-", "&"), 9),
    **dict.fromkeys(("*", "/", "div", "mod"), 10),
}
_UNARY = 11
_TYPE_FUNCTIONS = ("ofType", "as", "is")
# Elements may be called like these operators, so they are names wherever a name must stand.
_NAMES_TOO = ("as", "is", "in", "contains")
# Each bounds Python's own recursion; people write a handful.
_MAXIMUM_NESTING = 40
_MAXIMUM_LINKS = 64


def parse(text: str) -> Node:
    """Return the tree of a FHIRPath expression.

    Raises:
        PathProblem: ``WR-DATA-031`` for what is not FHIRPath, ``-032`` for what is not known here.
    """
    parser = _Parser(tokens(text))
    tree = parser.expression(0)
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._next = 0
        self._nesting = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def expect_end(self) -> None:
        if self._token.kind is not Kind.END:
            raise syntax("the expression should end here", self._token.at)

    def expression(self, binding: int) -> Node:
        """An expression whose operators bind tighter than ``binding``."""
        self._nesting += 1
        if self._nesting > _MAXIMUM_NESTING:
            raise syntax("it is nested too deeply", self._token.at)
        left = self._unary()
        links = 0
        while (operator := self._operator()) is not None and _PRECEDENCE[operator] > binding:
            links += 1
            if links > _MAXIMUM_LINKS:
                raise syntax("too many different operators follow each other", self._token.at)
            self._next += 1
            left = self._operation(left, operator)
        self._nesting -= 1
        return left

    def _operator(self) -> str | None:
        token = self._token
        known = token.kind in (Kind.SYMBOL, Kind.NAME) and token.text in _PRECEDENCE
        return token.text if known else None

    def _operation(self, left: Node, operator: str) -> Node:
        if operator in ("is", "as"):
            return TypeTest(left, self._type_name(), question=operator == "is")
        operands = [left, self.expression(_PRECEDENCE[operator])]
        # A long list of alternatives is one node, not a tower of them.
        while self._operator() == operator:
            self._next += 1
            operands.append(self.expression(_PRECEDENCE[operator]))
        return Chain(operator, tuple(operands))

    def _unary(self) -> Node:
        if self._token.kind is Kind.SYMBOL and self._token.text in "+-":
            negative = self._token.text == "-"
            self._next += 1
            return Sign(negative, self.expression(_UNARY))
        return self._path()

    def _path(self) -> Node:
        node = self._term()
        for _ in range(_MAXIMUM_LINKS):
            if self._take("."):
                node = self._step(node, rooted=False)
            elif self._take("["):
                node = Index(node, self.expression(0))
                self._expect("]")
            else:
                return node
        raise syntax("the path has too many steps", self._token.at)

    def _term(self) -> Node:
        token = self._token
        if token.kind is Kind.NAME and token.text in ("true", "false"):
            self._next += 1
            return Literal(token.text == "true")
        if token.kind in (Kind.NAME, Kind.QUOTED_NAME):
            return self._step(This(), rooted=True)
        self._next += 1
        if token.kind is Kind.SYMBOL and token.text == "(":
            inner = self.expression(0)
            self._expect(")")
            return inner
        if token.kind is Kind.SYMBOL and token.text == "{" and self._take("}"):
            return Literal(None)
        return self._leaf(token)

    def _leaf(self, token: Token) -> Node:
        match token.kind:
            case Kind.STRING:
                return Literal(token.text)
            case Kind.NUMBER:
                return self._number(token)
            case Kind.TEMPORAL:
                moment = Temporal.read(token.text[1:])
                if moment is None:
                    raise syntax("there is no such date or time", token.at)
                return Literal(moment)
            case Kind.CONSTANT:
                return Constant(token.text)
            case Kind.VARIABLE if token.text == "$this":
                return This()
            case Kind.VARIABLE:
                raise unsupported(token.text if token.text in _VARIABLES else "This variable")
        raise syntax("a value or a path is missing", token.at)

    def _number(self, token: Token) -> Node:
        follower = self._token
        if follower.kind is Kind.STRING or (
            follower.kind is Kind.NAME and follower.text.rstrip("s") in _CALENDAR
        ):
            raise unsupported("A quantity with a unit")
        if len(token.text) > 28:
            raise syntax("a number has too many digits", token.at)
        return Literal(Decimal(token.text) if "." in token.text else int(token.text))

    def _step(self, source: Node, *, rooted: bool) -> Node:
        token = self._token
        if token.kind is Kind.VARIABLE:
            raise syntax("a variable can't follow a full stop", token.at)
        name = self._name(allow_operators=not rooted)
        if not self._take("("):
            return Member(source, name, rooted)
        if name in _TYPE_FUNCTIONS:
            tested = TypeTest(source, self._type_name(), question=name == "is")
            self._expect(")")
            return tested
        if name == "getReferenceKey" and not self._take(")"):
            wanted = Literal(self._type_name())
            self._expect(")")
            return Call(source, name, (wanted,))
        if name == "getReferenceKey":
            return Call(source, name, ())
        return Call(source, name, self._arguments())

    def _arguments(self) -> tuple[Node, ...]:
        if self._take(")"):
            return ()
        arguments = [self.expression(0)]
        while self._take(","):
            arguments.append(self.expression(0))
        self._expect(")")
        return tuple(arguments)

    def _type_name(self) -> str:
        """A type without its namespace: FHIR and System name the same JSON."""
        name = self._name(allow_operators=True)
        if self._take("."):
            if name not in ("FHIR", "System"):
                raise syntax("a type is FHIR's or System's", self._token.at)
            return self._name(allow_operators=True)
        return name

    def _name(self, *, allow_operators: bool) -> str:
        token = self._token
        reserved = token.text in _PRECEDENCE and not (allow_operators and token.text in _NAMES_TOO)
        if token.kind is Kind.QUOTED_NAME or (token.kind is Kind.NAME and not reserved):
            self._next += 1
            return token.text
        raise syntax("a name is missing", token.at)

    def _take(self, symbol: str) -> bool:
        found = self._token.kind is Kind.SYMBOL and self._token.text == symbol
        self._next += found
        return found

    def _expect(self, symbol: str) -> None:
        if not self._take(symbol):
            raise syntax(f"'{symbol}' is missing", self._token.at)


_VARIABLES = ("$index", "$total")
_CALENDAR = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
